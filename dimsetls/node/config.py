"""What the INI file says, as objects that refer to each other; or every reason why it cannot be used, in one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from ..association.admission import Caller, Refusal
from ..errors import ConfigurationError
from ..services.filesystem import Duplicates, Durability
from ..services.layout import Layout
from ..tls.policy import ClientCertificate, TLSPolicy, TLSVersion, nearest
from ..tls.revocation import CRLCheck
from ..tls.rules import CertificateRule
from ..tls.session import PeerCertificate
from .ini import Section, parse
from .options import SECTIONS, Option, SectionKind
from .values import PASSPHRASE, Misfit, Reference, split


@dataclass(frozen=True, slots=True)
class Node:
    """[node]: the process as a whole. Times here and below are seconds, sizes bytes."""

    log_format: Literal["text", "json"]
    log_level: str
    drain_timeout: float


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


@dataclass(frozen=True, slots=True)
class Peer:
    """[peer NAME]: a remote application entity. `addresses` is None where it may call from anywhere."""

    name: str
    ae_title: str
    addresses: tuple[IPv4Network | IPv6Network, ...] | None
    certificates: tuple[CertificateRule, ...] | None

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
class AE:
    """[ae TITLE]: an application entity of ours. `peers` is None where anyone may call."""

    title: str
    services: tuple[Literal["verification", "storage"], ...]
    storage: Storage | None
    peers: tuple[Peer, ...] | None
    transfer_syntaxes: tuple[str, ...]
    unknown_sop_classes: bool
    maximum_length: int
    maximum_operations_invoked: int

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
    peers: tuple[Peer, ...]
    storages: tuple[Storage, ...]
    limits: tuple[Limits, ...]


_CLASSES: dict[str, type] = {
    "node": Node, "listener": Listener, "tls": TLS, "certificate": Certificate, "ae": AE, "peer": Peer,
    "storage": Storage, "limits": Limits,
}


def load(path: str | Path) -> Config:
    """Read the file at `path`; nothing that it points at is opened.

    Raises ConfigurationError with every problem of the file, one sentence each, in the order of its lines.
    """
    reading = Reading(Path(path))
    config = reading.config()
    reading.raise_problems()
    return config


class Reading:
    """One run over one file: the objects made so far, where they came from, and all problems found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problems: list[tuple[int, str]] = []
        self._lines: dict[tuple[str, str, str], int] = {}
        # kind → name → object, or None where the section is there but cannot be used
        self._made: dict[str, dict[str, Any]] = {kind: {} for kind in SECTIONS}

    def problem(self, kind: str, name: str, option: str, sentence: str) -> None:
        """Add a problem with what [kind name] says, at the line that says it."""
        line = self._lines.get((kind, name, option)) or self._lines.get((kind, name, ""), 0)
        self._add(line, f"{Section(kind, name, line)} {option}: {sentence}")

    def raise_problems(self) -> None:
        """Raise ConfigurationError if there are any."""
        if self._problems:
            raise ConfigurationError(*(sentence for _, sentence in sorted(self._problems, key=itemgetter(0))))

    def config(self) -> Config:
        """Everything that could be made of the file; complete and coherent if there are no problems."""
        sections = [section for section in self._sections() if self._is_known(section)]
        for kind in reversed(SECTIONS.values()):  # what is referred to comes first
            for section in sections:
                if section.kind == kind.kind:
                    self._make(kind, section)
        node = self._made["node"].get("") or _defaults("node")
        made = {kind: tuple(filter(None, objects.values())) for kind, objects in self._made.items()}
        self._judge_listeners(made["listener"])
        kinds = ("listener", "tls", "certificate", "ae", "peer", "storage", "limits")
        return Config(self.path, node, *(made[kind] for kind in kinds))

    def _add(self, line: int, sentence: str) -> None:
        sentence = f"{self.path}:{line}: {sentence}" if line else f"{self.path}: {sentence}"
        # What the file or a certificate says must neither break the line nor drive the terminal.
        self._problems.append((line, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence)))

    def _sections(self) -> list[Section]:
        text = ""
        try:
            content = self.path.read_bytes()
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._add(line, "found bytes that are not UTF-8, expected a text file in UTF-8")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or str(error)
            self._add(0, f"found no readable file ({reason}), expected a configuration; dimsetls init DIR writes one")
        self.raise_problems()  # nothing was read, so nothing more can be wrong
        sections, mistakes = parse(text)
        for mistake in mistakes:
            self._add(*mistake)
        return sections

    def _is_known(self, section: Section) -> bool:
        """Whether kind and name of the section are good; registers where it stands."""
        kind = SECTIONS.get(section.kind)
        if kind is None:
            misfit = Misfit(section.kind, f"a kind of section: {', '.join(SECTIONS)}", nearest(section.kind, SECTIONS))
            self._add(section.line, f"[{section.kind[:40]}]: {misfit}")
            return False
        if kind.named is None and section.name:
            self._add(section.line, f"[{section.kind}]: {Misfit(section.name, f'[{section.kind}] without a name')}")
            return False
        if kind.named is not None:
            try:
                kind.named.parse(section.name)
            except ValueError as error:
                self._add(section.line, f"[{section.kind} NAME]: {error}")
                return False
        first = self._lines.setdefault((section.kind, section.name, ""), section.line)
        if first != section.line:
            self._add(section.line, f"{section}: found a second time, expected once (first in line {first})")
        else:
            for option, entry in section.entries.items():
                self._lines[section.kind, section.name, option] = entry.line
        self._made[section.kind].setdefault(section.name, None)
        return True

    def _make(self, kind: SectionKind, section: Section) -> None:
        known = [option.name for option in kind.options]
        for name, entry in section.entries.items():
            if name not in known:
                misfit = Misfit(name, f"an option of [{kind.kind}]: {', '.join(known)}", nearest(name, known))
                self._add(entry.line, f"{section} {name[:40]}: {misfit}")
        found = {option.name.replace("-", "_"): self._value(section, option) for option in kind.options}
        if kind.kind == "listener" and "tls" not in section.entries and not found["plain"]:
            self._add(section.line, f"{section} tls: found nothing, expected the name of a [tls] section, "
                      "such as tls = secure")
        if any(value is _UNUSABLE for value in found.values()):
            return
        if kind.kind == "listener" and found["limits"] is None:
            found["limits"] = _defaults("limits")
        made = _CLASSES[kind.kind](**found) if kind.named is None else _CLASSES[kind.kind](section.name, **found)
        for option_name, sentence in _contradictions(made, section):
            line = section.entries[option_name].line if option_name in section.entries else section.line
            self._add(line, f"{section} {option_name}: {sentence}")
        if self._made[kind.kind].get(section.name) is None:
            self._made[kind.kind][section.name] = made

    def _value(self, section: Section, option: Option) -> Any:
        """The value of an option; its default if what is given is wrong; _UNUSABLE if there is none."""
        entry = section.entries.get(option.name)
        if entry is None:
            if option.default is None:
                self._add(section.line, f"{section} {option.name}: found nothing, expected {option.type.expected}, "
                          f"such as {option.name} = {option.example}")
                return _UNUSABLE
            return _default(option)
        try:
            if not entry.text:
                raise Misfit("", option.type.expected)
            if isinstance(option.type, Reference):
                return self._referred(option.type, entry.text)
            value = option.type.parse(entry.text)
            return self._beside(option, value)
        except ValueError as error:
            problems: tuple[str, ...] = (str(error),)
        except ConfigurationError as error:
            problems = error.problems
        for problem in problems:
            self._add(entry.line, f"{section} {option.name}: {problem}")
        return _UNUSABLE if option.default is None else _default(option)

    def _beside(self, option: Option, value: Any) -> Any:
        """The value, its paths beginning at the directory of the file."""
        here = self.path.absolute().parent
        if isinstance(value, Path):
            return here / value
        if isinstance(value, tuple):
            return tuple(self._beside(option, item) for item in value)
        if option.type is PASSPHRASE and not value.startswith("credential:"):
            return str(here / value)
        return value

    def _referred(self, reference: Reference, text: str) -> Any:
        if text == reference.any_word:
            return None
        there = self._made[reference.kind]
        names = split(text) if reference.many else [text]
        for name in names:
            if name not in there:
                raise Misfit(name, reference.expected, nearest(name, there))
        objects = tuple(there[name] for name in names)
        if not all(objects):  # the section is there, and its own problems are already reported
            return _UNUSABLE
        return objects if reference.many else objects[0]

    def _judge_listeners(self, listeners: tuple[Listener, ...]) -> None:
        if not self._made["listener"]:
            self._add(0, "found no [listener NAME] section, expected at least one")
        for number, listener in enumerate(listeners):
            for other in listeners[:number]:
                if collide(listener, other):
                    option = "port" if listener.endpoint is None else "endpoint"
                    self.problem("listener", listener.name, option, f"found {listener}, expected a place of its own, "
                                 f"as [listener {other.name}] takes {other}")


DICOM_TLS_PORT = 2762
"""Registered as dicom-tls (PS3.15 B.12 note)."""

_UNUSABLE = object()
"""In place of a value that is missing or wrong and has no default."""


def _default(option: Option) -> Any:
    if not option.default:
        return None
    return None if isinstance(option.type, Reference) else option.type.parse(option.default)


def _defaults(kind: str) -> Any:
    """The object of a section that sets nothing."""
    found = {option.name.replace("-", "_"): _default(option) for option in SECTIONS[kind].options}
    return _CLASSES[kind](**found) if SECTIONS[kind].named is None else _CLASSES[kind]("default", **found)


def _contradictions(made: Any, section: Section) -> Iterator[tuple[str, str]]:
    """Options of one section that do not go together: the option to change, and what is wrong with it."""
    given = section.entries
    match made:
        case Listener(endpoint=endpoint, plain=plain, port=port):
            for option in ("port", "interface", "backlog") if endpoint is not None else ():
                if option in given:
                    yield option, f"found besides endpoint (line {given['endpoint'].line}), expected one or the other"
            if plain and "tls" in given:
                yield "plain", f"found besides tls (line {given['tls'].line}), expected one or the other"
            if plain and endpoint is None and port == DICOM_TLS_PORT:
                yield "port", f"found {port} for a plain listener, expected another: {port} is registered for TLS"
        case TLS():
            yield from _two_sources_of_status(made, section)
            if made.profile.is_legacy and not made.legacy_profile:
                yield "profile", (f"found {made.profile.name}, which admits what RFC 9325 advises against, expected "
                                  "another, or legacy-profile = i understand the risk besides it")
            asked = made.client_certificate
            if asked is not ClientCertificate.NONE and made.trust_roots is None and "trust-roots" not in given:
                yield "trust-roots", f"found nothing, expected a PEM file, as client-certificate is {asked.value}"
        case Certificate():
            yield from _two_sources_of_status(made, section)
        case AE(storage=None, services=services) if "storage" in services and "storage" not in given:
            yield "storage", "found nothing, expected the name of a [storage] section, as the services include storage"


def _two_sources_of_status(made: TLS | Certificate, section: Section) -> Iterator[tuple[str, str]]:
    if made.ocsp_response is not None and made.ocsp_responder is not None:
        line = section.entries["ocsp-response"].line
        yield "ocsp-responder", f"found besides ocsp-response (line {line}), expected one or the other"


def collide(one: Listener, other: Listener) -> bool:
    """Whether the two cannot listen at the same time."""
    if one.endpoint is not None or other.endpoint is not None:
        return one.endpoint == other.endpoint
    same_interface = one.interface == other.interface
    every_interface = ip_address(one.interface).is_unspecified or ip_address(other.interface).is_unspecified
    return one.port == other.port != 0 and (same_interface or every_interface)
