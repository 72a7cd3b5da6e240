"""A configuration file goes in, running services come out. `twistd dimsetls` finds `Options` and `makeService` here."""

from __future__ import annotations

import sys

from twisted.application.service import MultiService
from twisted.python import usage

from ..errors import ConfigurationError
from .prepare import Prepared, prepare, summary


class Options(usage.Options):
    """The command line of `twistd dimsetls`."""

    synopsis = "[options] --config FILE"
    longdesc = "Accept DICOM associations over TLS as FILE says. `dimsetls init DIR` writes a FILE to begin with."
    optParameters = [["config", "c", None, "The INI file."]]  # noqa: RUF012 - as Twisted has it
    optFlags = [["check", None, "Report everything that is wrong with FILE, and exit."]]  # noqa: RUF012

    prepared: Prepared

    def postOptions(self) -> None:
        if not self["config"]:
            raise usage.UsageError("--config FILE is missing; `dimsetls init DIR` writes one")
        try:
            self.prepared = prepare(self["config"])
        except ConfigurationError as error:
            _fail(*error.problems)
        if self["check"]:
            sys.stdout.writelines(f"{line}\n" for line in summary(self.prepared))
            raise SystemExit(0)


def makeService(options: Options) -> MultiService:
    """The service for a configuration that `Options` has prepared: a node, or what supervises its workers."""
    twistd = dict(options.parent or {})
    # What serves is loaded by those who serve: the main process of several accepts connections, and has no DICOM.
    if options.prepared.config.node.workers > 1:
        from .workers.supervisor import Supervisor

        return Supervisor(options.prepared, twistd)
    from .service import NodeService

    return NodeService(options.prepared, twistd)


def _fail(*problems: str) -> None:
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    raise SystemExit(1)
