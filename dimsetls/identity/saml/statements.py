"""What a signed SAML 2.0 assertion says, as plain data (SAML core §2.3 to §2.7). Whether that is enough is not here."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ...errors import IdentityDenied, IdentityUnknown
from .signature import PinnedCertificates
from .structure import DS, SAML, Element, only, outline, shown, text_of

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z", re.ASCII)
_CONDITIONS = frozenset(SAML + name for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))


@dataclass(frozen=True, slots=True)
class SubjectConfirmation:
    """One way in which the presenter may show that the assertion is about its user. Times are POSIX; None: not said."""

    method: str
    not_before: float | None
    not_on_or_after: float | None
    recipient: str | None
    address: str | None
    in_response_to: str | None
    certificates: tuple[bytes, ...]
    """DER, of the holders of the key."""


@dataclass(frozen=True, slots=True)
class Statements:
    """A verified assertion. Times are POSIX; None: not said."""

    identifier: str
    issued: float
    name: str
    """NameID."""
    confirmations: tuple[SubjectConfirmation, ...]
    not_before: float | None
    not_on_or_after: float
    audiences: tuple[frozenset[str], ...]
    """Of each restriction the audiences, of which we must be one."""
    is_for_one_use: bool
    session_ends: float | None
    attributes: Mapping[str, tuple[str, ...]]
    signer: str
    """The subject of the certificate that it was verified with."""


def read_assertion(octets: bytes, issuer: str, pinned: PinnedCertificates, now: datetime) -> Statements:
    """What the assertion in an XML document says, its shape and signature judged first. Raises IdentityDenied."""
    found = outline(octets)
    if found.issuer != issuer:
        raise IdentityUnknown(f"the assertion is of the issuer {shown(found.issuer)}, expected {issuer!r}")
    assertion, signer = pinned.verify(found, now)
    # From here on only what was verified is looked at.
    if (signed := text_of(only(assertion, SAML + "Issuer"))) != issuer:
        raise IdentityDenied(f"the signed issuer is {shown(signed)}, expected {issuer!r}", is_security_alert=True)
    subject, conditions = only(assertion, SAML + "Subject"), only(assertion, SAML + "Conditions")
    if unknown := {condition.tag for condition in conditions} - _CONDITIONS:
        names = ", ".join(shown(tag.rpartition("}")[2]) for tag in sorted(unknown))
        raise IdentityDenied(f"the assertion has the conditions {names}, which are not understood here")
    end = _time(conditions, "NotOnOrAfter")
    issued = _time(assertion, "IssueInstant")
    if end is None or issued is None:
        raise IdentityDenied("the assertion does not say when it was issued and when it ends, expected both")
    sessions = [_time(each, "SessionNotOnOrAfter") for each in assertion.findall(SAML + "AuthnStatement")]
    return Statements(
        assertion.get("ID"),
        issued,
        _name(subject),
        tuple(_confirmation(each) for each in subject.findall(SAML + "SubjectConfirmation")),
        _time(conditions, "NotBefore"),
        end,
        tuple(frozenset(text_of(audience) for audience in restriction.findall(SAML + "Audience"))
              for restriction in conditions.findall(SAML + "AudienceRestriction")),
        conditions.find(SAML + "OneTimeUse") is not None,
        min((session for session in sessions if session is not None), default=None),
        _attributes(assertion),
        signer,
    )  # fmt: skip


def _name(subject: Element) -> str:
    if len(list(subject.iter(SAML + "NameID"))) > 1:
        raise IdentityDenied("the subject has more than one NameID, expected one")
    return text_of(only(subject, SAML + "NameID"))


def _confirmation(element: Element) -> SubjectConfirmation:
    data = element.find(SAML + "SubjectConfirmationData")
    if data is None:
        return SubjectConfirmation(element.get("Method", ""), None, None, None, None, None, ())
    return SubjectConfirmation(
        element.get("Method", ""), _time(data, "NotBefore"), _time(data, "NotOnOrAfter"),
        data.get("Recipient"), data.get("Address"), data.get("InResponseTo"),
        tuple(_certificate(each) for each in data.iter(DS + "X509Certificate")),
    )  # fmt: skip


def _certificate(element: Element) -> bytes:
    try:
        return b64decode("".join(text_of(element).split()), validate=True)
    except ValueError:
        raise IdentityDenied("the subject confirmation has a certificate that is not base64") from None


def _attributes(assertion: Element) -> dict[str, tuple[str, ...]]:
    """The values of each attribute, in order; those of an attribute that is there several times together."""
    found: dict[str, tuple[str, ...]] = {}
    for statement in assertion.findall(SAML + "AttributeStatement"):
        for attribute in statement.findall(SAML + "Attribute"):
            values = (_value(each) for each in attribute.findall(SAML + "AttributeValue"))
            name = attribute.get("Name", "")
            found[name] = (*found.get(name, ()), *(value for value in values if value))
    return found


def _value(element: Element) -> str:
    """The text; of an HL7 code, as XUA has for roles, `code^^codeSystem` (ITI TF-2 §3.40). Nothing of all else."""
    if len(element) == 0:
        return text_of(element)
    code, system = element[0].get("code", ""), element[0].get("codeSystem", "")
    return f"{code}^^{system}" if len(element) == 1 and code and system else ""


def _time(element: Element, attribute: str) -> float | None:
    """In whole seconds. SAML core §1.3.3: UTC, written with Z. Raises IdentityDenied."""
    text = element.get(attribute)
    if text is None:
        return None
    try:
        if match := _TIME.fullmatch(text):
            return datetime.fromisoformat(match[1] + "+00:00").timestamp()
    except ValueError:
        pass
    raise IdentityDenied(f"{attribute} is {shown(text)}, expected a time in UTC such as 2025-01-31T12:00:00Z")
