"""The Verification Service Class as SCP (PS3.4 Annex A): C-ECHO and nothing else."""

from __future__ import annotations

from .provider import ServiceProvider


class Verification(ServiceProvider):
    """Answers C-ECHO with Success; that is all of a `ServiceProvider` without abstract syntaxes of its own."""
