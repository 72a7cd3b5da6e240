"""What a node says of what it forwards: which instances, to whom, in which form, and how long it tries."""

from __future__ import annotations

from collections.abc import Iterator

from ...services.known import UIDS
from ...uids import IMPLICIT_VR_LITTLE_ENDIAN
from ..config import AE, Forward, Peer
from .text import Section, code, codes, facts, see, table


def forwards(aes: tuple[AE, ...]) -> tuple[Forward, ...]:
    """The rules by which is forwarded what comes to the AEs."""
    return tuple(dict.fromkeys(
        forward for ae in aes if ae.storage is not None and "storage" in ae.services
        for forward in ae.storage.forward or () if ae.title in (forward.called_ae_titles or (ae.title,))
    ))  # fmt: skip


def forwards_to(aes: tuple[AE, ...]) -> tuple[Peer, ...]:
    """Where it goes."""
    return tuple(dict.fromkeys(peer for forward in forwards(aes) for peer in forward.peers))


def forwarding(aes: tuple[AE, ...]) -> Section:
    """The storage service as SCU."""
    def rows() -> Iterator[tuple[str, ...]]:
        for forward in forwards(aes):
            conditions = [
                f"{what} {codes(wanted, ' or ')}" for what, wanted in (
                    ("from", forward.calling_ae_titles), ("to", forward.called_ae_titles),
                    ("of modality", forward.modalities),
                ) if wanted is not None
            ]  # fmt: skip
            classes = "all that the AE accepts" if forward.sop_classes is None else ", ".join(
                f"{UIDS[uid][0]} ({code(uid)})" if uid in UIDS else code(uid) for uid in forward.sop_classes
            )
            yield (code(forward.name), ", ".join(conditions) or "everything", classes,
                   codes(peer.ae_title for peer in forward.peers),
                   code(forward.ae_title) if forward.ae_title is not None else "the AE that received it",
                   f"{forward.first_delay:g} s to {forward.longest_delay:g} s, for {forward.give_up_after:g} s")

    return Section("Storage service as SCU", (
        "What is stored is sent on by rules. It is queued on disk before its C-STORE is answered with Success, and "
        "stays so until the peer has answered with Success or a warning, over restarts and outages.",
        table("Rule | Instances | SOP classes | Peers | Calling AE title | Tried again after", rows()),
        facts((
            ("Data set", "as it was stored, bit for bit"),
            ("Presentation contexts proposed", "one for each SOP class and transfer syntax of what is to be sent, and "
             f"{UIDS[IMPLICIT_VR_LITTLE_ENDIAN][0]} for each SOP class; at most 126 at a time"),
            ("Transfer syntaxes", "those in which instances were stored; where none of them is accepted, "
             + ("an uncompressed one if the rule says so, otherwise nothing is sent" if any(
                 forward.convert for forward in forwards(aes)) else "nothing is sent")),
            ("Associations and operations outstanding", f"as many as the peer has, {see('Associations as requestor')}"),
            ("Success or a warning (Bxxx)", "the instance is sent, and not again unless it is replaced"),
            ("A7xx, 0213", "the peer is left alone for a while, then the instance is sent again"),
            ("A9xx, 0111, 0117, 0118, 0119, 0122, 0211, 0212; no context accepted", "the instance is a dead letter, "
             "kept until an operator lets it be tried anew or drops it"),
            ("Any other failure", "the instance is sent again later, up to so many times as the rule says; then it is "
             "a dead letter"),
            ("No association, or its end", "what was not answered is sent again, so an instance can come twice"),
        )),
    ))
