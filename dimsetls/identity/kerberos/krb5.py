"""libkrb5 of MIT through ctypes: keytabs, and AP-REQ checked and answered (RFC 4120 §3.2), which gssapi cannot do.

Every call makes a context of its own and lets go of all that it made, so it may run in any thread. The library reads
krb5.conf where its own environment says; the keytab and the replay cache are given as arguments.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from ctypes import (
    CDLL,
    POINTER,
    Array,
    Structure,
    addressof,
    byref,
    c_char,
    c_char_p,
    c_int32,
    c_ubyte,
    c_uint32,
    c_void_p,
    create_string_buffer,
    string_at,
)
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from .tokens import Malformed, ticket_of

LIBRARY = "libkrb5.so.3"


class Krb5Error(Exception):
    """libkrb5 refused; the message is its own and shows no key or ticket. `code` may be one of `Code`."""

    def __init__(self, code: int, text: str, *, is_other_channel: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_other_channel = is_other_channel
        """The token is bound to another connection than the one that it came by."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a good token shows: the client principal, when its ticket ends (POSIX time), and what to answer."""

    client: str
    until: float
    answer: bytes = field(repr=False)
    is_bound: bool = False
    """Whether client and service agree that it belongs to this connection; an AP-REQ alone does not tell."""


_BASE = -1765328384


class Code(IntEnum):
    """Errors of libkrb5 that are told apart here; the first ones are those of RFC 4120 §7.5.9."""

    BAD_INTEGRITY = _BASE + 31
    TICKET_EXPIRED = _BASE + 32
    TICKET_NOT_YET_VALID = _BASE + 33
    REPEAT = _BASE + 34
    NOT_US = _BASE + 35
    SKEW = _BASE + 37
    KEY_VERSION = _BASE + 44
    NO_KEY = _BASE + 45
    KEYTAB_END = _BASE + 182
    KEYTAB_IO = _BASE + 184


_REPLAY_CACHE = range(_BASE + 159, _BASE + 173)
"""KRB5_RC_TYPE_EXISTS to KRB5_RC_IO_SPACE."""


def is_local(code: int) -> bool:
    """Whether an error is one of this machine and tells nothing of the token: files, memory, the replay cache."""
    return 0 < code <= max(errno.errorcode) or code in _REPLAY_CACHE or code == Code.KEYTAB_IO


def accept(ap_req: bytes, keytab: Path, service: str, replay_cache: Path | None) -> Accepted:
    """Check an AP-REQ for `service`, a full principal, against the keytab; answer AP-REP. Raises Krb5Error.

    AP-REP is made even where mutual authentication was not asked for: who does not want it may leave it.
    """
    with _Context() as context:
        table = context.make("krb5_kt_resolve", _file(keytab), free="krb5_kt_close")
        server = context.make("krb5_parse_name", service.encode(), free="krb5_free_principal")
        exchange = context.make("krb5_auth_con_init", free="krb5_auth_con_free")
        if replay_cache is not None:
            replays = context.make("k5_rc_resolve", b"file2:" + bytes(replay_cache))
            context.call("krb5_auth_con_setrcache", exchange, replays)  # and is let go of with the exchange
        buffer: Array[c_char] = create_string_buffer(ap_req, len(ap_req))
        request = _Data(0, len(ap_req), addressof(buffer))
        ticket = POINTER(_Ticket)()
        context.call("krb5_rd_req", byref(exchange), byref(request), server, table, None, byref(ticket))
        context.callback(context.library.krb5_free_ticket, context, ticket)
        found = ticket.contents.decrypted.contents
        reply = _Data()
        context.call("krb5_mk_rep", exchange, byref(reply))
        context.callback(context.library.krb5_free_data_contents, context, byref(reply))
        client = context.name(found.client)
        return Accepted(client, float(found.end_time), string_at(reply.data, reply.length))


def service_of(ap_req: bytes) -> str:
    """The principal that the ticket in an AP-REQ is for, by its own words; empty if it has none."""
    try:
        octets = ticket_of(ap_req)
        with _Context() as context:
            buffer: Array[c_char] = create_string_buffer(octets, len(octets))
            ticket = POINTER(_Ticket)()
            context.check(context.library.krb5_decode_ticket(_Data(0, len(octets), addressof(buffer)), byref(ticket)))
            context.callback(context.library.krb5_free_ticket, context, ticket)
            return context.name(ticket.contents.server)
    except (Malformed, Krb5Error):
        return ""


def principals(keytab: Path) -> list[str]:
    """The principals of a keytab, each once, in their order. Raises Krb5Error."""
    names: dict[str, None] = {}
    with _Context() as context:
        table = context.make("krb5_kt_resolve", _file(keytab), free="krb5_kt_close")
        cursor, entry = c_void_p(), _KeytabEntry()
        context.call("krb5_kt_start_seq_get", table, byref(cursor))
        context.callback(context.library.krb5_kt_end_seq_get, context, table, byref(cursor))
        while (code := context.library.krb5_kt_next_entry(context, table, byref(entry), byref(cursor))) == 0:
            names[context.name(entry.principal)] = None
            context.library.krb5_free_keytab_entry_contents(context, byref(entry))
        if code != Code.KEYTAB_END:
            context.check(code)
    return list(names)


def keytab_problems(keytab: Path) -> list[str]:
    """Why a keytab cannot be used, one sentence each. Who can read its keys can be the service, or any user to it."""
    try:
        mode = stat.S_IMODE(os.stat(keytab).st_mode)
        with open(keytab, "rb"):
            pass
    except OSError as error:
        return [f"{keytab} cannot be read: {error.strerror}; expected a keytab that this user may read"]
    if mode & 0o027:
        return [f"{keytab} is open to others (mode {mode:04o}), expected 0600 or 0640: chmod 600 {keytab}"]
    try:
        if principals(keytab):
            return []
    except Krb5Error as error:
        return [f"{keytab} is not a keytab ({error}); expected one as ktadd or ktpass writes it"]
    return [f"{keytab} holds no key, expected one at least"]


def full_name(principal: str) -> str:
    """A principal with its realm, the default realm of krb5.conf where it has none. Raises Krb5Error."""
    with _Context() as context:
        return context.name(context.make("krb5_parse_name", principal.encode(), free="krb5_free_principal"))


def _file(keytab: Path) -> bytes:
    return b"FILE:" + bytes(keytab)


class _Data(Structure):
    """krb5_data."""

    _fields_ = (("magic", c_int32), ("length", c_uint32), ("data", c_void_p))


class _EncryptedData(Structure):
    """krb5_enc_data."""

    _fields_ = (("magic", c_int32), ("encryption_type", c_int32), ("version", c_uint32), ("cipher", _Data))


class _Transited(Structure):
    """krb5_transited."""

    _fields_ = (("magic", c_int32), ("kind", c_ubyte), ("contents", _Data))


class _TicketPart(Structure):
    """krb5_enc_tkt_part, as far as it is read. Times are unsigned, so they last until 2106."""

    _fields_ = (
        ("magic", c_int32), ("flags", c_int32), ("session", c_void_p), ("client", c_void_p), ("transited", _Transited),
        ("authentication_time", c_uint32), ("start_time", c_uint32), ("end_time", c_uint32),
    )  # fmt: skip


class _Ticket(Structure):
    """krb5_ticket."""

    _fields_ = (
        ("magic", c_int32), ("server", c_void_p), ("encrypted", _EncryptedData), ("decrypted", POINTER(_TicketPart)),
    )  # fmt: skip


class _KeytabEntry(Structure):
    """krb5_keytab_entry; libkrb5 fills it, so it must be whole."""

    _fields_ = (
        ("magic", c_int32), ("principal", c_void_p), ("timestamp", c_int32), ("version", c_uint32),
        ("key_magic", c_int32), ("encryption_type", c_int32), ("key_length", c_uint32), ("key", c_void_p),
    )  # fmt: skip


class _Context(ExitStack):
    """A krb5_context; what is made in it is let go of when it ends, the last first."""

    def __init__(self) -> None:
        super().__init__()
        self.library = _library()
        self._as_parameter_ = c_void_p()
        """The handle: ctypes takes this object in its place."""

    def __enter__(self) -> _Context:
        code = self.library.krb5_init_context(byref(self._as_parameter_))
        if code:
            raise Krb5Error(code, f"libkrb5 cannot begin (code {code}): look at krb5.conf")
        self.callback(self.library.krb5_free_context, self)
        return self

    def call(self, function: str, *arguments: Any) -> None:
        self.check(getattr(self.library, function)(self, *arguments))

    def make(self, function: str, *arguments: Any, free: str = "") -> c_void_p:
        """What a function puts into its last argument."""
        made = c_void_p()
        self.call(function, *arguments, byref(made))
        if free:
            self.callback(getattr(self.library, free), self, made)
        return made

    def check(self, code: int) -> None:
        if code:
            text = self.library.krb5_get_error_message(self, code)
            try:
                raise Krb5Error(code, string_at(text).decode(errors="backslashreplace"))
            finally:
                self.library.krb5_free_error_message(self, text)

    def name(self, principal: Any) -> str:
        """A principal as text, special characters behind a backslash. What is not UTF-8 has backslashes too."""
        made = c_void_p()
        self.call("krb5_unparse_name", principal, byref(made))
        try:
            return string_at(made.value or 0).decode(errors="backslashreplace")
        finally:
            self.library.krb5_free_unparsed_name(self, made)


@cache
def _library() -> CDLL:
    """The library with the types of its functions, or they would be called with half a pointer."""
    try:
        library = CDLL(LIBRARY)
        for name, *arguments in _FUNCTIONS:
            function = getattr(library, name)
            function.argtypes = (_P, *arguments)
            function.restype = None if name.startswith(("krb5_free", "krb5_auth_con_free")) else c_int32
        library.krb5_init_context.argtypes = (_R,)
        library.krb5_free_context.argtypes = (_P,)
        library.krb5_decode_ticket.argtypes = (POINTER(_Data), POINTER(POINTER(_Ticket)))
        library.krb5_get_error_message.restype = c_void_p
    except (OSError, AttributeError) as error:
        raise ConfigurationError(
            f"{LIBRARY} cannot be used ({error}); expected that of MIT Kerberos 1.18 or later, on Debian libkrb5-3"
        ) from None
    return library


_P, _R = c_void_p, POINTER(c_void_p)
_FUNCTIONS: tuple[tuple[Any, ...], ...] = (  # each takes the context, then:
    ("krb5_init_context",),
    ("krb5_free_context",),
    ("krb5_get_error_message", c_int32),
    ("krb5_free_error_message", _P),
    ("krb5_parse_name", c_char_p, _R),
    ("krb5_unparse_name", _P, _R),
    ("krb5_free_principal", _P),
    ("krb5_free_unparsed_name", _P),
    ("krb5_kt_resolve", c_char_p, _R),
    ("krb5_kt_close", _P),
    ("krb5_kt_start_seq_get", _P, _R),
    ("krb5_kt_next_entry", _P, POINTER(_KeytabEntry), _R),
    ("krb5_kt_end_seq_get", _P, _R),
    ("krb5_free_keytab_entry_contents", POINTER(_KeytabEntry)),
    ("k5_rc_resolve", c_char_p, _R),
    ("krb5_auth_con_init", _R),
    ("krb5_auth_con_setrcache", _P, _P),
    ("krb5_auth_con_free", _P),
    ("krb5_rd_req", _R, POINTER(_Data), _P, _P, POINTER(c_int32), POINTER(POINTER(_Ticket))),
    ("krb5_free_ticket", POINTER(_Ticket)),
    ("krb5_mk_rep", _P, POINTER(_Data)),
    ("krb5_free_data_contents", POINTER(_Data)),
)
