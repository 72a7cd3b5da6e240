"""The commands that call a peer: their words, and how they end."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ...errors import ConfigurationError, DimsetlsError
from ..arguments import ExitStatus, ae_title, number, size
from .target import Target, add_target

_MODULES = {"echo": ".asking", "find": ".asking", "store": ".storing", "get": ".retrieving", "move": ".retrieving"}
"""What does it, as a function of the command's name; no other is loaded: who stores has no use for pydicom."""
_STATUS = "Exit status: 0 all is done, 1 something failed, 2 wrong usage, 3 no association, 130 interrupted."
_KEYS = "--cert me.pem --key me.key --ca hospital-ca.pem"
_LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_TO_RETRIEVE = "KEYWORD=VALUE: the unique key of what is wanted, and those of the levels above it"


def add_client(commands: Any) -> None:
    """Add the commands to argparse's sub-commands."""
    echo = commands.add_parser(
        "echo", help="ask a peer whether it answers", description=f"Send one C-ECHO. {_STATUS}",
        epilog=f"Example: dimsetls echo pacs.example:2762 --ae PACS {_KEYS}",
    )
    add_target(echo)

    store = commands.add_parser(
        "store", help="send DICOM files to a peer",
        description="Send files by C-STORE, as they are. Progress goes to standard error, the report to standard "
                    f"output. {_STATUS}",
        epilog=f"Example: dimsetls store pacs.example:2762 study/ --journal sent.txt --ae PACS {_KEYS}",
    )
    add_target(store)
    store.add_argument("places", nargs="+", metavar="FILE", help="a file, a folder with all in it, or a pattern")
    store.add_argument("--journal", metavar="FILE", help="note here what the peer acknowledged, and pass over what is "
                                                         "noted; one journal for one peer")
    store.add_argument("--associations", type=number(1, 64), default=1, metavar="N",
                       help="send over so many associations at once (default 1)")
    store.add_argument("--convert", action="store_true",
                       help="convert what the peer does not accept in its transfer syntax")

    find = commands.add_parser(
        "find", help="ask a peer what it has",
        description=f"Query an archive by C-FIND. With --json the matches come in the DICOM JSON Model. {_STATUS}",
        epilog=f"Example: dimsetls find pacs.example:2762 PatientID=4711 StudyDate --ae PACS {_KEYS}",
    )
    add_target(find)
    _add_query(find, "KEYWORD=VALUE to match, KEYWORD to see; without any of the latter the usual ones are shown")
    find.add_argument("--limit", type=number(1, 10**9), default=10_000, metavar="N",
                      help="ask the peer to stop after so many matches (default 10000)")

    get = commands.add_parser(
        "get", help="fetch what a peer has, over one association",
        description="Retrieve from an archive by C-GET. Each instance becomes a file DIR/SOPInstanceUID.dcm, bit for "
                    f"bit as it comes, whole or not at all; files that are there are not replaced. {_STATUS}",
        epilog=f"Example: dimsetls get pacs.example:2762 StudyInstanceUID=1.2.3 --to study --ae PACS {_KEYS}",
    )
    add_target(get)
    _add_query(get, _TO_RETRIEVE, is_retrieval=True)
    get.add_argument("--to", default=".", metavar="DIR", help="where the files go; made if it is missing (default .)")
    get.add_argument("--sop-class", action="append", default=[], metavar="NAME",
                     help="take instances of this SOP class, by keyword or UID, again for each further one, without "
                          "asking the peer first what they are of")
    get.add_argument("--transfer-syntax", action="append", default=[], metavar="NAME",
                     help="take instances in this transfer syntax, by keyword or UID, again for each further one, and "
                          "in no other")
    get.add_argument("--overwrite", action="store_true", help="replace files that are there")
    get.add_argument("--max-files", type=number(1, 65535), default=65535, metavar="N",
                     help="abort where more instances come (default 65535, the most that C-GET can count)")
    get.add_argument("--max-bytes", type=size, default=100 << 30, metavar="SIZE",
                     help="abort where more comes, such as 500MiB (default 100GiB)")

    move = commands.add_parser(
        "move", help="have a peer send what it has to another",
        description=f"Retrieve from an archive by C-MOVE; it must know the destination. {_STATUS}",
        epilog=f"Example: dimsetls move pacs.example:2762 StudyInstanceUID=1.2.3 --destination CT1 --ae PACS {_KEYS}",
    )
    add_target(move)
    move.add_argument("--destination", required=True, type=ae_title, metavar="TITLE", help="the AE it goes to")
    _add_query(move, _TO_RETRIEVE, is_retrieval=True)


def _add_query(command: argparse.ArgumentParser, meaning: str, *, is_retrieval: bool = False) -> None:
    command.add_argument("keys", nargs="+", metavar="KEY", help=meaning)
    default = "that of the lowest key" if is_retrieval else "STUDY"
    command.add_argument("--level", default=None if is_retrieval else "STUDY", type=str.upper, choices=_LEVELS,
                         help=f"of what (default {default})")
    command.add_argument("--model", choices=("study", "patient"),
                         help="the information model, by its root (default study, and for level PATIENT patient)")


def run_client(parsed: argparse.Namespace) -> int:
    """Do it, and print what came of it; returns the exit status."""
    from twisted.internet.defer import CancelledError

    from .running import NoAssociation
    from .target import read_target

    warnings.filterwarnings("ignore", module="pydicom")  # what a peer sends is printed as it is, right or wrong
    target = read_target(parsed)
    do: Callable[[argparse.Namespace, Target], int] = getattr(
        import_module(_MODULES[parsed.command], __package__), parsed.command
    )
    try:
        return do(parsed, target)
    except ConfigurationError:
        raise
    except CancelledError:
        sentence, status = "interrupted", ExitStatus.INTERRUPTED
    except NoAssociation as error:
        sentence, status = str(error), ExitStatus.NO_ASSOCIATION
    except DimsetlsError as error:
        sentence, status = str(error), ExitStatus.FAILED
    sys.stderr.write(f"{target}: {sentence}\n")
    if parsed.json:
        sys.stdout.write(f"{json.dumps({'peer': str(target), 'problems': [sentence]})}\n")
    return status
