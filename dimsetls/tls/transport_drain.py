"""The way out of OpenSSL: a PDU as it is written in one call, and its records in memory that is used again."""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from .transport_room import IS_KNOWN, RECORD

MOST = 8 * RECORD + RECORD
"""Bytes that are taken at once: eight full records, each with what it has besides its data, and some."""

_octets = bytearray(MOST)
_view = memoryview(_octets)
_start = ffi.from_buffer(_octets)


def write_whole(connection: SSL.Connection) -> None:
    """Let a write take all of its bytes, and not the first record of them, where we know how to ask for that."""
    if IS_KNOWN:
        lib.SSL_clear_mode(connection._ssl, lib.SSL_MODE_ENABLE_PARTIAL_WRITE)


def public_take(connection: SSL.Connection) -> bytes | memoryview:
    """What waits to be sent, up to MOST bytes of it; nothing: there is none."""
    try:
        return connection.bio_read(MOST)
    except SSL.WantReadError:
        return b""


def bound_take(connection: SSL.Connection) -> bytes | memoryview:
    """The same through the bindings that pyOpenSSL uses, in memory that is only valid until the next call."""
    taken = lib.BIO_read(connection._from_ssl, _start, MOST)
    return _view[:taken] if taken > 0 else b""


def public_write(connection: SSL.Connection, data: memoryview) -> int:
    """Have some of it encrypted, all of it where we know how to ask for that; how many bytes."""
    return connection.send(data)


def bound_write(connection: SSL.Connection, data: memoryview) -> int:
    """The same through the bindings."""
    taken: int = lib.SSL_write(connection._ssl, ffi.from_buffer(data), len(data))
    if taken <= 0:
        connection._raise_ssl_error(connection._ssl, taken)
    return taken


take, write = (bound_take, bound_write) if IS_KNOWN else (public_take, public_write)
