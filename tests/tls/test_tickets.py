"""The name of a ticket's key, out of a ClientHello: found where it is, awaited where it may come, or not there."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
from OpenSSL import SSL

from dimsetls.tls import flights, selfcheck
from dimsetls.tls.contexts import ServerConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325, ClientCertificate, TLSVersion
from dimsetls.tls.tickets import KEY_NAME, LONGEST, key_name

NAME = bytes(range(16))


def hello(*extensions: tuple[int, bytes], session_id: bytes = b"") -> bytes:
    """A ClientHello with these extensions, in this order."""
    listed = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for number, value in extensions
    )
    body = b"\3\3" + bytes(32) + bytes((len(session_id),)) + session_id + b"\0\2\x13\2\1\0"
    body += len(listed).to_bytes(2, "big") + listed
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


def offer(ticket: bytes) -> tuple[int, bytes]:
    """The pre_shared_key extension with one identity and its binder."""
    identity = len(ticket).to_bytes(2, "big") + ticket + bytes(4)
    return 41, len(identity).to_bytes(2, "big") + identity + b"\0\x21\x20" + bytes(32)


@pytest.mark.parametrize("session_id", [b"", bytes(32)])
def test_the_first_ticket_tells(session_id):
    whole = hello((43, b"\2\3\4"), (10, b"\0\2\0\x17"), offer(NAME + bytes(200)), session_id=session_id)
    assert key_name(whole) == NAME
    assert key_name(whole + b"and more") == NAME
    for end in range(len(whole)):
        assert key_name(whole[:end]) == (5 if end < 5 else len(whole))


@pytest.mark.parametrize("data", [
    hello((43, b"\2\3\4")), flights.client_hello(version=TLSVersion.TLS_1_2),
    hello(*(((0x0A0A, b""),) * 64), offer(NAME)), hello(offer(b"")),
    b"GET / HTTP/1.1\r\n\r\n", b"\1", b"\x16\2\0\0\0", b"\x16\3\1" + (LONGEST - 4).to_bytes(2, "big"),
    b"\x16\3\1\0\0", b"\x16\3\1\0\x30" + bytes(48), b"\x16\3\1\0\x30" + b"\xff" * 48,
], ids=["none", "old", "too many", "empty", "HTTP", "DICOM", "SSL 2", "long", "short", "zeros", "ones"])  # fmt: skip
def test_nothing_is_found_nor_awaited_where_nothing_is(data):
    assert key_name(data) == b""


def test_what_is_cut_anywhere_inside_is_no_error():
    inside = hello((43, b"\2\3\4"), offer(NAME + bytes(30)))[5:]
    for end in range(40, len(inside)):
        found = key_name(b"\x16\3\1" + end.to_bytes(2, "big") + inside[:end])
        assert isinstance(found, bytes)
        assert NAME.startswith(found)


def serving(authority, resumption=timedelta(hours=1)):
    policy = BCP195_RFC9325.with_client_certificate(ClientCertificate.NONE)
    return ServerConnectionCreator(
        policy, authority.issue_server().material, authority.trust_roots, resumption=resumption
    )


def first_words(context, session):
    """The ClientHello of Python's client, and a way to go on with it: a pair of what comes in and the connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return client, incoming, outgoing


def test_another_client_shows_the_name_of_the_key_that_is_ours(authority):
    server = serving(authority)
    name = selfcheck.key_name(server)
    assert len(name) == KEY_NAME
    context = ssl.create_default_context(cadata=authority.own.certificate_pem.decode())
    client, incoming, outgoing = first_words(context, None)
    words = outgoing.read()
    assert key_name(words) == b""
    connection = server.serverConnectionForTLS(None)
    connection.bio_write(words)
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    incoming.write(connection.bio_read(1 << 16))
    client.do_handshake()
    connection.bio_write(outgoing.read())
    connection.do_handshake()
    incoming.write(connection.bio_read(1 << 16))
    with pytest.raises(ssl.SSLWantReadError):
        client.read(1)
    _, _, again = first_words(context, client.session)
    assert key_name(again.read()) == name


def test_each_creator_has_a_key_and_only_who_gives_tickets(authority):
    server = serving(authority)
    names = {selfcheck.key_name(each) for each in (server, server, serving(authority))}
    assert len(names) == 2
    assert selfcheck.key_name(serving(authority, resumption=None)) not in names
