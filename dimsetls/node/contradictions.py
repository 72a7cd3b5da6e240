"""Options of one section of the INI file that do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..identity.credentials import Method
from ..identity.gate import Requirement
from ..tls.policy import ClientCertificate
from .config import AE, DICOM_TLS_PORT, TLS, Certificate, Listener, Peer
from .identity.sections import Identity, Rule
from .ini import Section


def contradictions(made: Any, section: Section) -> Iterator[tuple[str, str]]:
    """Options of one section that do not go together: the option to change, and what is wrong with it."""
    given = section.entries
    match made:
        case Listener(endpoint=endpoint, plain=plain, port=port):
            for option in ("port", "interface", "backlog") if endpoint is not None else ():
                if option in given:
                    yield option, f"found besides endpoint (line {given['endpoint'].line}), expected one or the other"
            if plain and "tls" in given:
                yield "plain", f"found besides tls (line {given['tls'].line}), expected one or the other"
            if plain and endpoint is None and port == DICOM_TLS_PORT:
                yield "port", f"found {port} for a plain listener, expected another: {port} is registered for TLS"
        case TLS():
            yield from _two_sources_of_status(made, section)
            if made.profile.is_legacy and not made.legacy_profile:
                yield "profile", (f"found {made.profile.name}, which admits what RFC 9325 advises against, expected "
                                  "another, or legacy-profile = i understand the risk besides it")
            asked = made.client_certificate
            if asked is not ClientCertificate.NONE and made.trust_roots is None and "trust-roots" not in given:
                yield "trust-roots", f"found nothing, expected a PEM file, as client-certificate is {asked.value}"
        case Certificate():
            yield from _two_sources_of_status(made, section)
        case Identity():
            yield from _missing_in_identity(made, section)
        case Rule(unidentified=True):
            for option in ("users", "groups", "roles", "scopes", "realms"):
                if option in given:
                    yield option, "found besides unidentified = yes, expected one or the other: a user has these"
        case AE():
            yield from _missing_in_storage(made, section)
        case Peer():
            if made.host is not None and made.tls is None and "tls" not in given:
                yield "tls", "found nothing, expected the name of a [tls] section, as there is a host to be reached"
            for option in ("port", "tls") if made.host is None and "host" not in given else ():
                if option in given:
                    yield option, "found without host, expected both: it says how the peer is reached"
            if made.tls is not None and made.tls.client_certificate is ClientCertificate.NONE:
                yield "tls", (f"found {made.tls.name}, whose client-certificate is none, expected a section that says "
                              "how peers' certificates are verified")


def _missing_in_storage(made: AE, section: Section) -> Iterator[tuple[str, str]]:
    needing = [service for service in made.services if service != "verification"]
    if needing and made.storage is None and "storage" not in section.entries:
        yield "storage", (f"found nothing, expected the name of a [storage] section, as the services include "
                          f"{needing[0]}")
    searching = [service for service in needing if service != "storage"]
    if searching and made.storage is not None and not made.storage.index:
        yield "storage", (f"found {made.storage.name}, which has no index, expected index = yes in "
                          f"[storage {made.storage.name}], as the services include {searching[0]}")


def _missing_in_identity(made: Identity, section: Section) -> Iterator[tuple[str, str]]:
    if made.policy is not Requirement.IGNORE and not made.back_ends and not any(
        method.value in section.entries for method in Method
    ):
        methods = ", ".join(method.value for method in Method)
        yield "policy", f"found {made.policy.value} and nobody to ask, expected one of {methods}, or policy = ignore"
    if made.username and not made.asserting_certificates:
        yield "username", ("found without asserting-certificates, expected both: a name alone proves nothing, "
                           "so somebody must be trusted to assert it")


def _two_sources_of_status(made: TLS | Certificate, section: Section) -> Iterator[tuple[str, str]]:
    if made.ocsp_response is not None and made.ocsp_responder is not None:
        line = section.entries["ocsp-response"].line
        yield "ocsp-responder", f"found besides ocsp-response (line {line}), expected one or the other"
