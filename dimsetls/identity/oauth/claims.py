"""What the claims of a token must say, and what they make of their bearer (RFC 7519 §4.1, RFC 7662 §2.2, RFC 9068)."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ...errors import ConfigurationError, IdentityDenied
from .. import base64url
from ..credentials import Caps, read_username
from ..interfaces import Presenter, Verified

GROUPS = ("groups",)
ROLES = ("roles", "extensions.ihe_iua.subject_role")
"""RFC 9068 §2.2.3.1 and IHE ITI-71."""
SCOPES = ("scope",)

_ENDLESS = 253402300800
"""POSIX time of the year 10000, which no clock here can show."""

Trace = Callable[[str], None]


def untraced(sentence: str) -> None:
    """The trace of a check that nobody watches."""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What one back end, `name`, demands of claims and takes from them.

    A claim within others is named by its path, `realm_access.roles`; a claim of just that name goes first.
    """

    name: str
    realm: str
    audiences: frozenset[str]
    required: tuple[str, ...]
    leeway: float
    subject: str = "sub"
    groups: tuple[str, ...] = GROUPS
    roles: tuple[str, ...] = ROLES
    scopes: tuple[str, ...] = SCOPES
    require_binding: bool = False

    def __post_init__(self) -> None:
        if not self.audiences:
            raise ConfigurationError("audience: found none; expected the names by which tokens for this node call it")

    def judge(self, claims: Mapping[str, Any], presenter: Presenter, now: float, trace: Trace) -> Verified:
        """Whom the claims speak of, if they are true here and now. Raises IdentityDenied. `now` is POSIX time."""
        missing = [name for name in self.required if claims.get(name) in (None, "", [], {})]
        if missing:
            raise self.denied(f"the token has no claim {', '.join(missing)}; expected {', '.join(self.required)}")
        expires = self._judge_times(claims, now)
        end = f", until {_time(expires)} and {self.leeway:g} s of leeway" if expires is not None else ""
        trace(f"times: the token is valid now{end}")
        self._judge_audience(claims.get("aud"))
        trace("audience: the token is for this node")
        self._judge_confirmation(claims.get("cnf"), presenter)
        trace("confirmation: " + ("the token is bound to the peer's certificate" if claims.get("cnf") is not None
                                  else "the token is bound to no certificate"))
        scopes = [self._words(claims, path, are_split=True) for path in self.scopes]
        verified = Verified(
            self._subject(claims),
            self.realm,
            groups=self._union(claims, self.groups),
            roles=self._union(claims, self.roles),
            scopes=_joined(scopes) if any(each is not None for each in scopes) else None,
            # A clock that was behind when the token was let in is as much behind later.
            until=expires + self.leeway if expires is not None else None,
        )
        trace(f"subject: {verified.name}; groups: {_listed(verified.groups)}; roles: {_listed(verified.roles)}; "
              f"scopes: {_listed(verified.scopes) if verified.scopes is not None else 'not limited'}")
        return verified

    def denied(self, sentence: str, *, is_security_alert: bool = False) -> IdentityDenied:
        return IdentityDenied(f"[{self.name}] {sentence}", is_security_alert=is_security_alert)

    def _judge_times(self, claims: Mapping[str, Any], now: float) -> float | None:
        expires, begins, issued = (self._instant(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is not None and expires + self.leeway <= now:
            raise self.denied(f"the token expired at {_time(expires)}; it is {_time(now)}")
        for what, instant in (("not valid before", begins), ("issued at", issued)):
            if instant is not None and instant - self.leeway > now:
                raise self.denied(f"the token is {what} {_time(instant)}; it is {_time(now)}, compare the clocks")
        return expires

    def _judge_audience(self, audience: object) -> None:
        found = [audience] if isinstance(audience, str) else audience
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self.denied("the token's aud is not one text or a list of texts (RFC 7519 §4.1.3)")
        if self.audiences.isdisjoint(found):
            raise self.denied(f"the token is for {_listed(found)}; expected {' or '.join(sorted(self.audiences))}")

    def _judge_confirmation(self, confirmation: object, presenter: Presenter) -> None:
        """RFC 8705 §3.1. A way of confirmation that is not known here cannot be checked, so it is not met."""
        if confirmation is None:
            if self.require_binding:
                raise self.denied("the token is bound to no certificate; expected cnf with x5t#S256 (RFC 8705)")
            return
        thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
        if not isinstance(confirmation, dict) or set(confirmation) != {"x5t#S256"} or not isinstance(thumbprint, str):
            raise self.denied("the token is bound by other means than a certificate; expected x5t#S256 (RFC 8705)")
        if presenter.certificate is None:
            raise self.denied("the token is bound to a certificate; the peer showed none", is_security_alert=True)
        shown = base64url.encode(sha256(presenter.certificate.der).digest())
        if not hmac.compare_digest(shown, thumbprint.encode()):
            raise self.denied(
                f"the token is bound to another certificate than that of {presenter.certificate.subject}",
                is_security_alert=True,
            )

    def _subject(self, claims: Mapping[str, Any]) -> str:
        name = _at(claims, self.subject)
        if not isinstance(name, str):
            raise self.denied(f"the token has no claim {self.subject} that is a text; expected the user's name there")
        try:
            return read_username(name.encode(), Caps())
        except IdentityDenied as error:
            raise self.denied(f"the claim {self.subject} is no name: {error}") from None

    def _union(self, claims: Mapping[str, Any], paths: tuple[str, ...]) -> frozenset[str]:
        return _joined([self._words(claims, path) for path in paths])

    def _words(self, claims: Mapping[str, Any], path: str, *, are_split: bool = False) -> list[str] | None:
        """What a claim lists; None if it is not there. Scopes may be one text, with spaces (RFC 8693 §4.2)."""
        value = _at(claims, path)
        if value is None:
            return None
        if are_split and isinstance(value, str):
            value = value.split()
        words = [_word(each) for each in (value if isinstance(value, list) else [value])]
        good = [word for word in words if word and word.isprintable() and len(word) <= 255]
        if len(good) < len(words):
            raise self.denied(f"the claim {path} does not list words; expected texts of 1 to 255 printable characters")
        return good

    def _instant(self, claims: Mapping[str, Any], name: str) -> float | None:
        value = claims.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _ENDLESS:
            raise self.denied(f"the claim {name} is not a time; expected seconds since 1970 (RFC 7519 §2)")
        return float(value)


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name; else the one at that path. Names may have dots themselves: they are often URLs."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _word(value: object) -> str:
    """A word as it is; the code of a FHIR Coding (IHE ITI-71), the value of a SCIM attribute (RFC 7643 §2.4)."""
    if isinstance(value, dict):
        value = value.get("code", value.get("value"))
    return value if isinstance(value, str) else ""


def _joined(lists: list[list[str] | None]) -> frozenset[str]:
    return frozenset(word for words in lists for word in words or ())


def _listed(words: frozenset[str] | list[str]) -> str:
    return ", ".join(_short(words)) or "none"


def _short(words: frozenset[str] | list[str]) -> Iterator[str]:
    """Quoted, and no more than fit in a line of the log: a token may have any number of any length."""
    for number, word in enumerate(sorted(words)):
        if number == 10:
            yield f"and {len(words) - 10} more"
            return
        yield repr(word[:80])


def _time(posix: float) -> str:
    return f"{datetime.fromtimestamp(math.floor(posix), UTC):%Y-%m-%d %H:%M:%S} UTC"
