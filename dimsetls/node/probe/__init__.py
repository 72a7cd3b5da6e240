"""`dimsetls probe`: a peer is called a few times, and judged by PS3.15 B.12. Importing this loads no TLS."""

from .command import add_probe, run_probe

__all__ = ["add_probe", "run_probe"]
