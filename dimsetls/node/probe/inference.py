"""What follows from the observations taken together; pure."""

from __future__ import annotations

from ...tls.conditions import ALERTS
from ...tls.flights import ENCRYPT_THEN_MAC
from .hello import (
    CLASS_OF,
    SSL_3_0,
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    TLS_1_3,
    SuiteClass,
    suite_name,
)
from .observations import Answer, Observations, Reaction, SessionSeen


def version_states(seen: Observations) -> dict[int, bool | None]:
    """Whether each version of TLS is spoken, the newest first; None where that is not known."""
    states: dict[int, bool | None] = dict.fromkeys((TLS_1_3, TLS_1_2, TLS_1_1, TLS_1_0, SSL_3_0))
    for offered, answer in (seen.old_versions or {}).items():
        if answer.flight is not None or answer.reaction.is_refusal:
            taken = answer.flight.version if answer.flight is not None else 0
            states.update((version, False) for version in states if taken < version <= offered)
    in_1_2 = (seen.tls12, *seen.forbidden, *seen.discouraged, seen.dhe, seen.ordinary)
    if seen.tls12 is not None and all(each is None or each.reaction.is_refusal for each in in_1_2):
        states[TLS_1_2] = False
    if any(each is not None and each.flight is not None for each in (seen.stranger, seen.client)):
        states[TLS_1_3] = False  # everything was offered
    states.update((flight.version, True) for flight in seen.flights if flight.version in states)
    return states


def suite_states(seen: Observations) -> dict[SuiteClass, bool | None]:
    """Whether suites of each class are accepted before TLS 1.3; None where that is not known."""
    states: dict[SuiteClass, bool | None] = dict.fromkeys(SuiteClass)
    versions = version_states(seen)
    if all(versions[version] is False for version in (TLS_1_2, TLS_1_1, TLS_1_0)):
        return dict.fromkeys(SuiteClass, False)
    for each in (*seen.forbidden, *seen.discouraged, seen.dhe, seen.ordinary):
        if each is not None and each.reaction.is_refusal:
            states.update(dict.fromkeys(each.offered, False))
    states.update((CLASS_OF[flight.suite], True) for flight in seen.flights if flight.suite in CLASS_OF)
    return states


def example(seen: Observations, kind: SuiteClass) -> str:
    """A suite of that class that was accepted; empty if there is none."""
    return next((suite_name(flight.suite) for flight in seen.flights if CLASS_OF.get(flight.suite) is kind), "")


def preferred_class(seen: Observations) -> SuiteClass | None:
    """The class of the suite that the peer chose before TLS 1.3 with everything on offer."""
    flight = seen.regular.flight if seen.regular is not None else None
    return CLASS_OF.get(flight.suite) if flight is not None else None


def encrypts_then_macs(seen: Observations) -> bool:
    """Every CBC suite that was accepted came with encrypt_then_mac, which RFC 9325 §4.2 lets pass."""
    taken = [flight for flight in seen.flights if CLASS_OF.get(flight.suite) is SuiteClass.CBC]
    return bool(taken) and all(ENCRYPT_THEN_MAC in flight.extensions for flight in taken)


def downgrades(seen: Observations) -> bool:
    """The peer marks in its ServerHello that it could have spoken a newer version than it chose (RFC 8446 §4.1.3)."""
    flights = [each.flight for each in (seen.stranger, seen.client) if each is not None and each.flight is not None]
    return any(flight.downgraded and flight.version < TLS_1_3 for flight in flights)


def demands_certificate(seen: Observations) -> bool | None:
    """Whether strangers are turned away; None where that is not known."""
    stranger = seen.stranger
    if stranger is None or not (stranger.certificate_requested or stranger.admitted):
        return None
    return not stranger.admitted


def took_association(session: SessionSeen | None) -> bool:
    """The peer accepted the association that was asked for."""
    return session is not None and session.association is not None and session.association.answer is Answer.ACCEPTED


def refusal_words(reaction: Reaction) -> str:
    """With which alert somebody refused, or how else."""
    if reaction.alert is None:
        return reaction.ending.value
    return f"alert {reaction.alert} {ALERTS.get(reaction.alert, 'unknown')}"
