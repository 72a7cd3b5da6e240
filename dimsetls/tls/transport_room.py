"""Where plain text goes as it leaves OpenSSL: a piece of memory that is used again and again.

And what waits on the other side of it, which is small again when nothing does.
"""

from __future__ import annotations

from OpenSSL import SSL, __version__
from OpenSSL._util import ffi, lib

RECORD = 2**14
"""Most bytes of data in a record (RFC 8446 §5.1)."""


class PublicRoom:
    """Filled by what pyOpenSSL offers: for each record some memory, and a copy."""

    def __init__(self, size: int) -> None:
        self._octets = bytearray(size)
        self._most = size - RECORD
        self.view = memoryview(self._octets)

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
    """Filled by OpenSSL itself, through the bindings that pyOpenSSL uses.

    It takes 7 to 12 % less CPU a byte to the disk (docs/benchmarks.md). A test has both do the same, byte for byte.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._start = ffi.from_buffer(self._octets)

    def fill(self, connection: SSL.Connection) -> tuple[int, SSL.Error | None]:
        read, ssl, start, most, octets = lib.SSL_read, connection._ssl, self._start, self._most, 0
        try:
            while octets <= most and (found := read(ssl, start + octets, RECORD)) > 0:
                octets += found
            if octets <= most:
                connection._raise_ssl_error(ssl, found)
        except SSL.Error as end:
            return octets, end.with_traceback(None)
        return octets, None


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
    used = ffi.new("char **")
    if lib.BIO_get_mem_data(connection._into_ssl, used) or lib.BIO_get_mem_data(connection._from_ssl, used):
        return
    connection._into_ssl, connection._from_ssl = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
    lib.SSL_set_bio(connection._ssl, connection._into_ssl, connection._from_ssl)  # which frees the old ones


Room = BoundRoom if IS_KNOWN else PublicRoom
