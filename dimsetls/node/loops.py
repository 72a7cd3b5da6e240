"""Forward rules that would send what they forward back to where it comes from, as far as the configuration shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from .config import AE, Config, Forward, Listener, Peer


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Instances that come to an AE of ours: from whom, None: from anyone, and which, None: any."""

    called: AE
    calling: str | None = None
    modalities: frozenset[str] | None = None
    sop_classes: frozenset[str] | None = None


def loops(config: Config) -> Iterator[tuple[str, str]]:
    """By the name of the [storage]: a way that what is stored there would take for ever, one for each rule."""
    told: set[tuple[str, str]] = set()
    visited: set[_Arrival] = set()
    for ae in dict.fromkeys(ae for listener in config.listeners for ae in listener.aes):
        for storage, rule, way in _walk(config, _Arrival(ae), (), visited):
            if (storage, rule) not in told:
                told.add((storage, rule))
                yield storage, (f"found {rule}, which sends what it takes back to where it comes from "
                                f"({' → '.join(way)}), expected peers that are others than this node")


def _walk(
    config: Config, arrival: _Arrival, way: tuple[_Arrival, ...], visited: set[_Arrival]
) -> Iterator[tuple[str, str, list[str]]]:
    """Depth first: the storage, the rule and the titles of each way that ends where it was before."""
    storage = arrival.called.storage
    if storage is None or "storage" not in arrival.called.services or arrival in visited:
        return
    visited.add(arrival)
    way = (*way, arrival)
    for rule in storage.forward or ():
        taken = _taken(rule, arrival)
        if taken is None:
            continue
        for peer in rule.peers:
            for called in _reached(config, peer):
                following = replace(taken, called=called, calling=rule.ae_title or arrival.called.title)
                if following in way:
                    circle = (*way[way.index(following):], following)
                    yield storage.name, rule.name, [each.called.title for each in circle]
                else:
                    yield from _walk(config, following, way, visited)


def _taken(rule: Forward, arrival: _Arrival) -> _Arrival | None:
    """What a rule takes of these instances; None: nothing."""
    if rule.called_ae_titles is not None and arrival.called.title not in rule.called_ae_titles:
        return None
    if rule.calling_ae_titles is not None and arrival.calling not in (None, *rule.calling_ae_titles):
        return None
    modalities = _both(arrival.modalities, rule.modalities)
    sop_classes = _both(arrival.sop_classes, rule.sop_classes)
    if modalities == frozenset() or sop_classes == frozenset():
        return None
    return replace(arrival, modalities=modalities, sop_classes=sop_classes)


def _both(some: frozenset[str] | None, wanted: tuple[str, ...] | None) -> frozenset[str] | None:
    if some is None or wanted is None:
        return some if wanted is None else frozenset(wanted)
    return some & frozenset(wanted)


def _reached(config: Config, peer: Peer) -> Iterator[AE]:
    """The AEs of ours that a [peer] is in truth."""
    for listener in config.listeners:
        if _is_at(peer, listener):
            yield from (ae for ae in listener.aes if ae.title == peer.ae_title)


def _is_at(peer: Peer, listener: Listener) -> bool:
    if listener.endpoint is not None or peer.host is None or peer.port != listener.port:
        return False
    interface = ip_address(listener.interface)
    if interface.is_unspecified:
        return peer.is_loopback
    return peer.host == listener.interface or (peer.host == "localhost" and interface.is_loopback)
