"""What a node says of Query/Retrieve: the keys that it knows, by level, and where C-MOVE may send."""

from __future__ import annotations

from collections.abc import Iterator

from ...association.retrieving import MOST
from ...services.models import COMPUTED_KEYS, LEVELS, OPTIONAL_KEYS, REQUIRED_KEYS, UNIQUE_KEYS
from ..config import AE, Config, Peer
from .text import Section, code, codes, facts, table


def moves_to(config: Config, aes: tuple[AE, ...]) -> tuple[Peer, ...]:
    """Where the AEs can send what a C-MOVE asks for."""
    return tuple(peer for peer in config.peers if peer.host is not None) if any(
        "retrieve" in ae.services for ae in aes
    ) else ()


def query_retrieve(destinations: tuple[Peer, ...]) -> Section:
    """The service as SCP."""
    def keys() -> Iterator[tuple[str, ...]]:
        for level in LEVELS:
            yield (level.value, code(UNIQUE_KEYS[level]), codes(REQUIRED_KEYS[level]),
                   codes([*OPTIONAL_KEYS[level].split(), *COMPUTED_KEYS[level]]))

    return Section("Query/Retrieve service as SCP", (
        "Patient Root, Study Root and, retired, Patient/Study Only (PS3.4 Annex C), over an index of what is stored.",
        table("Level | Unique key | Required keys | Optional keys", keys()),
        facts((
            ("Matching", "single value, list of UID, wild card, range, universal and sequence (PS3.4 C.2.2.2); person "
             "names without case and accents; an attribute that an entity has no value for matches every key"),
            ("Other keys", "are not matched and not returned; the responses are then FF01H"),
            ("Authorization", "rules can restrict what a user finds, is sent and has counted: by modality, "
             "institution, issuer of the patient ID, referring physician, sending AE and study date of an instance"),
            ("Limit of responses", "none; they are sent as fast as the peer takes them"),
            ("C-CANCEL", "stops a search where it stands, and a retrieval after the present sub-operation"),
            ("Instances sent", "bit for bit as they were stored, in that transfer syntax if the peer accepts it; "
             "otherwise without compression, if they can be decoded"),
            ("Most sub-operations", f"{MOST} of one C-GET or C-MOVE; more are A701H"),
            ("Destinations of C-MOVE", ", ".join(
                f"{code(peer.ae_title)} at {code(f'{peer.host}:{peer.port}')}, TLS {code(peer.tls.name)}"
                for peer in destinations if peer.tls is not None
            ) or "none; every C-MOVE is A801H"),
        )),
    ))
