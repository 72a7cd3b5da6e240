"""The gate: what an A-ASSOCIATE-RQ presents is checked by policy, and becomes a Principal or a refusal.

Nothing else makes a Principal. A credential that is presented and configured must be good: there is no falling
back to a weaker one, to another back end that did not answer, or to no identity at all.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import IdentityDenied, IdentityError, IdentityUnavailable, IdentityUnknown
from ..tls.rules import CertificateRule
from ..uids import BEARER_TOKEN
from ..ul.pdus import ExtendedNegotiation, UserIdentityAC, UserInformation
from .bearer import BearerResult, read_token, token_of, write_result
from .cache import Successes
from .credentials import (
    AccessToken,
    Caps,
    CertificateAlone,
    Credential,
    Method,
    Presented,
    Requirement,
    Username,
    UsernameAndPasscode,
    read_identity,
)
from .interfaces import IAuthenticator, Presenter, Verified
from .lockout import Failures, Kind, Lockout, LockoutPolicy, Subject
from .principal import Principal

log = Logger(namespace="dimsetls.identity")

_ANSWERED = frozenset({Method.KERBEROS, Method.SAML})
"""Whose positive response has content; for the others it has none (PS3.7 D.3.3.7.2), whatever a back end returns."""

_LATEST = datetime.max.replace(tzinfo=UTC).timestamp() - 1
"""The last second that a datetime can hold: a term beyond it is as good as none."""


class Expiry(Enum):
    """What happens when an identity's term ends during an association."""

    IGNORE = "ignore"
    REFUSE = "refuse"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """What holds for identities at one place. Times are seconds.

    `back_ends` are asked in their order, for each method; a method that is not in it is not supported. Methods
    that prove nothing by themselves, which is USERNAME alone, count only from a certificate of `asserting`.
    `certificates`, if there are any, are the only ones with which an identity may be presented at all.
    `private_types` says by calling AE title which reserved User-Identity-Type value carries a bearer token.
    """

    requirement: Requirement = Requirement.IGNORE
    back_ends: Mapping[Method, tuple[IAuthenticator, ...]] = field(default_factory=dict)
    asserting: tuple[CertificateRule, ...] = ()
    certificates: tuple[CertificateRule, ...] = ()
    private_types: Mapping[str, int] = field(default_factory=dict)
    caps: Caps = field(default_factory=Caps)
    lockout: LockoutPolicy = field(default_factory=LockoutPolicy)
    deadline: float = 10.0
    remember: float = 0.0
    """How long a success is remembered; 0: not at all."""
    expiry: Expiry = Expiry.REFUSE
    refusal_time: float = 0.0
    """No refusal of a user name is answered sooner than this after it was asked for, so that its time tells nothing:
    a directory is quicker to say that there is no such user than that the passcode is wrong."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The gate is open: for whom, what to answer, and what to note in the log. None: for nobody in particular."""

    principal: Principal | None = None
    response: UserIdentityAC | None = None
    extended: ExtendedNegotiation | None = None
    note: str = ""

    def answer(self, ours: UserInformation) -> UserInformation:
        """The user information of the A-ASSOCIATE-AC, with what is answered to the identity."""
        extended = (self.extended,) if self.extended else ()
        return replace(
            ours,
            user_identity_response=self.response,
            extended_negotiations=ours.extended_negotiations + extended,
        )


class Gate:
    """Checks identities. `lockout` and `successes` are shared by all gates of a node."""

    def __init__(
        self,
        policy: IdentityPolicy,
        clock: IReactorTime,
        *,
        lockout: Failures | None = None,
        successes: Successes | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._lockout: Failures = lockout or Lockout(clock.seconds)
        self._successes = successes or Successes(now)
        self._now = now
        self._turns: dict[Subject, tuple[DeferredLock, int]] = {}

    def check(self, offered: UserInformation, presenter: Presenter) -> Deferred[Admission]:
        """Whether the presenter is let in. Cancel it when the peer goes away.

        Fails with IdentityDenied or IdentityUnavailable, and with nothing else but CancelledError.
        """
        return Deferred.fromCoroutine(self.admit(offered, presenter))

    async def admit(self, offered: UserInformation, presenter: Presenter) -> Admission:
        """The same for whoever starts it himself; a success that is remembered waits for nothing."""
        if self.policy.requirement is Requirement.IGNORE:
            return Admission(note="the user identity is ignored, as configured" if _shows(offered) else "")
        subjects = _subjects(presenter)
        if _shows(offered):  # a lock-out is against guessing: who shows nothing does not guess
            await self._judge_pace(subjects)
        try:
            presented = self._read(offered, presenter)
        except IdentityDenied:
            await self._count(subjects)
            raise
        try:
            return await self._admit(presented, presenter, subjects)
        finally:
            presented.wipe()

    def _read(self, offered: UserInformation, presenter: Presenter) -> Presented:
        """What is presented, in a form that can be checked."""
        caps, item = self.policy.caps, offered.user_identity
        carried = read_token(offered.extended_negotiations, caps)
        token, answer = carried or (None, False)
        if item is None:
            return Presented(None, False, token, answer)
        credential: Credential
        if item.user_identity_type == self.policy.private_types.get(presenter.calling_ae_title):
            if item.secondary_field:
                raise IdentityDenied("a secondary field came with a bearer token")
            credential = AccessToken(token_of(item.primary_field, caps))
        else:
            credential = read_identity(item, caps)
        if isinstance(credential, AccessToken) and token is not None:
            raise IdentityDenied("two bearer tokens came, one is expected")
        return Presented(credential, item.positive_response_requested, token, answer)

    async def _admit(self, presented: Presented, presenter: Presenter, subjects: list[Subject]) -> Admission:
        identity, token = presented.identity, presented.access_token
        supported = self.policy.back_ends
        checks: list[Credential] = [each for each in (identity, token) if each is not None and each.method in supported]
        ignored = [each.method.value for each in (identity, token) if each is not None and each.method not in supported]
        if checks and self.policy.certificates:
            self._judge_certificate(presenter, self.policy.certificates, "present a user identity")
        found = [await self._verify(credential, presenter, subjects) for credential in checks]
        if not found and not ignored and presenter.certificate is not None and Method.CERTIFICATE in supported:
            found = await self._from_certificate(presenter)
        if not found and self.policy.requirement is Requirement.REQUIRE:
            came = f"{' and '.join(ignored)} came, which is not configured" if ignored else "none came"
            raise IdentityDenied(f"a user identity is required, {came}; "
                                 f"configured are {', '.join(method.value for method in supported)}")
        response = extended = None
        method = identity.method if identity is not None else None
        if method in supported and presented.positive_response_requested:
            response = UserIdentityAC(found[0][1].server_response if method in _ANSWERED else b"")
        if token is not None and presented.access_token_response_requested:
            accepted = token.method in supported
            extended = write_result(BearerResult.ACCEPTED if accepted else BearerResult.IGNORED)
        note = f"the user identity is ignored: {' and '.join(ignored)} is not configured" if ignored else ""
        return Admission(self._principal(found, presenter), response, extended, note)

    async def _from_certificate(self, presenter: Presenter) -> list[tuple[Method, Verified, str]]:
        """Who the certificate alone says it is; nobody, where no rule names it."""
        try:
            return [await self._ask(Method.CERTIFICATE, CertificateAlone(), presenter)]
        except IdentityUnknown:
            return []

    async def _verify(
        self, credential: Credential, presenter: Presenter, subjects: list[Subject]
    ) -> tuple[Method, Verified, str]:
        """One credential that is configured, checked by its back ends, counted and remembered."""
        if isinstance(credential, Username):
            self._judge_certificate(presenter, self.policy.asserting, "assert a user name")
        if not isinstance(credential, Username | UsernameAndPasscode):
            return await self._counted(credential, presenter, subjects)
        user = Subject.user(credential.name)
        await self._take_turn(user)  # or a burst of guesses would pass before the first of them is counted
        try:
            await self._judge_pace([user, *subjects])
            return await self._counted(credential, presenter, [user, *subjects])
        finally:
            self._end_turn(user)

    async def _counted(
        self, credential: Credential, presenter: Presenter, subjects: list[Subject]
    ) -> tuple[Method, Verified, str]:
        is_named = subjects and subjects[0].kind is Kind.USER
        began = self._clock.seconds()
        try:
            found = await self._ask(credential.method, credential, presenter)
        except IdentityDenied:
            await self._count(subjects)
            wait = began + self.policy.refusal_time - self._clock.seconds()
            if is_named and wait > 0:
                await deferLater(self._clock, wait)
            raise
        if is_named:
            self._lockout.succeeded(subjects[0])
        return found

    async def _ask(
        self, method: Method, credential: Credential, presenter: Presenter
    ) -> tuple[Method, Verified, str]:
        """Ask the back ends in order, until one knows the user."""
        unknown: IdentityUnknown | None = None
        for back_end in self.policy.back_ends[method]:
            remembers = self.policy.remember > 0 and back_end.cacheable
            if remembers and (verified := self._successes.find(back_end.name, credential, presenter)):
                return method, verified, back_end.name
            try:
                verified = await self._within_deadline(back_end, credential, presenter)
            except IdentityUnknown as error:
                unknown = error
                continue
            if verified.until is not None and not verified.until > self._now():
                raise IdentityDenied(f"[{back_end.name}] the identity of {verified.name} has expired")
            if remembers:
                self._successes.keep(back_end.name, credential, presenter, verified, self.policy.remember)
            return method, verified, back_end.name
        raise unknown or IdentityDenied(f"no back end is configured for {method.value}")

    async def _within_deadline(
        self, back_end: IAuthenticator, credential: Credential, presenter: Presenter
    ) -> Verified:
        given_up = False

        def give_up(_: Deferred[Verified]) -> None:
            nonlocal given_up
            given_up = True
            running.cancel()

        def answered(result: Verified | Failure) -> None:
            if not answer.called:  # it may be too late: a back end need not heed that it is cancelled
                answer.callback(result)

        # Two of them, or a back end that goes on after it is cancelled would hold up the deadline.
        answer: Deferred[Verified] = Deferred(give_up)
        running = Deferred.fromCoroutine(_coroutine(back_end, credential, presenter))
        running.addBoth(answered)
        try:
            return await answer.addTimeout(self.policy.deadline, self._clock)
        except Exception as error:
            if given_up and not isinstance(error, CancelledError):
                sentence = f"[{back_end.name}] gave no answer within {self.policy.deadline:g} s"
                raise IdentityUnavailable(sentence) from None
            if given_up or isinstance(error, IdentityError):
                raise
            # Not the message: what a library puts into it is not ours to vouch for, and a credential was at hand.
            where = traceback.extract_tb(error.__traceback__)[-1]
            sentence = f"[{back_end.name}] failed with {type(error).__name__} in {where.name}, line {where.lineno}"
            log.error("{sentence} of {file}", sentence=sentence, file=where.filename)
            raise IdentityUnavailable(sentence) from None

    def _principal(self, found: list[tuple[Method, Verified, str]], presenter: Presenter) -> Principal | None:
        if not found:
            return None
        verified = [each for _, each, _ in found]
        names = {each.name for each in verified}
        if len(names) > 1:
            raise IdentityDenied(
                f"the user identity is that of {verified[0].name!r}, the access token is that of "
                f"{verified[-1].name!r}, expected both of one user", is_security_alert=True,
            )  # fmt: skip
        terms = [each.until for each in verified if each.until is not None]
        return Principal(
            verified[0].name,
            verified[0].realm,
            tuple(method for method, _, _ in found),
            tuple(name for _, _, name in found),
            frozenset().union(*(each.groups for each in verified)),
            frozenset().union(*(each.roles for each in verified)),
            verified[-1].scopes if verified[-1].scopes is not None else verified[0].scopes,
            datetime.fromtimestamp(self._now(), UTC),
            datetime.fromtimestamp(min(*terms, _LATEST), UTC) if terms else None,
        )

    # Guessing ------------------------------------------------------------------------------------------------------

    async def _judge_pace(self, subjects: list[Subject]) -> None:
        refusal = self._lockout.refusal(subjects, self.policy.lockout)
        if isinstance(refusal, Deferred):
            refusal = await refusal
        if refusal:
            raise IdentityDenied(refusal)

    async def _count(self, subjects: list[Subject]) -> None:
        locked_out = self._lockout.failed(subjects, self.policy.lockout)
        for locked in await locked_out if isinstance(locked_out, Deferred) else locked_out:
            log.error(
                "SECURITY ALERT: {subject} is locked out for {seconds:g} s after {failures} failed identities",
                subject=str(locked), seconds=self.policy.lockout.lockout,
                failures=self.policy.lockout.limit(locked.kind), is_security_alert=True,
            )  # fmt: skip

    async def _take_turn(self, user: Subject) -> None:
        lock, waiting = self._turns.get(user, (DeferredLock(), 0))
        self._turns[user] = (lock, waiting + 1)
        try:
            turn = lock.acquire()
            await (turn if turn.called else turn.addTimeout(self.policy.deadline, self._clock))
        except DeadlineError:
            self._forget_turn(user)
            raise IdentityUnavailable(
                f"other checks of {user} took longer than {self.policy.deadline:g} s, and this one had no turn"
            ) from None
        except BaseException:
            self._forget_turn(user)
            raise

    def _end_turn(self, user: Subject) -> None:
        lock, waiting = self._turns[user]
        if waiting > 1:
            # Not at once: those who wait may be refused at once, and a row of them would be one deep stack.
            self._clock.callLater(0, lock.release)
        self._forget_turn(user)

    def _forget_turn(self, user: Subject) -> None:
        lock, waiting = self._turns.pop(user)
        if waiting > 1:
            self._turns[user] = (lock, waiting - 1)

    @staticmethod
    def _judge_certificate(presenter: Presenter, rules: tuple[CertificateRule, ...], what: str) -> None:
        certificate = presenter.certificate
        if certificate is None or not any(rule.matches(certificate) for rule in rules):
            shown = certificate.subject if certificate else "a peer without a certificate"
            raise IdentityDenied(f"{shown} may not {what} here, by the configuration", is_security_alert=True)


async def _coroutine(back_end: IAuthenticator, credential: Credential, presenter: Presenter) -> Verified:
    return await back_end.verify(credential, presenter)


def _shows(offered: UserInformation) -> bool:
    """Whether a credential came."""
    carried = any(item.sop_class_uid == BEARER_TOKEN for item in offered.extended_negotiations)
    return carried or offered.user_identity is not None


def _subjects(presenter: Presenter) -> list[Subject]:
    """Whom a failure counts against besides the user."""
    subjects = []
    if presenter.address:
        subjects.append(Subject(Kind.ADDRESS, presenter.address))
    if presenter.certificate is not None:
        subjects.append(Subject(Kind.CERTIFICATE, presenter.certificate.sha256))
    return subjects


def stripped(offered: UserInformation) -> UserInformation:
    """The user information without credentials, for whoever keeps it longer than the check takes."""
    if not _shows(offered):
        return offered
    kept = tuple(item for item in offered.extended_negotiations if item.sop_class_uid != BEARER_TOKEN)
    return replace(offered, user_identity=None, extended_negotiations=kept)
