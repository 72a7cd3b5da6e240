"""Options of one section of the INI file that do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..identity.activities import Activity
from ..identity.credentials import Method, Requirement
from ..identity.sight import USER
from ..tls.policy import ClientCertificate, TLSVersion
from .config import AE, DICOM_TLS_PORT, TLS, Certificate, Forward, Listener, Peer, Storage
from .credentials import Credential
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
            if made.resumption is not None and made.maximum_version is TLSVersion.TLS_1_2:
                text = section.entries["resumption"].text
                yield "resumption", (f"found {text} besides maximum-version = 1.2, expected one or the other: no "
                                     "session of TLS 1.2 is taken up again")
            asked = made.client_certificate
            if asked is not ClientCertificate.NONE and made.trust_roots is None and "trust-roots" not in given:
                yield "trust-roots", f"found nothing, expected a PEM file, as client-certificate is {asked.value}"
        case Certificate():
            yield from _two_sources_of_status(made, section)
        case Identity():
            yield from _missing_in_identity(made, section)
        case Rule():
            yield from _useless_in_rule(made, section)
        case AE():
            yield from _missing_in_storage(made, section)
            for service, found in (("worklist", made.worklist), ("procedure-steps", made.procedure_steps)):
                if service in made.services and found is None and service not in section.entries:
                    yield service, (f"found nothing, expected the name of a [{service}] section, as the services "
                                    f"include {service}")
        case Storage(index=False, forward=forward) if forward:
            yield "forward", "found without index = yes, expected both: the queue is in the file of the index"
        case Forward():
            yield from _useless_in_forward(made)
        case Credential():
            yield from made.contradictions(given)
        case Peer():
            if made.host is not None and made.tls is None and "tls" not in given:
                yield "tls", "found nothing, expected the name of a [tls] section, as there is a host to be reached"
            for option in _CALLING if made.host is None and "host" not in given else ():
                if option in given:
                    yield option, "found without host, expected both: it says how the peer is reached"
            if made.tls is not None and made.tls.client_certificate is ClientCertificate.NONE:
                yield "tls", (f"found {made.tls.name}, whose client-certificate is none, expected a section that says "
                              "how peers' certificates are verified")


_CALLING = ("port", "tls", "presents", "connect-timeout", "answer-timeout", "response-timeout", "idle-timeout",
            "associations", "operations")  # fmt: skip
"""Options of a [peer] that are about calling it."""


def _missing_in_storage(made: AE, section: Section) -> Iterator[tuple[str, str]]:
    needing = [service for service in made.services if service in ("storage", "query", "retrieve", "commitment")]
    if needing and made.storage is None and "storage" not in section.entries:
        yield "storage", (f"found nothing, expected the name of a [storage] section, as the services include "
                          f"{needing[0]}")
    searching = [service for service in needing if service != "storage"]
    if searching and made.storage is not None and not made.storage.index:
        yield "storage", (f"found {made.storage.name}, which has no index, expected index = yes in "
                          f"[storage {made.storage.name}], as the services include {searching[0]}")


def _useless_in_forward(made: Forward) -> Iterator[tuple[str, str]]:
    for peer in made.peers:
        if peer.host is None:
            yield "peers", (f"found {peer.name}, which has no host, expected where it is reached: host in "
                            f"[peer {peer.name}]")
    if made.longest_delay < made.first_delay:
        yield "longest-delay", (f"found {made.longest_delay:g} s, expected no less than the first delay of "
                                f"{made.first_delay:g} s")


def _useless_in_rule(made: Rule, section: Section) -> Iterator[tuple[str, str]]:
    for option in ("users", "groups", "roles", "scopes", "realms") if made.unidentified else ():
        if option in section.entries:
            yield option, "found besides unidentified = yes, expected one or the other: a user has these"
    if made.unidentified and made.view.names_user:
        yield "sees-referring-physicians", f"found {USER} besides unidentified = yes, expected one or the other"
    for name in sorted(made.view.referring_physicians or ()):
        if "{" in name.replace(USER, ""):
            yield "sees-referring-physicians", f"found {name}, expected names, or {USER} for that of the user who asks"
    if not {Activity.QUERY, Activity.RETRIEVE} & set(made.may):
        for option in section.entries:
            if option.startswith("sees-"):
                yield option, "found without query and retrieve, expected one of them in may: it limits what they find"


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
