"""Observations of a peer that meets every requirement, from which tests take away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dimsetls.node.probe.examination import DISCOURAGED, FORBIDDEN, OLD
from dimsetls.node.probe.hello import (
    TLS_1_1,
    TLS_1_2,
    TLS_1_3,
    ServerFlight,
    SuiteClass,
)
from dimsetls.node.probe.observations import (
    Answer,
    AssociationSeen,
    CertificateSeen,
    Ending,
    HelloSeen,
    Language,
    Observations,
    Reaction,
    SessionSeen,
)
from dimsetls.tls.flights import EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO
from dimsetls.uids import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOOK = Reaction(Ending.COMPLETED)
SAFE = frozenset({RENEGOTIATION_INFO, EXTENDED_MASTER_SECRET})

CERTIFICATE = CertificateSeen(
    "CN=pacs", "CN=authority", ("pacs.example",), "ECDSA", 256, "sha256",
    NOW - timedelta(days=100), NOW + timedelta(days=100), True, ("http://ca.example/crl",), (), "ab" * 32,
)  # fmt: skip
IN_1_3 = SessionSeen(
    TOOK, flight=ServerFlight(TLS_1_3, 0x1302, 0, frozenset({43, 51}), group="X25519"), version=TLS_1_3,
    cipher_suite="TLS_AES_256_GCM_SHA384", group="X25519", alpn="dicom", server_name="pacs.example",
    certificate_requested=True, chain=(CERTIFICATE,), untrusted="", name_matches=True,
)  # fmt: skip
FLIGHT_1_2 = ServerFlight(TLS_1_2, 0xC02C, 0, SAFE, downgraded=True, group="P-256", complete=True)
IN_1_2 = replace(
    IN_1_3, flight=FLIGHT_1_2, version=TLS_1_2, cipher_suite="ECDHE-ECDSA-AES256-GCM-SHA384", group="P-256",
    renegotiation=Reaction(Ending.REFUSED, 100),
)  # fmt: skip
ACCEPTED = AssociationSeen(
    "PACS", "DIMSETLS", Answer.ACCEPTED, contexts={VERIFICATION: EXPLICIT_VR_LITTLE_ENDIAN},
    implementation_class_uid="1.2.3", implementation_version_name="PACS_1", maximum_length=16384, echo=0, released=True,
)  # fmt: skip
DAMAGED = replace(ACCEPTED, echo=None, identity_answered=False, released=False,
                  damaged_record=Reaction(Ending.REFUSED, 20))  # fmt: skip


def refused(alert):
    return Reaction(Ending.REFUSED, alert)


def rejected(reason):
    """By the service-user, permanently."""
    return AssociationSeen("PACS", "DIMSETLS", Answer.REJECTED, f"reason {reason}", (1, 1, reason))


def hello(*offered, alert=40, taken=None, **flight):
    """A ClientHello, refused or answered with the suite `taken`."""
    if taken is None:
        return HelloSeen(refused(alert), frozenset(offered))
    return HelloSeen(TOOK, frozenset(offered), replace(FLIGHT_1_2, suite=taken, **flight))


EXEMPLARY = Observations(
    "pacs.example", 2762, NOW, Language.TLS, 14, has_certificate=True,
    stranger=replace(IN_1_3, reaction=refused(116)),
    client=replace(IN_1_3, association=ACCEPTED),
    impostor=replace(IN_1_3, reaction=refused(48)),
    tls12=IN_1_2,
    other_name=SessionSeen(refused(112), server_name="dimsetls-probe.invalid"),
    other_protocols=SessionSeen(refused(120), server_name="pacs.example"),
    old_versions={TLS_1_1: hello(*OLD, alert=70)},
    forbidden=(hello(*FORBIDDEN),),
    discouraged=(hello(*DISCOURAGED),),
    dhe=hello(SuiteClass.DHE),
    small_groups=hello(SuiteClass.RECOMMENDED),
    ordinary=hello(SuiteClass.RECOMMENDED, taken=0xC02C),
    nobody=replace(IN_1_3, association=rejected(7)),
    unknown_caller=replace(IN_1_3, association=rejected(3)),
    identity=replace(IN_1_3, association=DAMAGED),
)  # fmt: skip


def but(**changes):
    """The exemplary peer with something else about it; `client__alpn=""` reaches into a session."""
    seen = EXEMPLARY
    for path, value in changes.items():
        name, _, inner = path.partition("__")
        seen = replace(seen, **{name: replace(getattr(seen, name), **{inner: value}) if inner else value})
    return seen


def certified(**changes):
    """The exemplary peer with another certificate."""
    chain = (replace(CERTIFICATE, **changes),)
    return but(stranger__chain=chain, client__chain=chain)


def everywhere(**changes):
    """The exemplary peer with something else about every handshake that came through."""
    names = ("stranger", "client", "impostor", "tls12", "nobody", "unknown_caller", "identity")
    return replace(EXEMPLARY, **{name: replace(getattr(EXEMPLARY, name), **changes) for name in names})
