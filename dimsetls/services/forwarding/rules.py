"""Which instances go on to which peers, and how often that is tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...association.back_off import BackOff

if TYPE_CHECKING:
    from ..records import Entry


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. A condition that is None is met by every instance; all that there are must be met.

    Peers are known by names of the operator's. `give_up_after` is in seconds.
    """

    name: str
    peers: tuple[str, ...]
    calling_ae_titles: tuple[str, ...] | None = None
    called_ae_titles: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    sop_classes: tuple[str, ...] | None = None
    ae_title: str | None = None
    """As whom the peers are called; None: as the AE that the instance was sent to."""
    convert: bool = False
    attempts: int = 5
    """How often a peer may answer an instance with a failure that may pass."""
    back_off: BackOff = field(default_factory=lambda: BackOff(30.0, 3600.0))
    give_up_after: float = 7 * 86400.0
    """How long an instance is tried at all."""

    def takes(self, entry: Entry) -> bool:
        """Whether an instance that was stored is to be forwarded."""
        return all(wanted is None or entry.values.get(keyword, "") in wanted for keyword, wanted in (
            ("SendingApplicationEntityTitle", self.calling_ae_titles),
            ("ReceivingApplicationEntityTitle", self.called_ae_titles),
            ("Modality", self.modalities),
            ("SOPClassUID", self.sop_classes),
        ))  # fmt: skip
