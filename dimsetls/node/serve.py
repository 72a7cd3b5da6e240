"""`dimsetls serve`: the node in the foreground, for trying out; the same as `twistd --nodaemon dimsetls`."""

from __future__ import annotations

import argparse
from pathlib import Path
from signal import SIG_DFL, SIGINT, signal
from typing import Any

from .arguments import DEFAULT_CONFIG, default_config


def add_serve(commands: Any) -> None:
    """The command line of `dimsetls serve`."""
    serve: argparse.ArgumentParser = commands.add_parser(
        "serve", help="run a node here, for trying out",
        description="Run a node in the foreground until Ctrl-C, which lets associations finish as drain-timeout says; "
                    "a second one does not. It is the same as twistd --nodaemon dimsetls --config FILE; for a service "
                    "that stays see the manual.",
        epilog="Example: dimsetls serve var",
    )
    place = serve.add_mutually_exclusive_group()
    place.add_argument("directory", metavar="DIR", nargs="?", help="where dimsetls init wrote a node")
    place.add_argument("--config", metavar="FILE", help=f"the INI file ({DEFAULT_CONFIG})")


def run_serve(parsed: argparse.Namespace) -> int:
    """Serve. Where a signal stops it, the process ends by that signal, as twistd does. Raises ConfigurationError.

    A second Ctrl-C does not wait for associations to finish: what is stored by then is whole, as after any end.
    """
    from twisted.internet import reactor
    from twisted.scripts._twistd_unix import ServerOptions
    from twisted.scripts.twistd import runApp

    config = parsed.config or (Path(parsed.directory) / "dimsetls.ini" if parsed.directory else default_config())
    reactor.addSystemEventTrigger("before", "shutdown", signal, SIGINT, SIG_DFL)
    options = ServerOptions()
    options.parseOptions(["--nodaemon", "--pidfile=", "dimsetls", "--config", str(config)])
    runApp(options)
    return 0
