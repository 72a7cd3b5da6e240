"""Services are tested over associations, with the same fixtures."""

from ..association.conftest import authority, logged

__all__ = ["authority", "logged"]
