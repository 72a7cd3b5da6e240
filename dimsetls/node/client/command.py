"""The commands that call a peer: their words, what they print, and their exit status."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, DimsetlsError
from ..probe.command import _ae_title as ae_title
from .target import add_target

if TYPE_CHECKING:
    from .storing import Report
    from .target import Target

COMMANDS = ("echo", "store", "find", "move")
_STATUS = "Exit status: 0 fine, 1 a failure, 2 wrong usage."
_KEYS = "--cert me.pem --key me.key --ca hospital-ca.pem"


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
    store.add_argument("--convert", action="store_true",
                       help="convert what the peer does not accept in its transfer syntax")

    find = commands.add_parser(
        "find", help="ask a peer what it has",
        description=f"Query an archive by C-FIND. With --json the matches come in the DICOM JSON Model. {_STATUS}",
        epilog=f"Example: dimsetls find pacs.example:2762 PatientID=4711 StudyDate --ae PACS {_KEYS}",
    )
    add_target(find)
    _add_query(find, "KEYWORD=VALUE to match, KEYWORD to see; without any of the latter the usual ones are shown")


    move = commands.add_parser(
        "move", help="have a peer send what it has to another",
        description=f"Retrieve from an archive by C-MOVE; it must know the destination. {_STATUS}",
        epilog=f"Example: dimsetls move pacs.example:2762 StudyInstanceUID=1.2.3 --destination CT1 --ae PACS {_KEYS}",
    )
    add_target(move)
    move.add_argument("--destination", required=True, type=ae_title, metavar="TITLE", help="the AE it goes to")
    _add_query(move, "KEYWORD=VALUE: the unique key of the level, and of those above it")


def _add_query(command: argparse.ArgumentParser, meaning: str) -> None:
    command.add_argument("keys", nargs="+", metavar="KEY", help=meaning)
    command.add_argument("--level", default="STUDY", type=str.upper, choices=("PATIENT", "STUDY", "SERIES", "IMAGE"),
                         help="of what (default STUDY)")
    command.add_argument("--model", default="study", choices=("study", "patient"),
                         help="the information model, by its root (default study)")


def run_client(parsed: argparse.Namespace) -> int:
    """Do it, and print what came of it; returns the exit status."""
    from twisted.internet.defer import CancelledError

    from .target import read_target

    target = read_target(parsed)
    do = {"echo": _echo, "store": _store, "find": _find, "move": _move}[parsed.command]
    try:
        return do(parsed, target)
    except ConfigurationError:
        raise
    except (DimsetlsError, CancelledError) as error:
        sentence = "interrupted" if isinstance(error, CancelledError) else f"{target}: {error}"
        sys.stderr.write(f"{sentence}\n")
        return 1


def _echo(parsed: argparse.Namespace, target: Target) -> int:
    from ...association.requestor import propose
    from ...uids import VERIFICATION
    from .running import run

    async def operation() -> dict[str, object]:
        async with await target.open([propose(VERIFICATION)]) as association:
            begun = time.monotonic()
            status = await association.echo()
            passed = round(time.monotonic() - begun, 6)
            parties = association.parties
        return {"peer": str(target), "status": f"{status:04X}H", "seconds": passed, "protection": parties.protection,
                "certificate": parties.certificate}

    found = run(operation)
    _print(json.dumps(found) if parsed.json else
           "{peer} answered {status} ({protection}, {certificate})".format(**found))
    return 0


def _store(parsed: argparse.Namespace, target: Target) -> int:
    from twisted.internet.defer import CancelledError

    from .gathering import gather, remaining
    from .journal import Journal
    from .progress import Progress
    from .running import run
    from .storing import Report, Sending

    journal = None if parsed.journal is None else Journal(parsed.journal)
    found = gather(parsed.places, convert=parsed.convert)
    for _, sentence in found.problems:
        sys.stderr.write(f"{sentence}\n")
    files = found.files if journal is None else remaining(found.files, journal.acknowledged)
    report = Report(passed_over=found.passed_over, failed=list(found.problems))
    report.already_acknowledged = len(found.files) - len(files)
    if not found.files and not found.problems:
        report.failed.append((" ".join(parsed.places), "there is no DICOM file"))
        sys.stderr.write("there is no DICOM file in what was named\n")
    sending = Sending(
        target, report, Progress(len(files), sum(file.size for file in files)), journal, convert=parsed.convert
    )
    begun, is_interrupted = time.monotonic(), False
    if files:
        try:
            run(lambda: sending.send(files))
        except CancelledError:
            is_interrupted = True
        except OSError as error:
            report.failed.append((parsed.journal, f"journal {parsed.journal} cannot be written: {error.strerror}"))
            sys.stderr.write(f"{report.failed[-1][1]}; nothing more was sent\n")
    if journal is not None:
        journal.close()
    _report(parsed.json, target, report, time.monotonic() - begun, is_interrupted)
    return 1 if report.failed or is_interrupted else 0


def _report(as_json: bool, target: Target, report: Report, seconds: float, is_interrupted: bool) -> None:
    from .progress import size_text

    if as_json:
        failed, warned = ([{"path": path, "sentence": sentence} for path, sentence in each]
                          for each in (report.failed, report.warnings))
        _print(json.dumps({
            "peer": str(target), "stored": report.stored, "bytes": report.size, "seconds": round(seconds, 3),
            "alreadyAcknowledged": report.already_acknowledged, "passedOver": report.passed_over,
            "interrupted": is_interrupted, "warnings": warned, "failed": failed,
        }))  # fmt: skip
        return
    rate = f" ({size_text(report.size)} in {seconds:.1f} s)" if report.stored else ""
    others = (
        (len(report.warnings), "with a warning"), (len(report.failed), "failed"),
        (report.already_acknowledged, "acknowledged before"), (report.passed_over, "passed over: no instance"),
    )  # fmt: skip
    counted = "".join(f"; {number} {what}" for number, what in others if number)
    _print(f"{target}: {report.stored} stored{rate}{counted}{'; interrupted' if is_interrupted else ''}")


def _find(parsed: argparse.Namespace, target: Target) -> int:
    from pydicom.dataset import Dataset

    from ...association.requestor import propose
    from ...services.models import Level
    from . import querying
    from .running import run

    try:
        query = querying.identifier(Level(parsed.level), parsed.keys)
    except ValueError as error:
        parsed.refuse(str(error))
    model = querying.FIND[parsed.model]
    matches: list[Dataset] = []

    async def operation() -> None:
        async with await target.open([propose(model)]) as association, association.find(model, query) as found:
            matches.extend([match async for match in found])

    run(operation)
    if parsed.json:
        _print(querying.dicom_json(matches))
    else:
        for line in querying.table(matches, querying.columns(query)):
            _print(line)
    return 0


def _move(parsed: argparse.Namespace, target: Target) -> int:
    from ...association.requestor import propose
    from ...association.responses import Retrieved
    from ...dimse.status import describe
    from ...services.models import Level
    from . import querying
    from .running import run

    try:
        query = querying.identifier(Level(parsed.level), parsed.keys, to_retrieve=True)
    except ValueError as error:
        parsed.refuse(str(error))
    model = querying.MOVE[parsed.model]

    async def operation() -> Retrieved:
        async with await target.open([propose(model)]) as association:
            return await association.move(model, query, parsed.destination)

    moved = run(operation)
    response, failed = moved.response, moved.failed_sop_instance_uids
    counts = {"completed": response.number_of_completed_suboperations or 0,
              "failed": response.number_of_failed_suboperations or 0,
              "warning": response.number_of_warning_suboperations or 0}
    if parsed.json:
        _print(json.dumps({"peer": str(target), "destination": parsed.destination, "status": f"{response.status:04X}H",
                           **counts, "failedSOPInstanceUIDs": failed}))
    else:
        for uid in failed:
            sys.stderr.write(f"{uid} failed\n")
        _print(f"{target}: {counts['completed']} sent to {parsed.destination}, {counts['failed']} failed, "
               f"{counts['warning']} with a warning; {describe(response.status)}")
    return 1 if counts["failed"] or failed else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
