"""What `dimsetls probe` does: a handful of connections to one peer, one after the other, and what they show.

It comes as a stranger, as a client and as an impostor, and says of each suite and version that is out of use
that it has nothing better. No connection is left to the peer to end, and none is opened that can teach nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from ...tls.authority import DevelopmentAuthority
from ...tls.material import KeyMaterial, TrustRoots
from ...tls.policy import BCP195_RFC9325
from ...uids import VERIFICATION
from . import hello
from .caller import Request, associate
from .certificates import certificate_seen, is_address, is_for, untrusted
from .hello import SuiteClass
from .line import Address, Line, Offer, TLSLine, greet
from .observations import (
    MOST_CONNECTIONS,
    Answer,
    AssociationSeen,
    Ending,
    HelloSeen,
    Language,
    Observations,
    Reaction,
    SessionSeen,
)

NOBODY, STRANGER = "DIMSETLS-NOBODY", "DIMSETLS-STRANGE"
"""AE titles that no peer knows."""
NO_NAME = "dimsetls-probe.invalid"
"""A server name that no peer has (RFC 2606 §2)."""
OTHER_PROTOCOLS = (b"h2", b"http/1.1")

FORBIDDEN = (SuiteClass.NULL, SuiteClass.ANONYMOUS, SuiteClass.BROKEN)
"""MUST NOT be negotiated (RFC 9325 §4.1)."""
DISCOURAGED = (SuiteClass.TRIPLE_DES, SuiteClass.STATIC, SuiteClass.CBC)
"""SHOULD NOT be negotiated (RFC 9325 §4.1, §4.2)."""
OLD = (SuiteClass.STATIC, SuiteClass.CBC, SuiteClass.DHE, SuiteClass.TRIPLE_DES, SuiteClass.BROKEN)
"""What TLS before 1.2 can negotiate."""

SOP_CLASSES = (
    VERIFICATION,
    "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
    "1.2.840.10008.3.1.2.3.3",  # Modality Performed Procedure Step
    "1.2.840.10008.5.1.4.31",  # Modality Worklist - FIND
    "1.2.840.10008.5.1.4.1.2.1.1",  # Patient Root Query/Retrieve - FIND
    "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query/Retrieve - FIND
    "1.2.840.10008.5.1.4.1.2.2.2",  # - MOVE
    "1.2.840.10008.5.1.4.1.2.2.3",  # - GET
    "1.2.840.10008.5.1.4.1.1.1",  # Storage: Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic
    "1.2.840.10008.5.1.4.1.1.20",  # Nuclear Medicine
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    "1.2.840.10008.5.1.4.1.1.128",  # Positron Emission Tomography
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT Plan
)
"""What peers most often do; proposed once, in one association."""

_UNRECOGNIZED_NAME, _PROTOCOL_VERSION = 112, 70


class Probe:
    """Examines one peer; `run` does it all and never raises for what the peer does.

    `host` is a DNS name in A-labels or an IP address; `timeout` counts seconds for each connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called: str,
        calling: str,
        timeout: float,
        key_material: KeyMaterial | None = None,
        trust_roots: TrustRoots | None = None,
    ) -> None:
        self._called, self._calling, self._timeout = called, calling, timeout
        self._key_material, self._trust_roots = key_material, trust_roots
        self._server_name = None if is_address(host) else host
        # Everything that OpenSSL has and that comes with a certificate.
        self._offer = Offer(
            suites="ALL:!aNULL:eNULL:!PSK:!SRP", groups=(*BCP195_RFC9325.groups, "P-521"),
            server_name=self._server_name, key_material=key_material,
        )  # fmt: skip
        self._addresses: list[Address] = []
        self._seen = Observations(
            host, port, datetime.now(UTC), Language.NOTHING, 0, has_certificate=key_material is not None
        )

    def run(self) -> Observations:
        try:
            found = socket.getaddrinfo(self._seen.host, self._seen.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._note(trouble=f"{self._seen.host} has no address ({error})")
            return self._seen
        self._addresses = [(family, where) for family, _, _, _, where in found]
        as_stranger = replace(self._offer, key_material=None)
        stranger = self._session(as_stranger, self._request(SOP_CLASSES, echo=self._key_material is None))
        self._note(stranger=stranger, language=_language(stranger.first_bytes))
        if stranger.reaction.ending is Ending.UNREACHABLE:
            self._note(trouble=stranger.words)
        elif self._seen.language is Language.TLS:
            self._tls(stranger)
        else:
            self._without_tls()
        return self._seen

    # The questions, the weightiest first

    def _tls(self, stranger: SessionSeen) -> None:
        if self._key_material is not None:
            self._note(client=self._session(self._offer, self._request(SOP_CLASSES, echo=True)))
        suites = ":".join(BCP195_RFC9325.cipher_suites)
        profile = replace(self._offer, suites=suites, maximum_version=hello.TLS_1_2)
        tls12 = self._session(profile, renegotiate=True)
        self._note(tls12=tls12)
        if stranger.certificate_requested and not stranger.admitted:
            made_up = DevelopmentAuthority("dimsetls probe: trusted by nobody").issue_client().material
            self._note(impostor=self._session(replace(self._offer, key_material=made_up), self._request()))
        self._note(old_versions={hello.TLS_1_1: self._hello(OLD, version=hello.TLS_1_1)})
        if tls12.reaction.alert != _PROTOCOL_VERSION or tls12.flight is not None:
            self._note(forbidden=(self._hello(FORBIDDEN),), discouraged=(self._hello(DISCOURAGED),))
            self._note(
                dhe=self._hello((SuiteClass.DHE,)),
                ordinary=self._hello((SuiteClass.RECOMMENDED,), groups=(hello.P_256,), alpn=b"", compressions=(1, 0)),
                small_groups=self._hello((SuiteClass.RECOMMENDED,), groups=hello.SMALL_GROUPS),
            )
        regular = self._seen.regular
        if regular is not None and regular.association is not None and regular.association.answer is Answer.ACCEPTED:
            self._titles()
        self._names()
        self._follow_up()

    def _titles(self) -> None:
        """Whether AE titles and a user identity make a difference; then the damaged record."""
        request = replace(self._request(), calling=STRANGER, identity=True, damage=True)
        unknown_caller = self._session(self._offer, request)
        self._note(unknown_caller=unknown_caller)
        self._note(nobody=self._session(self._offer, replace(self._request(), called=NOBODY)))
        association = unknown_caller.association
        if association is None or association.answer is not Answer.ACCEPTED:
            self._note(identity=self._session(self._offer, replace(request, calling=self._calling)))

    def _names(self) -> None:
        """Server name and ALPN: both wrong at once, and if that is refused, the one that was not to blame alone."""
        wrong = replace(self._offer, server_name=NO_NAME, alpn=OTHER_PROTOCOLS)
        seen = self._session(wrong)
        self._note(other_name=seen, other_protocols=seen)
        if seen.flight is not None or not self._may_connect:
            return
        if seen.reaction.alert == _UNRECOGNIZED_NAME:
            self._note(other_protocols=self._session(replace(wrong, server_name=self._server_name)))
        else:
            self._note(other_name=self._session(replace(wrong, alpn=self._offer.alpn)))

    def _follow_up(self) -> None:
        """Ask again without what was taken, as long as something is and there are connections left."""
        while (versions := self._seen.old_versions) and self._may_connect:
            taken = versions[min(versions)].flight
            if taken is None or taken.version <= hello.SSL_3_0:
                break
            next_version = min(taken.version, min(versions)) - 1
            self._note(old_versions={**versions, next_version: self._hello(OLD, version=next_version)})
        for name in ("forbidden", "discouraged"):
            while (seen := getattr(self._seen, name)) and self._may_connect and (left := _left_over(seen[-1])):
                self._note(**{name: (*seen, self._hello(left))})

    def _without_tls(self) -> None:
        """Whether it is DICOM, else HTTP, that is spoken in the clear."""
        if self._seen.language is Language.HTTP:
            return
        plain = AssociationSeen(self._called, self._calling)
        try:
            with self._connect() as line:
                plain = associate(line, self._request(SOP_CLASSES, echo=True))
        except OSError as error:
            plain = replace(plain, words=str(error) or "no answer in time")
        self._note(plain=plain)
        if plain.speaks_dicom:
            self._note(language=Language.DICOM)
        elif plain.answer is Answer.HTTP or self._speaks_http():
            self._note(language=Language.HTTP)
        elif plain.answer is Answer.OTHER:
            self._note(language=Language.OTHER)

    def _speaks_http(self) -> bool:
        try:
            with self._connect() as line:
                line.send(f"HEAD / HTTP/1.1\r\nHost: {self._seen.host}\r\nConnection: close\r\n\r\n".encode())
                return line.receive().startswith(b"HTTP/")
        except OSError:
            return False

    # One connection each

    def _session(self, offer: Offer, request: Request | None = None, *, renegotiate: bool = False) -> SessionSeen:
        try:
            line = self._connect()
        except OSError as error:
            return SessionSeen(Reaction(Ending.UNREACHABLE), error.strerror or "no answer in time")
        with line:
            tls = TLSLine(line, offer)
            try:
                chain = tls.handshake()
                tls.seen = replace(tls.seen, **self._judged(chain))
                if request is not None:
                    tls.seen = replace(tls.seen, association=associate(tls, request))
                if renegotiate:
                    tls.seen = replace(tls.seen, renegotiation=tls.renegotiate())
            except (SSL.Error, OSError, ValueError) as error:  # ValueError: a certificate that cannot be read
                tls.fail(error)
            tls.close()
        return tls.seen

    def _hello(self, classes: Iterable[SuiteClass], alpn: bytes = BCP195_RFC9325.alpn, **wishes: Any) -> HelloSeen:
        classes = tuple(classes)
        suites = [suite for kind in classes for suite in hello.SUITES[kind]]
        client_hello = hello.client_hello(
            os.urandom(32), suites, server_name=self._server_name, alpn=alpn, **wishes
        )
        try:
            with self._connect() as line:
                return greet(line, client_hello, classes)
        except OSError:
            return HelloSeen(Reaction(Ending.UNREACHABLE), frozenset(classes))

    def _connect(self) -> Line:
        self._note(connections=self._seen.connections + 1)
        deadline = monotonic() + self._timeout
        trouble: OSError = TimeoutError()
        for address in self._addresses:
            try:
                line = Line(address, max(deadline - monotonic(), 0.01))
            except OSError as error:
                trouble = error
            else:
                self._addresses = [address]  # a name may stand for several machines; keep to the one
                return line
        raise trouble

    @property
    def _may_connect(self) -> bool:
        return self._seen.connections < MOST_CONNECTIONS

    def _request(self, sop_classes: tuple[str, ...] = SOP_CLASSES[:1], *, echo: bool = False) -> Request:
        return Request(self._called, self._calling, sop_classes, echo=echo)

    def _judged(self, chain: tuple[x509.Certificate, ...]) -> dict[str, Any]:
        """What is to be said of a chain."""
        if not chain:
            return {}
        return {
            "chain": tuple(map(certificate_seen, chain)),
            "name_matches": is_for(chain[0], self._seen.host),
            "untrusted": None if self._trust_roots is None else untrusted(chain, self._trust_roots),
        }

    def _note(self, **seen: Any) -> None:
        self._seen = replace(self._seen, **seen)


def _language(first: bytes) -> Language:
    if not first:
        return Language.NOTHING
    if 0x14 <= first[0] <= 0x17 and first[1:2] in (b"\x03", b""):
        return Language.TLS
    if first.startswith(b"HTTP/"):
        return Language.HTTP
    return Language.DICOM if 1 <= first[0] <= 7 and first[1:2] == b"\0" else Language.OTHER


def _left_over(seen: HelloSeen) -> list[SuiteClass]:
    """What is still to be asked: the classes offered less the one taken, worst first; nothing after a refusal."""
    if seen.flight is None:
        return []
    taken = hello.CLASS_OF.get(seen.flight.suite)
    return [kind for kind in SuiteClass if kind in seen.offered and kind is not taken] if taken in seen.offered else []
