"""The types of value whose words belong to other rooms: TLS, certificates, the store.

Apart from `values`, for who reads a port or an AE title from the command line needs none of these rooms.
"""

from __future__ import annotations

import re
from typing import Any

from ..identity.certificate import NameSource
from ..services.known import transfer_syntaxes
from ..services.layout import Layout
from ..services.promises import Duplicates, Durability
from ..tls.endpoints import Transport
from ..tls.policy import PROFILES, ClientCertificate, TLSVersion, nearest
from ..tls.revocation import CRLCheck
from ..tls.rules import CertificateRule
from ..uids import is_valid_uid
from .values import Misfit, ValueType, choice, quote, split

_TLS_VERSIONS = choice({"1.2": TLSVersion.TLS_1_2, "1.3": TLSVersion.TLS_1_3})
_FORBIDDEN_VERSION = re.compile(r"(?:TLS ?v?)?1(?:\.[01])?|(SSL ?v?[23](?:\.0)?)", re.IGNORECASE)


def _tls_version(text: str) -> Any:
    if found := _FORBIDDEN_VERSION.fullmatch(text):
        forbidding = "RFC 7568" if found[1] else "RFC 8996"
        raise ValueError(f"found {quote(text)}, which {forbidding} forbids, expected {_TLS_VERSIONS.expected}")
    return _TLS_VERSIONS.parse(text)


NAME_SOURCE = ValueType(NameSource.EXPECTED, NameSource.parse)
LAYOUT = ValueType("a path with placeholders in braces, among them {SOPInstanceUID}", Layout)
PROFILE = choice(PROFILES)
CERTIFICATE_RULE = ValueType("a condition on a certificate such as dns:ct1.hospital.example", CertificateRule.parse)
TLS_VERSION = ValueType(_TLS_VERSIONS.expected, _tls_version)
CRL_CHECK = choice({check.value: check for check in CRLCheck})
CLIENT_CERTIFICATE = choice({rule.value: rule for rule in ClientCertificate})
TRANSPORT = choice({transport.value: transport for transport in Transport})
DUPLICATES = choice({policy.value: policy for policy in Duplicates})
FSYNC = choice({durability.value: durability for durability in Durability})


def _syntaxes(text: str) -> tuple[str, ...]:
    known = transfer_syntaxes()
    if text == "all":
        return tuple(known.values())
    uids = []
    for item in split(text):
        # A UID pydicom does not know is a private transfer syntax: it is stored as it comes, like any other.
        uid = known.get(item) or (item if is_valid_uid(item) and "." in item else None)
        if uid is None:
            raise Misfit(item, TRANSFER_SYNTAXES.expected, nearest(item, ["all", *known]))
        if uid in uids:
            raise ValueError(f"found {quote(item)} although {uid} is in the list, expected each transfer syntax once")
        uids.append(uid)
    return tuple(uids)


TRANSFER_SYNTAXES = ValueType("all, or keywords (ExplicitVRLittleEndian) or UIDs, separated by commas", _syntaxes)
