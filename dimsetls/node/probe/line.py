"""One connection of the probe: blocking, and over when its time is up.

Nothing here follows a policy: to see what a peer would do, one must be able to do it with the peer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from cryptography import x509
from cryptography.x509 import ocsp
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from ...tls.bindings import restrict_groups
from ...tls.evidence import FATAL, KEPT_BYTES, ObservedConnection, record_event
from ...tls.faults import TransportFault, classify, handshake_timeout
from ...tls.material import KeyMaterial
from . import hello
from .observations import Ending, HelloSeen, Reaction, SessionSeen

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]

_NO_RENEGOTIATION = 100
_CLOSED = ("closed-in-handshake", "truncated", "closed-unreleased", "transport-error")
_T = TypeVar("_T")


class Line:
    """A TCP connection on which nothing takes longer than it has left."""

    def __init__(self, address: Address, seconds: float) -> None:
        family, where = address
        self._deadline = monotonic() + seconds
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(where)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._limit()
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """What came, at least one byte; empty at the end of the stream. TimeoutError when time is up."""
        self._limit()
        return self._socket.recv(65536)

    def _limit(self) -> None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def greet(line: Line, client_hello: bytes, offered: Iterable[hello.SuiteClass]) -> HelloSeen:
    """Send a ClientHello made by hand, read the answer, and take leave."""
    seen = HelloSeen(Reaction(Ending.SILENT), frozenset(offered))
    heard = b""
    try:
        line.send(client_hello)
        while len(heard) < hello.LARGEST_FLIGHT:
            data = line.receive()
            heard += data
            flight = hello.read_flight(heard)
            if (alert := hello.read_alert(heard)) is not None:
                return replace(seen, reaction=Reaction(Ending.REFUSED, alert))
            if flight is not None:
                seen = replace(seen, flight=flight, reaction=Reaction(Ending.COMPLETED))
                if flight.complete:
                    break
            if not data:
                break
        if seen.flight is None:
            return replace(seen, reaction=Reaction(Ending.CLOSED))
        line.send(hello.FAREWELL)
    except ValueError:
        return replace(seen, reaction=Reaction(Ending.GARBLED))
    except TimeoutError:
        pass  # what came until then is what was seen
    except OSError:
        if seen.flight is None:
            return replace(seen, reaction=Reaction(Ending.CLOSED))
    return seen


@dataclass(frozen=True, slots=True)
class Offer:
    """What our side of a handshake by OpenSSL offers. Nothing in it is checked for being safe."""

    suites: str
    """For TLS 1.2 and before, as OpenSSL writes lists of them."""
    groups: tuple[str, ...]
    server_name: str | None
    alpn: tuple[bytes, ...] = (b"dicom",)
    maximum_version: int = hello.TLS_1_3
    key_material: KeyMaterial | None = None


class TLSLine:
    """TLS over a Line. `seen` grows with every step, so that what was learnt survives whatever comes next."""

    def __init__(self, line: Line, offer: Offer) -> None:
        self.seen = SessionSeen(Reaction(Ending.SILENT), server_name=offer.server_name)
        self._line = line
        self._heard = b""
        self._damage = False
        self._connection = ObservedConnection(self._context(offer), is_server=False)
        if offer.server_name is not None:
            self._connection.set_tlsext_host_name(offer.server_name.encode("ascii"))
        self._connection.request_ocsp()

    def _context(self, offer: Offer) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(0)  # the oldest that this OpenSSL still has
        context.set_max_proto_version(offer.maximum_version)
        context.set_cipher_list(f"{offer.suites}:@SECLEVEL=0".encode())
        context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
        # Closed lists keep the ClientHello in one packet; old servers lose their way in more.
        restrict_groups(context, offer.groups)
        context.set_verify(SSL.VERIFY_NONE)
        if offer.alpn:
            context.set_alpn_protos(list(offer.alpn))
        if (material := offer.key_material) is not None:
            context.use_certificate(material.certificate)
            for issuer in material.chain[1:]:
                context.add_extra_chain_cert(issuer)
            context.use_privatekey(material.private_key)
        context.set_info_callback(self._note)
        context.set_ocsp_client_callback(self._note_staple)
        return context

    def _note(self, connection: SSL.Connection, where: int, value: int) -> None:
        record_event(connection, where, value)
        if where & SSL.SSL_CB_LOOP:
            # The names of its states are the one place where OpenSSL shows a client these messages.
            state = connection.get_state_string()
            if state.endswith(b"read server certificate request"):
                self.seen = replace(self.seen, certificate_requested=True)
            elif state.endswith(b"read server session ticket"):
                self.seen = replace(self.seen, tickets=self.seen.tickets + 1)

    def _note_staple(self, connection: SSL.Connection, response: bytes, _: object) -> bool:
        if response:
            self.seen = replace(self.seen, staple=_staple_status(response))
        return True

    def handshake(self) -> tuple[x509.Certificate, ...]:
        """Complete the handshake on our side; returns the peer's chain."""
        try:
            self._step(self._connection.do_handshake)
        finally:
            self._note_flight()
        connection = self._connection
        alpn = connection.get_alpn_proto_negotiated()
        self.seen = replace(
            self.seen,
            reaction=Reaction(Ending.COMPLETED),
            version=connection.get_protocol_version(),
            cipher_suite=connection.get_cipher_name() or "",
            group=self.seen.flight.group if self.seen.flight is not None else "",
            alpn=alpn.decode("ascii", "replace") if alpn else "",
            certificate_authorities=tuple(map(_name, connection.get_client_ca_list())),
        )
        return tuple(connection.get_peer_cert_chain(as_cryptography=True) or ())

    def _note_flight(self) -> None:
        self.seen = replace(self.seen, first_bytes=self._heard[:KEPT_BYTES])
        try:
            self.seen = replace(self.seen, flight=hello.read_flight(self._heard))
        except ValueError:
            pass  # no TLS; the first bytes are judged elsewhere

    def send(self, data: bytes) -> None:
        self._step(lambda: self._connection.sendall(data))

    def receive(self) -> bytes:
        """As Line.receive; empty after close_notify."""
        try:
            return self._step(lambda: self._connection.recv(65536))
        except SSL.ZeroReturnError:
            return b""

    def send_damaged(self, data: bytes) -> Reaction:
        """Send one record with a bit flipped on the way (RFC 8446 §5.2); what the peer does about it."""
        self._damage = True
        try:
            self.send(data)
            while self.receive():
                pass  # whatever it says, what counts is how it ends
        except (SSL.Error, OSError) as error:
            return self._reaction(error)
        return Reaction(Ending.CLOSED)

    def renegotiate(self) -> Reaction:
        """Ask for a new handshake inside the session, as TLS 1.2 has it (RFC 5246 §7.4.1.1)."""
        try:
            self._connection.renegotiate()
            self._step(self._connection.do_handshake)
        except (SSL.Error, OSError) as error:
            if any(alert.number == _NO_RENEGOTIATION and not alert.sent for alert in self._connection.evidence.alerts):
                return Reaction(Ending.REFUSED, _NO_RENEGOTIATION)
            return self._reaction(error)
        return Reaction(Ending.COMPLETED)

    def fail(self, error: Exception) -> None:
        """Note that the session ended with `error`, and why."""
        reaction = self._reaction(error)
        if reaction.ending is not Ending.SILENT:
            fault = self._fault(error)
            words = f"{fault.name}: {fault.detail}"
        elif self._connection.evidence.handshake_completed:
            words = "no answer in time"
        else:
            words = handshake_timeout(self._connection.evidence).name
        self.seen = replace(self.seen, reaction=reaction, words=words)

    def close(self) -> None:
        """Take leave with close_notify, and note what the session has to say at its end."""
        session = self._connection.get_session()
        if session is not None:
            self.seen = replace(self.seen, early_data=lib.SSL_SESSION_get_max_early_data(session._session))
        try:
            self._connection.shutdown()
            self._flush()
        except (SSL.Error, OSError):
            pass  # there is nobody left to take leave of

    def _reaction(self, error: Exception) -> Reaction:
        if isinstance(error, TimeoutError):
            return Reaction(Ending.SILENT)
        for alert in self._connection.evidence.alerts:
            if alert.level == FATAL and not alert.sent:
                return Reaction(Ending.REFUSED, alert.number)
        return Reaction(Ending.CLOSED if self._fault(error).name in _CLOSED else Ending.GARBLED)

    def _fault(self, error: Exception) -> TransportFault:
        """As everywhere, but for errors of a socket, which Twisted would have turned into its own."""
        ended = ConnectionLost(str(error)) if isinstance(error, OSError) else error
        return classify(Failure(ended), self._connection.evidence)

    def _step(self, operation: Callable[[], _T]) -> _T:
        while True:
            try:
                result = operation()
            except SSL.WantReadError:
                self._flush()
                data = self._line.receive()
                if len(self._heard) < hello.LARGEST_FLIGHT:
                    self._heard += data
                if data:
                    self._connection.bio_write(data)
                else:
                    self._connection.bio_shutdown()
            except SSL.Error:
                self._flush_alert()
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        while True:
            try:
                data = self._connection.bio_read(65536)
            except SSL.WantReadError:
                return
            if self._damage:
                data, self._damage = data[:-1] + bytes((data[-1] ^ 1,)), False
            self._line.send(data)

    def _flush_alert(self) -> None:
        try:
            self._flush()
        except OSError:
            pass  # the error that made the alert is the one that counts


def _name(name: object) -> str:
    components = name.get_components()  # type: ignore[attr-defined]
    return ",".join(f"{key.decode()}={value.decode('utf-8', 'replace')}" for key, value in reversed(components))


def _staple_status(response: bytes) -> str:
    try:
        answer = ocsp.load_der_ocsp_response(response)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return f"no status ({answer.response_status.name.lower()})"
        return answer.certificate_status.name.lower()
    except ValueError:
        return "unreadable"
