"""What a node says of storage commitment, the modality worklist and performed procedure steps."""

from __future__ import annotations

from collections.abc import Iterator

from ...association.datasets import LARGEST
from ...uids import (
    MODALITY_WORKLIST_FIND,
    PROCEDURE_STEP,
    PROCEDURE_STEP_RETRIEVE,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
)
from ..config import AE, Config, Peer
from .text import Section, code, codes, facts

CLASSES = {
    STORAGE_COMMITMENT: "commitment",
    MODALITY_WORKLIST_FIND: "worklist",
    PROCEDURE_STEP: "procedure-steps",
    PROCEDURE_STEP_RETRIEVE: "procedure-steps",
}
"""SOP class to the service that brings it."""

NAMES = {
    "commitment": "Storage Commitment", "worklist": "Modality Worklist",
    "procedure-steps": "Modality Performed Procedure Step",
}  # fmt: skip


def having(aes: tuple[AE, ...], service: str) -> list[AE]:
    """The AEs with a service."""
    return [ae for ae in aes if service in ae.services]


def reports_to(config: Config, aes: tuple[AE, ...]) -> tuple[Peer, ...]:
    """Whom the AEs can call to report on storage commitment."""
    return tuple(peer for peer in config.peers if peer.host is not None) if having(aes, "commitment") else ()


def activities(ae: AE) -> Iterator[tuple[str, str]]:
    """What peers do, and what the AE does then."""
    if "commitment" in ae.services and ae.storage is not None:
        yield ("A peer asks for storage commitment",
               f"N-ACTION is written down; N-EVENT-REPORT tells what of it is in store {code(ae.storage.name)}")
    if "worklist" in ae.services and ae.worklist is not None:
        yield "A peer asks for its worklist", f"C-FIND looks at the files of worklist {code(ae.worklist.name)}"
    if "procedure-steps" in ae.services and ae.procedure_steps is not None:
        yield ("A peer tells what it performs",
               f"N-CREATE and N-SET write to {code(f'[procedure-steps {ae.procedure_steps.name}]')}, N-GET reads there")


def workflow(config: Config, aes: tuple[AE, ...]) -> Iterator[Section]:
    """The services as SCP."""
    if committing := having(aes, "commitment"):
        yield _commitment(committing, reports_to(config, aes))
    if listing := having(aes, "worklist"):
        yield _worklist(listing)
    if keeping := having(aes, "procedure-steps"):
        yield _procedure_steps(keeping)


def _commitment(aes: list[AE], called: tuple[Peer, ...]) -> Section:
    return Section("Storage commitment service as SCP", (
        "Push Model (PS3.4 Annex J). Success to N-ACTION means that the request is on disk and that a report will "
        "come, also after a crash.",
        facts((
            ("SOP instance", code(STORAGE_COMMITMENT_INSTANCE)),
            ("Committed is", "an instance that is in the index with the same SOP class, and whose file is there as it "
             "was stored; it is synced to disk where the store does not do so. How long files are kept is the site's "
             "affair"),
            ("Failure reasons", "0112H no such object instance, 0119H class-instance conflict, 0122H referenced SOP "
             "class not supported, 0131H duplicate transaction UID, 0110H processing failure (the file was changed)"),
            ("Transaction UID", "in use until its report is answered; the same request again is one request"),
            ("Report", "on the association of the request, if it stands; otherwise, or where that fails, on one to the "
             "[peer] with the AE title of who asked, proposing the SCP role (SCP/SCU Role Selection 0, 1)"),
            ("Peers that can be called", codes(peer.ae_title for peer in called) or "none"),
            ("Tried again", "after 5 s, then after twice as long each time, at most 15 min; given up after "
             + ", ".join(f"{ae.commitment_timeout / 3600:g} h at {code(ae.title)}" for ae in aes)),
            ("Retrieve AE Title", "that of the AE, where anything is committed"),
            ("Longest request", f"{LARGEST} bytes; 1000 of one peer may wait to be reported"),
        )),
    ))


def _worklist(aes: list[AE]) -> Section:
    return Section("Modality worklist service as SCP", (
        "FIND (PS3.4 Annex K), over a directory of worklist files that others write.",
        facts((
            *((f"Files of {code(ae.title)}", code(ae.worklist.directory / "*.wl")) for ae in aes if ae.worklist),
            ("Matching keys", "every attribute of the dictionary, in sequences too, and with them all required ones of "
             "Table K.6-1; private attributes are not supported, and the responses then FF01H"),
            ("Matching", "as with Query/Retrieve: single value, list of UID, wild card, range, universal and sequence; "
             "a range of dates and one of times are one from moment to moment; a step matches keys that it has no "
             "value for"),
            ("Return keys", "what is asked for, of zero length where a step does not have it; one step a response"),
            ("Character sets", "that of the query if it has all that is to be said, otherwise that of the file"),
            ("Authorization", "rules that restrict what a user sees of instances restrict steps alike, by modality, "
             "institution, issuer of the patient ID, referring physician and start date"),
            ("Limit of responses", "none; they are sent as fast as the peer takes them, and C-CANCEL ends them"),
        )),
    ))


def _procedure_steps(aes: list[AE]) -> Section:
    return Section("Modality performed procedure step service as SCP", (
        "N-CREATE and N-SET (PS3.4 F.7), and N-GET by the Retrieve SOP Class (F.8). There are no notifications (F.9).",
        facts((
            *((f"Files of {code(ae.title)}", code(ae.procedure_steps.directory / "*.json"))
              for ae in aes if ae.procedure_steps),
            ("Kept", "as DICOM JSON in UTF-8, on disk before it is answered, whole or as it was before"),
            ("Required attributes", "types 1 and 2 of Table F.7.2-1, in items too; Attribute Identifier List and "
             "Offending Element name what is missing"),
            ("States", "IN PROGRESS, from which a step goes to COMPLETED or DISCONTINUED; then it may no longer be "
             "updated: 0110H, Error ID A710H"),
            ("A final state needs", "Performed Procedure Step End Date and Time, and for COMPLETED at least one item "
             "in Performed Series Sequence"),
            ("What may not change", "as Table F.7.2-1 says; sent along unchanged it is let pass"),
            ("Links to the worklist", "none: a step need not have been scheduled"),
        )),
    ))
