"""Our own Kerberos tokens as a requestor, and whether the peer's answer proves who it is (RFC 4120 §3.2.4 and §3.2.5).

A peer that sends the token back, or anything else that it could make without the service's key, is found out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, IdentityDenied, IdentityUnavailable
from ..credentials import Secret
from . import krb5
from .authenticator import BINDING_TYPE, GSS_IS_MISSING
from .krb5 import Krb5Error
from .tokens import AP_REP_ID, Form, ap_req_of, frame, is_ap_rep

if TYPE_CHECKING:
    from . import gss


class KerberosUser:
    """Whose tokens are presented to which service, and where the user's credentials are.

    `service` is a full principal, or `dicom/host` to let krb5.conf find the realm. The credentials are in a credential
    cache, that of the process by default, or made with the key of a client keytab. Without `mutual` no answer can be
    verified, and none should be requested. Raises ConfigurationError.
    """

    def __init__(
        self, service: str, *, credential_cache: Path | None = None, client_keytab: Path | None = None,
        principal: str | None = None, form: Form = Form.GSS, mutual: bool = True,
    ) -> None:  # fmt: skip
        problems = []
        if "/" not in service:
            problems.append(f"service: {service!r} names no host, expected such as dicom/pacs.example.org")
        if client_keytab is not None:
            problems += [f"client-keytab: {sentence}" for sentence in krb5.keytab_problems(client_keytab)]
            if credential_cache is not None:
                problems.append("client-keytab: credential-cache is given as well, expected one of the two")
        try:
            from . import gss
        except ImportError:
            problems.append(GSS_IS_MISSING)
        if problems:
            raise ConfigurationError(*problems)
        self.service, self.form, self.mutual = service, form, mutual
        self._principal = principal
        self._store: gss.Store = {}
        if client_keytab is not None:
            self._store = {"client_keytab": f"FILE:{client_keytab}", "ccache": gss.own_cache()}
        elif credential_cache is not None:
            self._store = {"ccache": f"FILE:{credential_cache}"}

    def exchange(self, channel_binding: bytes | None = None) -> KerberosExchange:
        """For one association. `channel_binding` is the tls-exporter of its connection, 32 octets (RFC 9266)."""
        from .gss import Initiation

        initiation = Initiation(
            self.service, self._store, self._principal, spnego=self.form is Form.SPNEGO, mutual=self.mutual
        )
        return KerberosExchange(self, initiation, channel_binding)


class KerberosExchange:
    """One token and the answer to it."""

    def __init__(self, user: KerberosUser, initiation: gss.Initiation, channel_binding: bytes | None) -> None:
        self._user, self._initiation, self._channel_binding = user, initiation, channel_binding

    def token(self) -> Secret:
        """A fresh token. It may ask the KDC and block, so call it in a thread. Raises IdentityUnavailable."""
        binding = None if self._channel_binding is None else BINDING_TYPE + self._channel_binding
        try:
            token = self._initiation.begin(binding)
        except Krb5Error as error:
            raise IdentityUnavailable(
                f"there is no Kerberos ticket for {self._user.service}: {error}; is there one in the credential cache "
                "(klist), or a key in the client keytab, and does the KDC answer?"
            ) from None
        return Secret(ap_req_of(token) if self._user.form is Form.AP_REQ else token)

    def verify_response(self, octets: bytes) -> None:
        """Raise IdentityDenied unless this is the service's AP-REP to our token, in the form of the token. No I/O."""
        service = self._user.service
        if not self._user.mutual:
            raise IdentityDenied(f"no answer proves that the peer is {service}: mutual authentication is off")
        if not octets:
            raise IdentityDenied(f"the peer answered with no octets, expected the AP-REP of {service}")
        if self._user.form is Form.AP_REQ:
            if not is_ap_rep(octets):
                raise IdentityDenied(f"the peer answered with {octets[0]:02X}H first, expected one AP-REP (6FH) of "
                                     f"{service}")
            octets = frame(AP_REP_ID, octets)
        try:
            self._initiation.finish(octets)
        except Krb5Error as error:
            raise IdentityDenied(f"the peer's answer does not prove that it is {service}: {error}",
                                 is_security_alert=True) from None
