"""The way into OpenSSL: what came from the network, and where plain text goes as it leaves it.

Each thing is done in two ways: by what pyOpenSSL offers, and, in the versions that we know, through the bindings that
it uses itself. A test has both do the same, byte for byte.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, __version__
from OpenSSL._util import ffi, lib

from .evidence import ObservedConnection

RECORD = 2**14
"""Most bytes of data in a record (RFC 8446 §5.1)."""

NOTHING_MORE = SSL.WantReadError()
"""The end of all that came, where it is not worth an exception of its own."""

_WANT_READ = lib.SSL_ERROR_WANT_READ

_ANYWHERE = ffi.new("char **")
"""For where the bytes are that wait for OpenSSL, which is not what we ask."""

_LENT = RECORD
"""Bytes from the network above which they are lent to OpenSSL, and not copied."""


class PublicRoom:
    """What pyOpenSSL offers: for each record some memory, and a copy."""

    def __init__(self, size: int) -> None:
        self._octets = bytearray(size)
        self._most = size - RECORD
        self.view = memoryview(self._octets)

    def admit(self, connection: SSL.Connection, data: bytes) -> None:
        """Give OpenSSL what came from the network; `leave` when all that it makes of it is taken."""
        connection.bio_write(data)

    def leave(self, connection: SSL.Connection) -> None:
        """What was admitted is no longer there for OpenSSL."""

    def fill(self, connection: SSL.Connection) -> tuple[int, SSL.Error | None]:
        """How many bytes there are, and why there are no more; None: for want of room."""
        receive, view, most, octets = connection.recv_into, self.view, self._most, 0
        try:
            while octets <= most:
                octets += receive(view[octets:], RECORD)
        except SSL.Error as end:
            return octets, end.with_traceback(None)  # which would keep the connection, and itself, alive
        return octets, None


class BoundRoom(PublicRoom):
    """OpenSSL itself reads what came where it is, and writes what it says; measured in docs/benchmarks.md.

    What is copied to OpenSSL makes its buffer grow, to 170 KB by a read of 128, for each connection that receives.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._start = ffi.from_buffer(self._octets)
        self._lent: Any = None  # keeps the bytes alive that OpenSSL reads
        self._is_copied = False

    def admit(self, connection: SSL.Connection, data: bytes) -> None:
        if not isinstance(connection, ObservedConnection):
            connection.bio_write(data)
            return
        connection.evidence.came(data)
        if len(data) <= _LENT:
            lib.BIO_write(connection._into_ssl, data, len(data))  # memory takes all of it
            self._is_copied = True
            return
        self._lent = lent = ffi.from_buffer(data)
        into = lib.BIO_new_mem_buf(lent, len(data))
        lib.BIO_set_mem_eof_return(into, -1)  # its end is not that of the connection
        _replace(connection, into)

    def leave(self, connection: SSL.Connection) -> None:
        self._is_copied = False
        if self._lent is not None:
            _replace(connection, lib.BIO_new(lib.BIO_s_mem()))
            self._lent = None

    def fill(self, connection: SSL.Connection) -> tuple[int, SSL.Error | None]:
        read, ssl, start, most, octets = lib.SSL_read, connection._ssl, self._start, self._most, 0
        if (found := read(ssl, start, RECORD)) > 0:
            octets = found
            # A record is taken whole; so where no byte is left, OpenSSL need not be asked whether there is another.
            if self._is_copied and not lib.BIO_get_mem_data(connection._into_ssl, _ANYWHERE):
                return octets, NOTHING_MORE
            while octets <= most and (found := read(ssl, start + octets, RECORD)) > 0:
                octets += found
            if octets > most:
                return octets, None
        if lib.SSL_get_error(ssl, found) == _WANT_READ:
            return octets, NOTHING_MORE
        try:
            connection._raise_ssl_error(ssl, found)
        except SSL.Error as end:
            return octets, end.with_traceback(None)
        raise AssertionError("OpenSSL gave nothing, and no reason")


def _replace(connection: SSL.Connection, into: Any) -> None:
    """The memory that OpenSSL reads from, beside that which it is to write to; what they replace is freed."""
    connection._into_ssl = into
    lib.SSL_set_bio(connection._ssl, into, connection._from_ssl)


KNOWN = range(25, 27)
"""Major versions of pyOpenSSL in which `recv_into` is SSL_read on `_ssl`, and `_raise_ssl_error` where that fails;
`_into_ssl` and `_from_ssl` are the memory between that and the network."""

IS_KNOWN = int(__version__.partition(".")[0]) in KNOWN


def shrink(connection: SSL.Connection) -> None:
    """Give OpenSSL new buffers towards the network, unless something waits in the old ones.

    They grow and never shrink: to some 4 KB by a handshake, a tenth of what a connection takes, and to 170 KB by a read
    of 128. Nothing is done where the connection may have others than those we know.
    """
    if not IS_KNOWN:
        return
    if any(lib.BIO_get_mem_data(memory, _ANYWHERE) for memory in (connection._into_ssl, connection._from_ssl)):
        return
    connection._from_ssl = lib.BIO_new(lib.BIO_s_mem())
    _replace(connection, lib.BIO_new(lib.BIO_s_mem()))


Room = BoundRoom if IS_KNOWN else PublicRoom
