"""The three settings of OpenSSL that pyOpenSSL offers no method for.

They are reached through the bindings that pyOpenSSL itself uses. Versions differ in what these bind, so
each function says whether it could do its work, and the caller says so to the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from OpenSSL import SSL
from OpenSSL._util import lib

_NO_PARTIAL_WILDCARDS = 0x4
_NEVER_CHECK_SUBJECT = 0x20
"""X509_CHECK_FLAG values: RFC 9525 §6.3 allows a wildcard as the whole left-most label only, and never the CN."""


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


def expect_name(context: SSL.Context, name: str | IPv4Address | IPv6Address) -> bool:
    """X509_VERIFY_PARAM_set1_host or _ip: the handshake fails with alert bad_certificate on another name.

    A refusal by a callback sends internal_error (80) instead, which sends the peer's operator the wrong way.
    """
    try:
        parameters = lib.SSL_CTX_get0_param(context._context)
        lib.X509_VERIFY_PARAM_set_hostflags(parameters, _NO_PARTIAL_WILDCARDS | _NEVER_CHECK_SUBJECT)
        if isinstance(name, str):
            encoded = name.encode("ascii")
            return bool(lib.X509_VERIFY_PARAM_set1_host(parameters, encoded, len(encoded)))
        return bool(lib.X509_VERIFY_PARAM_set1_ip(parameters, name.packed, len(name.packed)))
    except AttributeError:
        return False
