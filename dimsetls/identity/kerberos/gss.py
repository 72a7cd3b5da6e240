"""Kerberos through GSS-API, both sides of it (RFC 4121). Needs gssapi, the extra `kerberos`; import it where used."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TypeAlias

import gssapi
from gssapi import raw
from gssapi.raw.ext_krb5 import Krb5LucidContextV1, krb5_export_lucid_sec_context

from .krb5 import Accepted, Krb5Error

Store: TypeAlias = dict[str | bytes, str | bytes]
"""Where credentials are, in the words of MIT's credential store."""

_CHANNEL_BOUND = 0x800  # GSS_C_CHANNEL_BOUND_FLAG, set since MIT krb5 1.19
_FAILURE = 13 << 16  # GSS_S_FAILURE: unspecified, the mechanism knows
_SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
_numbers = itertools.count()


class Acceptor:
    """Accepts tokens for one service. Any thread may call it; the keytab is read anew for each token."""

    def __init__(self, keytab: Path, service: str, replay_cache: Path | None) -> None:
        store: Store = {"keytab": f"FILE:{keytab}"}
        if replay_cache is not None:
            store["rcache"] = f"file2:{replay_cache}"
        try:
            self._credentials = gssapi.Credentials(
                usage="accept", store=store, name=_principal(service), mechs=[gssapi.MechType.kerberos]
            )
        except raw.GSSError as error:
            raise _refusal(error) from None

    def accept(self, token: bytes, binding: bytes | None) -> Accepted:
        """Check a framed AP-REQ; `answer` is a framed AP-REP, or nothing if none was asked for. Raises Krb5Error."""
        try:
            found = raw.accept_sec_context(token, self._credentials, None, _bindings(binding))
            if found.more_steps:
                raise Krb5Error(0, "it wants a further exchange (as in DCE style), which an association does not have")
            client = bytes(raw.display_name(found.initiator_name).name).decode(errors="backslashreplace")
            is_bound = bool(int(found.flags) & _CHANNEL_BOUND)
            # Its lifetime counts the allowed clock skew in, the ticket's own end does not.
            lucid = krb5_export_lucid_sec_context(found.context, 1)
            assert isinstance(lucid, Krb5LucidContextV1)
            assert lucid.endtime is not None
            return Accepted(client, float(lucid.endtime), found.token or b"", is_bound)
        except raw.BadChannelBindingsError:
            raise Krb5Error(0, "it is bound to another connection than this one", is_other_channel=True) from None
        except raw.GSSError as error:
            raise _refusal(error) from None


class Initiation:
    """One token of ours and the answer to it. `service` is a full principal, or dicom/host to find the realm of."""

    def __init__(self, service: str, store: Store, user: str | None, *, spnego: bool, mutual: bool) -> None:
        self._service, self._store, self._user, self._mutual = service, store, user, mutual
        self._mechanism = _SPNEGO if spnego else gssapi.MechType.kerberos
        self._context: raw.SecurityContext | None = None
        self._binding: raw.ChannelBindings | None = None

    def begin(self, binding: bytes | None) -> bytes:
        """The token. It may ask the KDC for a ticket. Raises Krb5Error."""
        self._binding = _bindings(binding)
        try:
            credentials = gssapi.Credentials(
                usage="initiate", store=self._store, name=_principal(self._user) if self._user else None,
                mechs=[self._mechanism],
            )  # fmt: skip
            begun = raw.init_sec_context(
                self._target(), credentials, None, self._mechanism, self._flags(), None, self._binding
            )
        except raw.GSSError as error:
            raise _refusal(error) from None
        self._context = begun.context
        return begun.token or b""

    def finish(self, answer: bytes) -> None:
        """Verify that the answer is made with the session key, as only the service can. Raises Krb5Error."""
        context, self._context = self._context, None
        if context is None:
            raise Krb5Error(0, "there is no token that waits for an answer")
        try:
            ended = raw.init_sec_context(
                self._target(), None, context, self._mechanism, self._flags(), None, self._binding, answer
            )
        except raw.GSSError as error:
            raise _refusal(error) from None
        if ended.more_steps or ended.token or not raw.RequirementFlag.mutual_authentication & int(ended.flags):
            raise Krb5Error(0, "it does not complete mutual authentication")

    def _target(self) -> gssapi.Name:
        if "@" in self._service:
            return _principal(self._service)
        service, _, host = self._service.partition("/")
        return gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)

    def _flags(self) -> int:
        flags = raw.RequirementFlag.integrity  # 0 would stand for the default, which has mutual_authentication
        return int(flags | raw.RequirementFlag.mutual_authentication if self._mutual else flags)


def own_cache() -> str:
    """The name of a credential cache in memory that nobody else uses."""
    return f"MEMORY:dimsetls-{next(_numbers)}"


def _principal(name: str) -> gssapi.Name:
    return gssapi.Name(name, gssapi.NameType.kerberos_principal)


def _bindings(binding: bytes | None) -> raw.ChannelBindings | None:
    return None if binding is None else raw.ChannelBindings(application_data=binding)


def _refusal(error: raw.GSSError) -> Krb5Error:
    """The code of libkrb5, which is a signed number, and its sentence; that of GSS-API where that says more."""
    code = error.min_code - (1 << 32) if error.min_code >> 31 else error.min_code
    is_major = error.routine_code != _FAILURE
    texts = error.get_all_statuses(error.maj_code if is_major else error.min_code, is_major)
    return Krb5Error(code, "; ".join(texts))
