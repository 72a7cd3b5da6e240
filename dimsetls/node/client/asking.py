"""What `echo` and `find` do and print."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ..arguments import ExitStatus
from .running import calling, run
from .target import Target


def echo(parsed: argparse.Namespace, target: Target) -> int:
    """One C-ECHO."""
    from ...association import propose
    from ...uids import VERIFICATION

    async def operation() -> dict[str, object]:
        async with calling(target, [propose(VERIFICATION)]) as association:
            begun = time.monotonic()
            status = await association.echo()
            passed = round(time.monotonic() - begun, 6)
            parties = association.parties
        return {"peer": str(target), "status": f"{status:04X}H", "seconds": passed, "protection": parties.protection,
                "certificate": parties.certificate}

    found = run(operation)
    text = "{peer} answered {status} ({protection}, {certificate})".format(**found)
    sys.stdout.write(f"{json.dumps(found) if parsed.json else text}\n")
    return ExitStatus.DONE


def find(parsed: argparse.Namespace, target: Target) -> int:
    """One C-FIND; its matches as a table, or in the DICOM JSON Model."""
    from pydicom.dataset import Dataset

    from ...association import propose
    from ...services.models import Level
    from . import querying

    try:
        model = querying.model_of(parsed.model, Level(parsed.level))
        query = querying.identifier(Level(parsed.level), parsed.keys)
    except ValueError as error:
        parsed.refuse(str(error))
    matches: list[Dataset] = []

    async def operation() -> bool:
        proposed = [propose(model.find)]
        async with calling(target, proposed) as association, association.find(model.find, query) as found:
            async for match in found:
                if len(matches) == parsed.limit:
                    return False  # which ends the block, and that asks the peer to stop
                matches.append(match)
        return True

    is_complete = run(operation)
    if parsed.json:
        sys.stdout.write(f"{querying.dicom_json(matches)}\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in querying.table(matches, querying.columns(query)))
    if not is_complete:
        sys.stderr.write(f"{target} has more than {parsed.limit} matches, which --limit permits; these are the first\n")
    return ExitStatus.DONE if is_complete else ExitStatus.FAILED
