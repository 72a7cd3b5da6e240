"""The sections about user identities, as objects that refer to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...identity.activities import Activity
from ...identity.credentials import Caps, Method, Requirement
from ...identity.gate import Expiry
from ...identity.lockout import LockoutPolicy
from ...identity.sight import View
from ...tls.rules import CertificateRule


@dataclass(frozen=True)
class BackEnd:
    """[KIND NAME] for one of the kinds of back end; its options are the keyword arguments of the class of the kind."""

    kind: str
    name: str
    options: Mapping[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Identity:
    """[identity NAME]: what is made of the user identities that callers present."""

    name: str
    policy: Requirement
    passcode: tuple[BackEnd, ...] | None
    username: tuple[BackEnd, ...] | None
    asserting_certificates: tuple[CertificateRule, ...] | None
    kerberos: tuple[BackEnd, ...] | None
    saml: tuple[BackEnd, ...] | None
    jwt: tuple[BackEnd, ...] | None
    bearer: tuple[BackEnd, ...] | None
    certificate: tuple[BackEnd, ...] | None
    certificates: tuple[CertificateRule, ...] | None
    when_expired: Expiry
    deadline: float
    remember_successes: float
    failures_per_user: int
    failures_per_address: int
    failures_per_certificate: int
    failure_delay: float
    refusal_time: float
    lock_out_time: float
    username_length: int
    passcode_length: int
    kerberos_length: int
    saml_length: int
    jwt_length: int
    bearer_length: int

    @property
    def back_ends(self) -> Mapping[Method, tuple[BackEnd, ...]]:
        """Who is asked, in order, by what is presented; the methods that are configured and no others."""
        found: dict[Method, tuple[BackEnd, ...] | None] = {
            method: getattr(self, method.value) for method in Method
        }
        return {method: back_ends for method, back_ends in found.items() if back_ends}

    @property
    def lockout(self) -> LockoutPolicy:
        return LockoutPolicy(
            self.failures_per_user, self.failures_per_address, self.failures_per_certificate,
            self.failure_delay, self.lock_out_time,
        )  # fmt: skip

    @property
    def caps(self) -> Caps:
        return Caps(
            self.username_length, self.passcode_length, self.kerberos_length, self.saml_length,
            self.jwt_length, self.bearer_length,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """[rule NAME]: who may do what."""

    name: str
    may: tuple[Activity, ...]
    sop_classes: tuple[str, ...] | None
    users: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    roles: tuple[str, ...] | None
    scopes: tuple[str, ...] | None
    realms: tuple[str, ...] | None
    certificates: tuple[CertificateRule, ...] | None
    calling_ae_titles: tuple[str, ...] | None
    unidentified: bool
    sees_modalities: tuple[str, ...] | None
    sees_institutions: tuple[str, ...] | None
    sees_patient_id_issuers: tuple[str, ...] | None
    sees_referring_physicians: tuple[str, ...] | None
    sees_stored_by: tuple[str, ...] | None
    sees_days: int | None

    @property
    def view(self) -> View:
        """What the conditions on instances leave to be seen."""
        def values(given: tuple[str, ...] | None) -> frozenset[str] | None:
            return frozenset(given) if given is not None else None

        return View(
            values(self.sees_modalities), values(self.sees_institutions), values(self.sees_patient_id_issuers),
            values(self.sees_referring_physicians), values(self.sees_stored_by), self.sees_days,
        )  # fmt: skip
