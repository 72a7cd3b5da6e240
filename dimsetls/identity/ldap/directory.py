"""A directory as back end (LDAP): a bind checks user name and passcode, and a user name alone can be looked up.

Two ways lead to the user's entry: a service account searches for it, or a template makes its name out of the user's.
The name that is verified is the one that the directory has, never the one that was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from twisted.internet.defer import TimeoutError as TimeIsUp
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from zope.interface import implementer

from ...errors import ConfigurationError, IdentityDenied, IdentityError, IdentityUnavailable
from ...tls.material import TrustRoots
from ...tls.passphrase import Passphrase
from ..credentials import Credential, Method, Secret, Username, UsernameAndPasscode
from ..interfaces import IAuthenticator, Presenter, Verified
from ..workers import Workers
from .check import DirectoryCheck, Layout
from .connection import DirectoryServer, ServerFailed, client_context


@implementer(IAuthenticator)
class LDAPDirectory:
    """`[ldap NAME]`: the users of a directory, which one or more servers hold.

    The servers are asked in their order, each for `timeout` seconds at most; one that failed is asked last for
    `back_off` seconds. `service_passcode` is a file or `credential:NAME`, read once, here. Raises ConfigurationError.
    """

    cacheable = True

    def __init__(
        self,
        name: str,
        *,
        servers: Sequence[str],
        trust_roots: str | Path | None = None,
        search_base: str | None = None,
        search_filter: str = "(uid={user})",
        service_dn: str | None = None,
        service_passcode: str | None = None,
        dn_template: str | None = None,
        name_attribute: str = "uid",
        group_base: str | None = None,
        group_attribute: str | None = "memberOf",
        group_filter: str | None = None,
        required_group: str | None = None,
        realm: str | None = None,
        timeout: float = 3.0,
        back_off: float = 30.0,
        threads: int = 4,
        waiting: int = 64,
        trace: Callable[[str], None] = lambda sentence: None,
        reactor: IReactorFromThreads | None = None,
    ) -> None:
        self.name = name
        self.trace = trace
        self._timeout, self._back_off = timeout, back_off
        self._layout = Layout(
            name, realm or name.rpartition(" ")[2], dn_template or "", search_base or "", search_filter,
            service_dn or "", name_attribute, group_base or "", group_attribute or "", group_filter or "",
            required_group or "",
        )  # fmt: skip
        problems = [*self._layout.problems()]
        if not servers:
            problems.append("servers: found none, expected at least one such as ldaps://ldap.example.org")
        if bool(service_dn) != bool(service_passcode):
            problems.append("service-dn, service-passcode: found one without the other, expected both or neither")
        self._servers: list[DirectoryServer] = []
        for url in servers:
            with _noting(problems, "servers"):
                self._servers.append(DirectoryServer.parse(url))
        roots = self._service_passcode = None
        with _noting(problems, "trust-roots"):
            roots = TrustRoots.load(trust_roots) if trust_roots else None
        with _noting(problems, "service-passcode"):
            self._service_passcode = Secret(Passphrase.parse(service_passcode)()) if service_passcode else None
        if problems:
            raise ConfigurationError(*problems)
        self._context = client_context(roots)
        self.methods = frozenset({Method.PASSCODE, *([Method.USERNAME] if service_dn else [])})
        self._failed_until: dict[DirectoryServer, float] = {}
        if reactor is None:
            from twisted.internet import reactor as running  # as late as possible: importing it chooses one

            reactor = IReactorFromThreads(running)
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._workers = Workers(name, reactor, threads=threads, waiting=waiting)

    async def verify(self, credential: Credential, presenter: Presenter) -> Verified:
        """See `IAuthenticator`."""
        match credential:
            case UsernameAndPasscode(user, passcode):
                secret: Secret | None = passcode
            case Username(user) if Method.USERNAME in self.methods:
                secret = None
            case _:
                expected = " or ".join(sorted(method.value for method in self.methods))
                raise IdentityDenied(f"[{self.name}] found a {credential.method.value}, expected {expected}")
        self._judge_form(user, secret)
        try:
            return await self._ask_in_order(user, secret)
        except IdentityError as error:
            raise error.with_traceback(None) from None  # or the frames of the thread, which hold the passcode, live on

    def close(self) -> None:
        """Give up the checks that run, and end the threads."""
        self._workers.close()

    def _judge_form(self, user: str, passcode: Secret | None) -> None:
        if not user or (passcode is not None and not len(passcode)):
            # RFC 4513 §5.1.2: such a bind succeeds with many servers, as if nobody in particular had asked.
            raise IdentityDenied(f"[{self.name}] the user name or the passcode is empty, which is never sent")

    async def _ask_in_order(self, user: str, passcode: Secret | None) -> Verified:
        failures = []
        now = self._clock.seconds()
        for server in sorted(self._servers, key=lambda server: self._failed_until.get(server, now) > now):
            check = DirectoryCheck(
                self._layout, server, self._context, self._timeout, self._service_passcode, self._tell
            )
            asked = self._workers.run(partial(check.run, user, passcode), check.abort)
            try:
                verified = await asked.addTimeout(self._timeout, self._clock)
            except TimeIsUp:
                reason = "gave no answer" if check.has_begun else "was not asked, as no thread was free"
                failures.append(f"{server} {reason} within {self._timeout:g} s")
            except ServerFailed as error:
                failures.append(str(error))
            else:
                self._failed_until.pop(server, None)
                return verified
            self.trace(failures[-1])
            if check.has_begun:  # or it is for the want of threads, and no fault of the server
                self._failed_until[server] = self._clock.seconds() + self._back_off
        raise IdentityUnavailable(f"[{self.name}] no directory server could tell: {'; '.join(failures)}")

    def _tell(self, sentence: str) -> None:
        self._reactor.callFromThread(lambda: self.trace(sentence))


@contextmanager
def _noting(problems: list[str], option: str) -> Iterator[None]:
    """Go on to the next option: the problems of all are reported together."""
    try:
        yield
    except ConfigurationError as error:
        problems += [f"{option}: {problem}" for problem in error.problems]
