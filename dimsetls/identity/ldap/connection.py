"""One connection to a directory server (RFC 4511): strict TLS first, one bind, searches. All of ldap3 is here.

By its defaults ldap3 verifies no certificate, follows referrals with the user's passcode, and waits for ever. So it
gets a socket on which TLS already stands, and its pools, restarts and referrals are not used.
"""

from __future__ import annotations

import re
import socket
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ...errors import ConfigurationError
from ...tls.judgement import Role, misuses, weaknesses
from ...tls.material import TrustRoots
from ...tls.policy import BCP195_RFC9325
from ..credentials import Secret

with warnings.catch_warnings():  # it imports names of pyasn1 that are deprecated there
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPCommunicationError, LDAPExceptionError
    from ldap3.operation.search import parse_filter

SUCCESS = 0
"""The result code (RFC 4511 Appendix A)."""

_START_TLS = "1.3.6.1.4.1.1466.20037"
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - an OID
_URL = re.compile(r"(ldaps?)://(?:\[([0-9A-Fa-f:.]+)\]|([^\s/:@?#\[\]]+))(?::(\d{1,5}))?/?", re.IGNORECASE)
_PORTS = {"ldaps": 636, "ldap": 389}


class ServerFailed(Exception):
    """This server gave no usable answer; another one may."""


@dataclass(frozen=True, slots=True)
class DirectoryServer:
    """Where a directory answers: `ldaps` has TLS from the first octet, `ldap` has StartTLS (RFC 4511 §4.14)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> DirectoryServer:
        """Raises ConfigurationError."""
        found = _URL.fullmatch(url)
        port = int(found[4] or _PORTS[found[1].lower()]) if found else 0
        if found is None or not 0 < port < 65536:
            raise ConfigurationError(
                f"directory server {url!r} is no address; expected ldaps://HOST or ldaps://HOST:PORT, or ldap:// in "
                "place of ldaps:// for StartTLS"
            )
        return cls(found[1].lower(), found[2] or found[3], port)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a search found; `values` are of the attributes asked for, by their names in lower case."""

    name: str
    values: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a bind or a search. `diagnostics` is the server's own text: to find codes in, not to be shown."""

    code: int
    description: str
    diagnostics: str = ""
    policy_error: int | None = None
    entries: tuple[Entry, ...] = ()

    def __str__(self) -> str:
        return f"{self.description} ({self.code})"


def is_filter(text: str) -> bool:
    """Whether the text is a search filter (RFC 4515)."""
    try:
        parse_filter(text, None, True, True, None, False)
    except LDAPExceptionError:
        return False
    return True


def client_context(trust_roots: TrustRoots | None) -> ssl.SSLContext:
    """What TLS to a directory must be: the default profile, as far as the module `ssl` can be told.

    Chain and host name are always verified; without trust roots the chain leads to the system's. The suites of
    TLS 1.3, the groups and the signature algorithms stay OpenSSL's own.
    """
    policy = BCP195_RFC9325
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion(policy.minimum_version)
    context.set_ciphers(f"{':'.join(policy.cipher_suites)}:@SECLEVEL={policy.security_level}")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.hostname_checks_common_name = False  # RFC 9525 §2: the subjectAltName alone
    if trust_roots is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        roots = trust_roots.certificates
        context.load_verify_locations(cadata=b"".join(root.public_bytes(Encoding.DER) for root in roots))
    return context


class DirectoryConnection:
    """A connection for one bind. Every call blocks and may raise ServerFailed; `abort` ends it from another thread.

    A single read or write takes no longer than `wait` seconds.
    """

    def __init__(self, server: DirectoryServer, context: ssl.SSLContext, wait: float) -> None:
        self._server = server
        self._context = context
        self._wait = wait
        self._is_aborted = False
        place = ldap3.Server(
            server.host, server.port, get_info=ldap3.NONE, connect_timeout=wait, allowed_referral_hosts=[]
        )
        self._link = ldap3.Connection(
            place, authentication=ldap3.SIMPLE, client_strategy=ldap3.SAFE_SYNC, auto_referrals=False,
            auto_range=False, check_names=False, read_only=True,
        )  # fmt: skip

    def open(self) -> str:
        """Connect and establish TLS; what was agreed. Nothing but the request for StartTLS is sent before."""
        with self._failing("cannot be reached"):
            if not self._link.server.address_info:
                raise ServerFailed(f"{self._server} cannot be reached: its name has no address")
            self._link.open(read_server_info=False)
            self._link.socket.settimeout(self._wait)
            # Or requests wait for acknowledgements that the server delays: 40 ms for each.
            self._link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._go_on()
            if self._server.scheme == "ldap":
                _, result, _, _ = self._link.extended(_START_TLS)
                if result["result"] != SUCCESS:
                    answer = Answer(result["result"], result["description"])
                    raise ServerFailed(f"{self._server} answers StartTLS with {answer}; nothing is sent without TLS")
        with self._failing("has no TLS that we accept"):
            self._link.socket = self._context.wrap_socket(
                self._link.socket, server_hostname=self._server.host, do_handshake_on_connect=False
            )
            self._go_on()
            self._link.socket.do_handshake()
            self._judge(x509.load_der_x509_certificate(self._link.socket.getpeercert(binary_form=True)))
            suite, _, _ = self._link.socket.cipher()
        return f"{self._link.socket.version()} with {suite}, the certificate is verified"

    def bind(self, name: str, passcode: Secret) -> Answer:
        """Simple bind, with the password policy control."""
        with self._failing("gave no answer to a bind"):
            octets = passcode.reveal()
            if not name or not octets:  # RFC 4513 §5.1.2: it would succeed, and prove nothing
                raise ServerFailed(f"{self._server} is not asked, as there is no name or no passcode")
            if self._link.closed or not isinstance(self._link.socket, ssl.SSLSocket):  # it would connect anew, in clear
                raise ServerFailed(f"{self._server} has closed the connection")
            self._link.user, self._link.password = name, octets
            try:
                _, result, _, _ = self._link.bind(read_server_info=False, controls=[(_PASSWORD_POLICY, False, None)])
            finally:
                self._link.password = None
        policy = (result.get("controls") or {}).get(_PASSWORD_POLICY, {}).get("value")
        return Answer(result["result"], result["description"], result["message"] or "", _policy_error(policy or b""))

    def search(
        self, base: str, filter_: str, attributes: Sequence[str] = (), *, limit: int = 0, whole_tree: bool = True
    ) -> Answer:
        """The entries below the base, or the base alone. References to other servers are left out."""
        with self._failing("gave no answer to a search"):
            _, result, found, _ = self._link.search(
                base, filter_, ldap3.SUBTREE if whole_tree else ldap3.BASE, ldap3.DEREF_NEVER,
                attributes=list(attributes), size_limit=limit,
            )  # fmt: skip
            entries = [_entry(each) for each in found if each["type"] == "searchResEntry"]
        return Answer(result["result"], result["description"], entries=tuple(entries))

    def abort(self) -> None:
        """Make the thread that uses the connection give up, wherever it waits."""
        self._is_aborted = True
        # Not the method of SSLSocket, which takes the TLS state away from under the thread that reads.
        with suppress(OSError, TypeError):  # TypeError: there is no socket yet, and `_go_on` will see to it
            socket.socket.shutdown(self._link.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._link.bound:
            with suppress(LDAPExceptionError, OSError):
                self._link.unbind()
        if self._link.socket is not None:
            self._link.socket.close()

    def _go_on(self) -> None:
        """To be called where the socket is new, so that `abort` either meets it or is met here."""
        if self._is_aborted:
            raise ServerFailed(f"{self._server} is asked no longer")

    def _judge(self, certificate: x509.Certificate) -> None:
        """What we ask of the server's certificate beyond what OpenSSL does."""
        for objection in (*weaknesses(certificate), *misuses(certificate, frozenset({Role.SERVER}))):
            raise ServerFailed(f"{self._server} has no TLS that we accept: its certificate {objection.sentence}")

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Turn whatever ldap3 and its decoder raise on odd answers into ServerFailed.

        The text of an error is shown only where it cannot hold what was sent.
        """
        try:
            yield
        except ServerFailed:
            raise
        except ssl.SSLCertVerificationError as error:
            raise ServerFailed(f"{self._server} {what}: {error.verify_message}") from None
        except TimeoutError:  # of the handshake: a server that hangs has no fault in its TLS
            raise ServerFailed(f"{self._server} gave no answer within {self._wait:g} s") from None
        except (LDAPCommunicationError, OSError) as error:
            raise ServerFailed(f"{self._server} {what}: {error}") from None
        except Exception as error:
            raise ServerFailed(f"{self._server} {what}: {type(error).__name__}") from None


def _entry(found: dict[str, Any]) -> Entry:
    values = {name.lower(): tuple(value.decode() for value in raw) for name, raw in found["raw_attributes"].items()}
    return Entry(found["dn"], values)


def _policy_error(value: bytes) -> int | None:
    """The error in a password policy response: SEQUENCE { [0] warning OPTIONAL, [1] error OPTIONAL }, in BER."""
    rest = value[2:] if value[:1] == b"\x30" else b""
    while len(rest) > 2:
        tag, length = rest[0], rest[1]
        if tag == 0x81:
            return int.from_bytes(rest[2 : 2 + length], "big")
        rest = rest[2 + length :]
    return None
