"""A Kerberos token and, when the node has answered, whether the answer proves that it has the service's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gssapi

from ...identity.negotiation import KERBEROS, der
from ...secrets import secret
from ...servers.kdc import SERVICE, Form
from .peers import Shown

if TYPE_CHECKING:
    from .hospital import Hospital


@dataclass
class Ticket:
    """A token of a user for a service, made here, so that its session key is here when the answer comes."""

    hospital: Hospital
    form: Form
    user: str = "alice"
    service: str = SERVICE
    binding: bytes | None = None
    """The tls-exporter of the connection that it is for."""
    _proof: bytes | None = None

    def __post_init__(self) -> None:
        spnego = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
        cache = self.hospital.kdc.directory / f"{self.user}.ccache"
        flags: Any = [gssapi.RequirementFlag.integrity, gssapi.RequirementFlag.mutual_authentication]
        self._context = gssapi.SecurityContext(
            name=gssapi.Name(self.service, gssapi.NameType.kerberos_principal),
            creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{cache}"}),
            mech=spnego if self.form == "spnego" else gssapi.MechType.kerberos, flags=flags, usage="initiate",
            channel_bindings=None if self.binding is None else
            gssapi.raw.ChannelBindings(application_data=b"tls-exporter:" + self.binding),
        )  # fmt: skip
        token = self._context.step()
        assert token
        self.octets = token[token.index(b"\x01\x00\x6e") + 2 :] if self.form == "raw" else token
        secret(self.octets, f"a Kerberos token ({self.form})")

    def shown(self) -> Shown:
        return Shown(3, self.octets, prove=self.prove)

    def prove(self, answer: bytes) -> None:
        """Raises what GSS-API raises."""
        if self._proof is None:  # the context takes one answer only, and there may be several who ask
            self._take(answer)
        assert self._proof == answer

    def _take(self, answer: bytes) -> None:
        self._context.step(der(0x60, KERBEROS, "0200", answer) if self.form == "raw" else answer)
        assert self._context.complete
        assert gssapi.RequirementFlag.mutual_authentication in self._context.actual_flags
        self._proof = answer
