"""Who may do what: rules of the configuration, judged in negotiation and again for each operation. All of it pure.

It is closed: where there are rules, what none of them permits is refused. What a user may do is decided by what was
verified, in this order (docs/how-to/authorize.md): an access token's scopes, if it limits by scopes, and
otherwise the name, groups and roles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import ConfigurationError
from ..tls.rules import CertificateRule
from ..ul.negotiation import Refused, Support
from ..ul.pdus import RoleSelection
from .activities import Activity, activities_of, activity_of
from .gate import Expiry
from .interfaces import Presenter
from .principal import Principal
from .sight import EVERYTHING, UNRESTRICTED, USER, Sight, View

__all__ = ["Activity", "Authorization", "NotAuthorized", "Permission", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What some may do. Every condition that is given must hold, and of the values of each any one.

    `users`, `groups`, `roles` and `realms` (or issuers) are compared letter by letter with what the back end said,
    which is not what was typed. A calling AE title is a claim: it proves nothing unless it is bound to certificates.
    With `unidentified` the rule asks for no user, and so is for all of them too. Raises ConfigurationError.
    """

    name: str
    activities: frozenset[Activity]
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    realms: frozenset[str] = frozenset()
    certificates: tuple[CertificateRule, ...] = ()
    calling_ae_titles: frozenset[str] = frozenset()
    unidentified: bool = False
    sop_classes: frozenset[str] | None = None
    """UIDs, compared with the abstract syntax; None: all. Verification has only its own and need not be listed."""
    called_ae_titles: frozenset[str] | None = None
    """None: all."""
    sees: View = UNRESTRICTED
    """What is found and sent of what is stored, where the rule permits to query or retrieve."""

    def __post_init__(self) -> None:
        problems = []
        if not self.activities:
            words = ", ".join(activity.value for activity in Activity)
            problems.append(f"[rule {self.name}] permits nothing, expected one or more of {words}")
        if self.unidentified and self._names:
            found = " and ".join(f"{kind}s" for kind in self._names)
            problems.append(f"[rule {self.name}] is for the unidentified and asks for {found}, which only a verified "
                            f"user has; expected one of the two")  # fmt: skip
        if self.unidentified and self.sees.names_user:
            problems.append(f"[rule {self.name}] is for the unidentified and lets them see what has {USER} in it, who "
                            f"is a verified user; expected one of the two")  # fmt: skip
        if not self.sees.is_everything and not self.activities & {Activity.QUERY, Activity.RETRIEVE}:
            problems.append(f"[rule {self.name}] says what one sees, expected that it permits query or retrieve")
        if problems:
            raise ConfigurationError(*problems)

    def obstacle(
        self, principal: Principal | None, presenter: Presenter, activity: Activity, sop_class_uid: str
    ) -> str:
        """The first thing for which the rule does not permit it, in a few words; empty: it does permit it."""
        if activity not in self.activities:
            return f"is not for {activity.value}"
        if self.called_ae_titles is not None and presenter.called_ae_title not in self.called_ae_titles:
            return f"is not for the AE {presenter.called_ae_title!r}"
        is_listed = self.sop_classes is None or sop_class_uid in self.sop_classes
        if not is_listed and activity is not Activity.VERIFICATION:
            return f"is not for SOP class {sop_class_uid}"
        # What needs no user is not taken away by a token either: without it there would be nothing to refuse.
        return self._node_obstacle(presenter) or ("" if self.unidentified else self._user_obstacle(principal))

    def _node_obstacle(self, presenter: Presenter) -> str:
        if self.calling_ae_titles and presenter.calling_ae_title not in self.calling_ae_titles:
            return f"is not for the calling AE {presenter.calling_ae_title!r}"
        if self.certificates:
            certificate = presenter.certificate
            if certificate is None:
                return "asks for a certificate"
            if not any(rule.matches(certificate) for rule in self.certificates):
                return "asks for another certificate"
        return ""

    def _user_obstacle(self, principal: Principal | None) -> str:
        if principal is None:
            return "asks for a verified user"
        # Whoever gave the token its scopes meant it to open no more doors than those, whatever its user may do.
        if principal.scopes is not None and not self.scopes:
            return "names no scopes, and the access token is limited to its own"
        held = {
            "user": frozenset({principal.name}),
            "group": principal.groups,
            "role": principal.roles,
            "scope": principal.scopes or frozenset(),
            "realm": frozenset({principal.realm}),
        }
        for kind, wanted in self._names.items():
            if not wanted & held[kind]:
                return f"asks for the {kind} {' or '.join(sorted(wanted))}"
        return ""

    @property
    def _names(self) -> dict[str, frozenset[str]]:
        """What is given of the conditions that only a verified user can meet."""
        named = {
            "user": self.users, "group": self.groups, "role": self.roles, "scope": self.scopes, "realm": self.realms,
        }  # fmt: skip
        return {kind: values for kind, values in named.items() if values}


class Authorization:
    """The rules of one application entity. Their order does not matter: none takes away what another gives."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    def permits(
        self, principal: Principal | None, presenter: Presenter, activity: Activity, sop_class_uid: str
    ) -> bool:
        """Whether a rule permits it. `sop_class_uid` is the abstract syntax of the presentation context."""
        return any(not rule.obstacle(principal, presenter, activity, sop_class_uid) for rule in self._rules)

    def sight(
        self, principal: Principal | None, presenter: Presenter, activity: Activity, sop_class_uid: str
    ) -> Sight:
        """What may be seen by it: all that one of the rules that permit it shows, so nothing where none does."""
        name = principal.name if principal else None
        return tuple(rule.sees.for_user(name) for rule in self._rules
                     if not rule.obstacle(principal, presenter, activity, sop_class_uid))  # fmt: skip

    def context_permitted(
        self,
        principal: Principal | None,
        presenter: Presenter,
        abstract_syntax: str,
        role: RoleSelection | None = None,
    ) -> bool:
        """Whether anything that the context can be used for is permitted, in the roles proposed for it.

        A context without operations, such as that of the bearer extension, needs no permission.
        """
        is_scu, is_scp = (role.scu_role, role.scp_role) if role else (True, False)
        activities = activities_of(abstract_syntax, is_scu=is_scu, is_scp=is_scp)
        permitted = (self.permits(principal, presenter, activity, abstract_syntax) for activity in activities)
        return not activities or any(permitted)

    def sentence(
        self, principal: Principal | None, presenter: Presenter, activities: Iterable[Activity], sop_class_uid: str
    ) -> str:
        """Why it is refused, for the operator's log: who, what, and what every rule says to it."""
        wanted = sorted(activities, key=list(Activity).index)
        certificate = presenter.certificate.subject if presenter.certificate else "no certificate"
        who = f"{principal or 'a user without identity'} at {presenter.calling_ae_title!r} ({certificate})"
        what = f"{' or '.join(activity.value for activity in wanted)} of SOP class {sop_class_uid}"
        looked_at = "; ".join(self._obstacles(principal, presenter, wanted, sop_class_uid)) or "there is no rule"
        return f"{who} has no permission for {what} at {presenter.called_ae_title!r}: {looked_at}"

    def _obstacles(
        self, principal: Principal | None, presenter: Presenter, activities: Iterable[Activity], sop_class_uid: str
    ) -> Iterator[str]:
        for rule in self._rules:
            found = [rule.obstacle(principal, presenter, activity, sop_class_uid) for activity in activities]
            yield f"[rule {rule.name}] {' and '.join(dict.fromkeys(found))}"


@dataclass(frozen=True, slots=True)
class NotAuthorized:
    """Why an operation is refused, for the operator's log; the peer learns the status 0124H alone."""

    sentence: str
    ends_association: bool = False
    """Whether the association is to be aborted instead: the identity has expired, and is configured to do that."""


class Permission:
    """What may be done on one association, whose user and node do not change.

    Without an `authorization` everything may, until the identity expires. `now` is POSIX time.
    """

    def __init__(
        self,
        authorization: Authorization | None,
        principal: Principal | None,
        presenter: Presenter,
        expiry: Expiry = Expiry.REFUSE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authorization = authorization
        self._principal = principal
        self._presenter = presenter
        self._expiry = expiry
        self._now = now
        self._may_expire = expiry is not Expiry.IGNORE and principal is not None and principal.until is not None

    def restrict(
        self, support: Support | None, abstract_syntax: str, role: RoleSelection | None
    ) -> Support | Refused | None:
        """What is left of the support for an abstract syntax; `role` is what the requestor proposes for it (54H).

        A role in which nothing is permitted is not granted (PS3.7 D.3.3.4); where none is left, the context is refused.
        """
        if support is None or self._authorization is None:
            return support
        as_scu = role is None or (role.scu_role and support.requestor_may_be_scu)
        as_scp = role is not None and role.scp_role and support.requestor_may_be_scp
        may_be_scu = as_scu and self._may_use(RoleSelection(abstract_syntax, True, False))
        may_be_scp = as_scp and self._may_use(RoleSelection(abstract_syntax, False, True))
        if (as_scu or as_scp) and not (may_be_scu or may_be_scp):
            activities = activities_of(abstract_syntax, is_scu=as_scu, is_scp=as_scp)
            sentence = self._authorization.sentence(self._principal, self._presenter, activities, abstract_syntax)
            return Refused(sentence)
        return replace(support, requestor_may_be_scu=may_be_scu, requestor_may_be_scp=may_be_scp)

    def _may_use(self, role: RoleSelection) -> bool:
        assert self._authorization is not None
        return self._authorization.context_permitted(self._principal, self._presenter, role.sop_class_uid, role)

    @property
    def is_boundless(self) -> bool:
        """Whether everything may be done, for good: then nothing needs to be judged."""
        return self._authorization is None and not self._may_expire

    def judge(self, command_field: int, sop_class_uid: str) -> NotAuthorized | None:
        """Why an operation is not to be performed; None: it may be.

        `sop_class_uid` is the abstract syntax of its context: the SOP class in the command may be another, with a
        Meta SOP Class (PS3.7 §10) and with the Unified Procedure Step (PS3.4 §CC.3.1.1).
        """
        if self._may_expire and (expired := self._expired()):
            return expired
        if self._authorization is None:
            return None
        activity = activity_of(command_field)
        if activity is None:
            sentence = f"operation {command_field:04X}H came, which PS3.7 does not have and no rule can permit"
            return NotAuthorized(sentence)
        if self._authorization.permits(self._principal, self._presenter, activity, sop_class_uid):
            return None
        return NotAuthorized(
            self._authorization.sentence(self._principal, self._presenter, (activity,), sop_class_uid)
        )

    def sight(self, command_field: int, sop_class_uid: str) -> Sight:
        """What of the stored instances an operation may regard; without an `authorization` all of them."""
        if self._authorization is None:
            return EVERYTHING
        activity = activity_of(command_field)
        if activity is None:
            return ()
        return self._authorization.sight(self._principal, self._presenter, activity, sop_class_uid)

    def seconds_to_abort(self) -> float | None:
        """How long the association may last before it is to be aborted; None: without a term."""
        principal = self._principal
        if self._expiry is not Expiry.ABORT or principal is None or principal.until is None:
            return None
        return max(0.0, principal.until.timestamp() - self._now())

    def _expired(self) -> NotAuthorized | None:
        principal = self._principal
        assert principal is not None
        if principal.is_valid_at(self._now()):
            return None
        sentence = f"the identity of {principal} was valid until {principal.until:%Y-%m-%d %H:%M:%S} UTC"
        return NotAuthorized(sentence, ends_association=self._expiry is Expiry.ABORT)
