"""The settings of OpenSSL that pyOpenSSL offers no method for, or one that cannot say enough.

They are reached through the bindings that pyOpenSSL itself uses. Versions differ in whether these bind the lists
of groups and signature algorithms, so those two say whether they could do their work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

Verdict = Callable[[SSL.Connection, bytes, int, int], int]
"""Given a connection, a certificate as DER, what OpenSSL found (an X509 code, 0: nothing), the depth: an X509 code."""

CAN_RESTRICT_GROUPS = hasattr(lib, "SSL_CTX_set1_curves_list")

_ACCEPTED, _REFUSED = 1, 0
_GOES_ON, _ENDS = 0, 2
"""SSL_TLSEXT_ERR_OK and SSL_TLSEXT_ERR_ALERT_FATAL, whose alert is unrecognized_name unless another is set."""
_ALLOW_NO_DHE_KEX = 1 << 10
_SSL_OF_STORE = lib.SSL_get_ex_data_X509_STORE_CTX_idx()  # the same for as long as the process lives

# RFC 7919 Appendix A.1: a group anyone can check, of the size that RFC 9325 §4.5 asks for and old peers still can.
_FFDHE2048 = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def restrict_groups(context: SSL.Context, groups: Iterable[str]) -> bool:
    """SSL_CTX_set1_groups_list: the key exchange groups offered and accepted, in order."""
    return _set_list("SSL_CTX_set1_curves_list", context, groups)


def restrict_signature_algorithms(context: SSL.Context, algorithms: Iterable[str]) -> bool:
    """SSL_CTX_set1_sigalgs_list: what the peer may sign with, and we."""
    return _set_list("SSL_CTX_set1_sigalgs_list", context, algorithms)


def _set_list(function: str, context: SSL.Context, names: Iterable[str]) -> bool:
    bound = getattr(lib, function, None)
    if bound is None:
        return False
    done = bool(bound(context._context, ":".join(names).encode("ascii")) == 1)
    lib.ERR_clear_error()  # or the next call of pyOpenSSL would take this failure for its own
    return done


def use_finite_field_group(context: SSL.Context) -> None:
    """SSL_CTX_set_tmp_dh: what a server's DHE suites compute with; without it they are never chosen."""
    memory = ffi.gc(lib.BIO_new_mem_buf(_FFDHE2048, len(_FFDHE2048)), lib.BIO_free)
    parameters = ffi.gc(lib.PEM_read_bio_DHparams(memory, ffi.NULL, ffi.NULL, ffi.NULL), lib.DH_free)
    lib.SSL_CTX_set_tmp_dh(context._context, parameters)


def set_verify(context: SSL.Context, mode: int, verdict: Verdict) -> None:
    """SSL_CTX_set_verify with a callback that says why, so that OpenSSL sends the alert that belongs to it.

    The callback of pyOpenSSL can only say no, and a no without a code is sent as internal_error (80), which
    sends the peer's operator the wrong way. It also makes an object of each certificate, of which we want the DER.
    """
    context.set_verify(mode, lambda *_: False)  # which is never asked; what we raise goes the way of what it raises
    helper: Any = context._verify_helper

    @ffi.callback("int (*)(int, X509_STORE_CTX *)", error=_REFUSED)  # type: ignore[untyped-decorator]
    def accepts_or_says_why(accepted: int, store: Any) -> int:
        try:
            connection = SSL.Connection._reverse_mapping[lib.X509_STORE_CTX_get_ex_data(store, _SSL_OF_STORE)]
            certificate = _der(lib.X509_STORE_CTX_get_current_cert(store))
            found = 0 if accepted else lib.X509_STORE_CTX_get_error(store)
            code = verdict(connection, certificate, found, lib.X509_STORE_CTX_get_error_depth(store))
        except Exception as error:
            helper._problems.append(error)
            return _REFUSED
        lib.X509_STORE_CTX_set_error(store, code)
        return _REFUSED if code else _ACCEPTED

    lib.SSL_CTX_set_verify(context._context, mode, accepts_or_says_why)
    helper._dimsetls = accepts_or_says_why  # C keeps no reference. A connection keeps this object, whatever its context


def _der(certificate: Any) -> bytes:
    """i2d_X509_bio: a certificate as it came."""
    memory, start = lib.BIO_new(lib.BIO_s_mem()), ffi.new("char **")
    try:
        lib.i2d_X509_bio(memory, certificate)
        size = lib.BIO_get_mem_data(memory, start)
        return bytes(ffi.buffer(start[0], size))
    finally:
        lib.BIO_free(memory)


def set_info_callback(context: SSL.Context, noted: int, note: Callable[[SSL.Connection, int, int], None]) -> None:
    """SSL_CTX_set_info_callback, for events that have one of the bits of `noted`.

    OpenSSL calls it for each of its steps, some twenty in a handshake. pyOpenSSL looks the connection up for each.
    """
    @ffi.callback("void (*)(const SSL *, int, int)")  # type: ignore[untyped-decorator]
    def happened(ssl: Any, where: int, value: int) -> None:
        if where & noted:
            note(SSL.Connection._reverse_mapping[ssl], where, value)

    context._info_callback = happened  # C keeps no reference
    lib.SSL_CTX_set_info_callback(context._context, happened)


def choose_by_name(context: SSL.Context, choose: Callable[[SSL.Connection], int | None]) -> None:
    """SSL_CTX_set_tlsext_servername_callback: `choose` gives the alert that ends the connection, None if it goes on.

    It is called in every handshake of a server, be there a name or not, when it is settled whether it is a resumption.

    The callback of pyOpenSSL refuses by raising, which before version 26 does not refuse (CVE-2026-27448), and
    from then on prints a traceback for every stranger that calls.
    """
    @ffi.callback("int (*)(SSL *, int *, void *)", error=_ENDS)  # type: ignore[untyped-decorator]
    def chosen(ssl: Any, alert: Any, _argument: Any) -> int:
        refusal = choose(SSL.Connection._reverse_mapping[ssl])
        if refusal is None:
            return _GOES_ON
        alert[0] = refusal
        return _ENDS

    lib.SSL_CTX_set_tlsext_servername_callback(context._context, chosen)
    context._dimsetls_names = chosen  # type: ignore[attr-defined]  # C keeps no reference


def withhold_tickets(connection: SSL.Connection) -> None:
    """SSL_set_options: no ticket on this connection that could be used.

    Once a certificate was judged, OpenSSL sends one in TLS 1.3 all the same: it names a session that nobody keeps.
    """
    lib.SSL_set_options(connection._ssl, SSL.OP_NO_TICKET)


def may_resume_without_key_exchange(connection: SSL.Connection) -> bool:
    """SSL_get_options: whether a session may be taken up without forward secrecy (psk_ke; RFC 9325 §3.4)."""
    return bool(lib.SSL_get_options(connection._ssl) & _ALLOW_NO_DHE_KEX)


def takes_early_data(session: SSL.Session) -> bool:
    """SSL_SESSION_get_max_early_data: whether the server that gave the session takes 0-RTT."""
    return bool(lib.SSL_SESSION_get_max_early_data(session._session))


def was_resumed(connection: SSL.Connection) -> bool:
    """SSL_session_reused: whether the handshake took up an earlier session."""
    return bool(lib.SSL_session_reused(connection._ssl))
