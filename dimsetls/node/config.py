"""What the INI file says, as objects that refer to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..association.admission import Refusal

if TYPE_CHECKING:
    from ..association.admission import Caller
    from ..services.layout import Layout
    from ..services.promises import Duplicates, Durability
    from ..tls.endpoints import Transport
    from ..tls.policy import ClientCertificate, TLSPolicy, TLSVersion
    from ..tls.revocation import CRLCheck
    from ..tls.rules import CertificateRule
    from ..tls.session import PeerCertificate
    from .credentials import Credential
    from .identity.sections import BackEnd, Identity, Rule


@dataclass(frozen=True, slots=True)
class Node:
    """[node]: the process as a whole. Times here and below are seconds, sizes bytes."""

    log_format: Literal["text", "json"]
    log_level: str
    drain_timeout: float
    workers: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """[certificate NAME]: one more certificate to be asked for by name."""

    name: str
    certificate: Path
    private_key: Path
    private_key_passphrase: str | None
    ocsp_response: Path | None
    ocsp_responder: str | None

    @property
    def kind(self) -> str:
        return "certificate"


@dataclass(frozen=True, slots=True)
class TLS:
    """[tls NAME]: how connections are secured. `trust_roots` is None only if no client certificate is asked for."""

    name: str
    profile: TLSPolicy
    legacy_profile: bool
    minimum_version: TLSVersion | None
    maximum_version: TLSVersion | None
    cipher_suites: tuple[str, ...] | None
    tls13_cipher_suites: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    certificate: Path
    private_key: Path
    private_key_passphrase: str | None
    ocsp_response: Path | None
    ocsp_responder: str | None
    named_certificates: tuple[Certificate, ...] | None
    strict_server_names: bool
    require_alpn: bool
    trust_roots: Path | None
    client_certificate: ClientCertificate
    revocation_check: CRLCheck
    revocation_lists: tuple[Path, ...] | None
    resumption: timedelta | None
    transport: Transport
    development_certificates_outside_loopback: bool

    @property
    def policy(self) -> TLSPolicy:
        """The profile as it holds here. Raises ConfigurationError where the options would widen it."""
        return self.profile.with_client_certificate(self.client_certificate).narrow(
            minimum_version=self.minimum_version,
            maximum_version=self.maximum_version,
            cipher_suites=self.cipher_suites or (),
            tls13_cipher_suites=self.tls13_cipher_suites or (),
            groups=self.groups or (),
        )

    @property
    def kind(self) -> str:
        return "tls"


@dataclass(frozen=True, slots=True)
class Storage:
    """[storage NAME]: a directory where instances are kept."""

    name: str
    directory: Path
    layout: Layout
    duplicates: Duplicates
    fsync: Durability
    index: bool
    forward: tuple[Forward, ...] | None = field(default=None, compare=False)
    """What a reload changes about it makes no other store of this one."""


@dataclass(frozen=True, slots=True)
class Peer:
    """[peer NAME]: a remote application entity. `addresses` is None where it may call from anywhere.

    It can be reached if it has a `host`, and then has `tls` too.
    """

    name: str
    ae_title: str
    host: str | None
    port: int
    tls: TLS | None
    presents: Credential | None
    connect_timeout: float
    answer_timeout: float
    response_timeout: float
    idle_timeout: float
    associations: int
    operations: int
    bearer_identity_type: int | None
    addresses: tuple[IPv4Network | IPv6Network, ...] | None
    certificates: tuple[CertificateRule, ...] | None

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached on this machine."""
        try:
            return self.host is None or self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def may_call_from(self, address: str) -> bool:
        """Whether the peer may have this address; one that is none, as for a UNIX socket, is in no network."""
        if self.addresses is None:
            return True
        try:
            host: IPv4Address | IPv6Address = ip_address(address)
        except ValueError:
            return False
        if isinstance(host, IPv6Address):
            host = host.ipv4_mapped or host  # an IPv4 caller of a listener on ::
        return any(host in network for network in self.addresses)

    def is_shown_by(self, certificate: PeerCertificate | None) -> bool:
        """Whether the certificate is one that may use this peer's AE title."""
        if self.certificates is None:
            return True
        return certificate is not None and any(rule.matches(certificate) for rule in self.certificates)


@dataclass(frozen=True, slots=True)
class Forward:
    """[forward NAME]: what of a store is sent on to peers. A condition that is None is met by all."""

    name: str
    peers: tuple[Peer, ...]
    calling_ae_titles: tuple[str, ...] | None
    called_ae_titles: tuple[str, ...] | None
    modalities: tuple[str, ...] | None
    sop_classes: tuple[str, ...] | None
    ae_title: str | None
    convert: bool
    first_delay: float
    longest_delay: float
    attempts: int
    give_up_after: float


@dataclass(frozen=True, slots=True)
class Worklist:
    """[worklist NAME]: a directory of worklist files."""

    name: str
    directory: Path


@dataclass(frozen=True, slots=True)
class ProcedureSteps:
    """[procedure-steps NAME]: a directory where performed procedure steps are kept."""

    name: str
    directory: Path


@dataclass(frozen=True, slots=True)
class AE:
    """[ae TITLE]: an application entity of ours. `peers` is None where anyone may call."""

    title: str
    services: tuple[str, ...]
    storage: Storage | None
    commitment_timeout: float
    worklist: Worklist | None
    procedure_steps: ProcedureSteps | None
    peers: tuple[Peer, ...] | None
    identity: Identity | None
    rules: tuple[Rule, ...] | None
    transfer_syntaxes: tuple[str, ...]
    unknown_sop_classes: bool
    maximum_length: int
    maximum_operations_invoked: int
    maximum_operations_performed: int

    def refusal(self, caller: Caller, peers: tuple[Peer, ...]) -> Refusal | None:
        """Why the caller may not open an association, which is then rejected with (1,1,3); None if it may.

        `peers` are all of the configuration: an AE title that one of them binds to certificates is so bound
        also where anyone may call.
        """
        known = self.peers if self.peers is not None else [peer for peer in peers if peer.certificates is not None]
        named = [peer for peer in known if peer.ae_title == caller.calling_ae_title]
        there = [peer for peer in named if self.peers is None or peer.may_call_from(caller.address)]
        if any(peer.is_shown_by(caller.certificate) for peer in there):
            return None
        if there:
            shown = caller.certificate.subject if caller.certificate else "no certificate"
            sections = ", ".join(f"[peer {peer.name}]" for peer in there)
            return Refusal(
                f"{caller.calling_ae_title} is bound to certificates by {sections}, but {shown} came with it: "
                "find out who this is, or add its certificate there",
                is_security_alert=True,
            )
        if self.peers is None:
            return None
        where = f" from {caller.address}" if named else ""
        return Refusal(f"{caller.calling_ae_title!r}{where} is not among the peers of {self.title}")


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits NAME]: how much one listener takes on, and how long it waits."""

    name: str
    associations: int
    associations_per_address: int
    associations_per_calling_ae: int
    pending_connections: int
    associate_pdu_length: int
    tls_handshake_timeout: float
    artim_timeout: float
    idle_timeout: float
    pdu_timeout: float
    write_timeout: float
    response_timeout: float


@dataclass(frozen=True, slots=True)
class Listener:
    """[listener NAME]: a place where associations are accepted; over TLS, unless `plain` was asked for in words."""

    name: str
    port: int
    interface: str
    endpoint: str | None
    backlog: int
    tls: TLS | None
    plain: bool
    aes: tuple[AE, ...]
    identity: Identity | None
    limits: Limits

    @property
    def transport(self) -> str:
        """The Twisted server endpoint string of the transport below TLS."""
        if self.endpoint is not None:
            return self.endpoint
        kind, escaped = ("tcp6" if ":" in self.interface else "tcp"), self.interface.replace(":", r"\:")
        return f"{kind}:{self.port}:interface={escaped}:backlog={self.backlog}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect, as far as the configuration shows it."""
        if self.endpoint is not None:
            return self.endpoint.startswith("unix:")
        return ip_address(self.interface).is_loopback

    def __str__(self) -> str:
        if self.endpoint is not None:
            return self.endpoint
        return f"[{self.interface}]:{self.port}" if ":" in self.interface else f"{self.interface}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file. Sections that nothing refers to are in it as well."""

    path: Path
    node: Node
    listeners: tuple[Listener, ...]
    tls: tuple[TLS, ...]
    certificates: tuple[Certificate, ...]
    aes: tuple[AE, ...]
    identities: tuple[Identity, ...]
    rules: tuple[Rule, ...]
    back_ends: tuple[BackEnd, ...]
    peers: tuple[Peer, ...]
    credentials: tuple[Credential, ...]
    storages: tuple[Storage, ...]
    forwards: tuple[Forward, ...]
    worklists: tuple[Worklist, ...]
    procedure_steps: tuple[ProcedureSteps, ...]
    limits: tuple[Limits, ...]


DICOM_TLS_PORT = 2762
"""Registered as dicom-tls (PS3.15 B.12 note)."""


def collide(one: Listener, other: Listener) -> bool:
    """Whether the two cannot listen at the same time."""
    if one.endpoint is not None or other.endpoint is not None:
        return one.endpoint == other.endpoint
    same_interface = one.interface == other.interface
    every_interface = ip_address(one.interface).is_unspecified or ip_address(other.interface).is_unspecified
    return one.port == other.port != 0 and (same_interface or every_interface)
