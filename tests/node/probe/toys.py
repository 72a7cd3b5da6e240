"""Peers to probe: servers of a few lines, as good or as bad as a test wants them. One connection at a time."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from dimsetls.codes import CommandField, RejectResult
from dimsetls.dimse.command import read_command, write_command
from dimsetls.dimse.messages import answer
from dimsetls.testing import DevelopmentAuthority, DevelopmentCertificate
from dimsetls.ul.pdus import (
    PDU,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PresentationContextAC,
    ReleaseRP,
    ReleaseRQ,
    UserIdentityAC,
    UserInformation,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_fragments, write_pdu

Serve = Callable[[socket.socket], object]
PATIENCE = 10.0
"""Seconds that a toy waits for a byte. Nothing takes so long in a test that passes."""


@contextmanager
def listening(serve: Serve, host: str = "127.0.0.1") -> Iterator[int]:
    """Call `serve` with one connection after the other; gives the port. What fails in it ends the connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family, backlog=32)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    serve(connection)
                except (OSError, EOFError):
                    pass  # as servers do: the next, please

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(PATIENCE)


def pdus(connection: socket.socket) -> Iterator[PDU]:
    """What the peer says, PDU by PDU."""
    while True:
        header = _exactly(connection, 6)
        yield read_pdu(header[0], _exactly(connection, int.from_bytes(header[2:], "big")))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def accepting(
    *, called: str | None = None, calling: str | None = None, identity: bool = False, maximum_length: int = 16384
) -> Serve:
    """Accepts associations and answers C-ECHO; titles are checked where they are given, identities answered if told."""

    def serve(connection: socket.socket) -> None:
        for pdu in pdus(connection):
            match pdu:
                case AssociateRQ() if called not in (None, pdu.called_ae_title):
                    connection.sendall(write_pdu(AssociateRJ(RejectResult.REJECTED_PERMANENT, 1, 7)))
                case AssociateRQ() if calling not in (None, pdu.calling_ae_title):
                    connection.sendall(write_pdu(AssociateRJ(RejectResult.REJECTED_PERMANENT, 1, 3)))
                case AssociateRQ():
                    connection.sendall(write_pdu(_accept(pdu, identity, maximum_length)))
                case PDataTF():
                    response = answer(read_command(pdu.values[0].fragment), 0)
                    assert response.command_field == CommandField.C_ECHO_RSP
                    command = write_command(response.command())
                    for piece in write_fragments(pdu.values[0].context_id, True, command, 0):
                        connection.sendall(piece)
                case ReleaseRQ():
                    connection.sendall(write_pdu(ReleaseRP()))

    return serve


def _accept(request: AssociateRQ, identity: bool, maximum_length: int) -> AssociateAC:
    contexts = tuple(
        PresentationContextAC(each.context_id, 0, each.transfer_syntaxes[0]) for each in request.presentation_contexts
    )
    response = UserIdentityAC() if identity and request.user_information.user_identity else None
    user = UserInformation(maximum_length, "1.2.3", "TOY", user_identity_response=response)
    return AssociateAC(request.application_context, contexts, user)


def over_tls(context: ssl.SSLContext, serve: Serve) -> Serve:
    """The same inside TLS."""

    def serve_inside(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            serve(inside)

    return serve_inside


class Keys:
    """A certification authority, a server's and a client's certificate, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = DevelopmentAuthority()
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self.authority.own.certificate_pem)
        self.client = self.write("client", self.authority.issue_client())
        # RSA, so that even suites without forward secrecy have something to go by.
        self.server = self.write("server", self.authority.issue_server(private_key=rsa_key(2048)))

    def write(self, name: str, made: DevelopmentCertificate) -> tuple[str, str]:
        """Paths of certificate and key."""
        paths = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        made.write(*paths)
        return str(paths[0]), str(paths[1])

    def context(
        self,
        *,
        certificate: tuple[str, str] | None = None,
        demand: ssl.VerifyMode = ssl.CERT_REQUIRED,
        ciphers: str = "ECDHE+AESGCM",
        oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        alpn: tuple[str, ...] = (),
    ) -> ssl.SSLContext:
        """A server's; without wishes a good one, but for ALPN, of which Python cannot refuse a mismatch."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(ciphers)
        context.minimum_version, context.maximum_version = oldest, newest
        context.load_cert_chain(*(certificate or self.server))
        context.load_verify_locations(self.ca)
        context.verify_mode = demand
        if alpn:
            context.set_alpn_protocols(alpn)
        return context


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)
