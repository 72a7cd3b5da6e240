from ..conftest import logged

__all__ = ["logged"]
