"""The commands that call a peer: `dimsetls echo`, `store`, `find`, `get` and `move`. Importing this loads no TLS."""

from .command import add_client, run_client

__all__ = ["add_client", "run_client"]
