"""Everything a configuration points at, loaded and judged: one path for `dimsetls check` and for the service."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from twisted.internet.endpoints import serverFromString

from ..errors import ConfigurationError
from ..tls.authority import is_development_certificate
from ..tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from ..tls.material import KeyMaterial, TrustRoots
from ..tls.passphrase import Passphrase
from ..tls.policy import ClientCertificate, TLSPolicy
from ..tls.revocation import UNCHECKED, Revocation
from ..tls.selfcheck import verify
from .config import TLS, Certificate, Config, Listener, Peer, ProcedureSteps, Storage, Worklist
from .identity import build
from .identity.build import IdentityParts
from .identity.sections import BackEnd
from .options import SECTIONS
from .presenting import Presenter, presenter
from .reading import Reading

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..tls.stapling import Stapling

PASSED_ON = ("tcp:", "tcp6:", "unix:", "systemd:")
"""How endpoint strings begin whose connections one process can accept for another."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be served, with what its [tls] sections became, by name.

    `connections` are there for those that listeners use, or nobody. `peers` make the connections to those that can be
    reached, by their names. `staplings` keep OCSP responses fresh once they are started. `warnings` are about what
    works now and soon will not.
    """

    config: Config
    key_material: Mapping[str, KeyMaterial]
    connections: Mapping[str, ServerConnectionCreator]
    peers: Mapping[str, ClientConnectionCreator]
    presenters: Mapping[str, Presenter]
    """What is presented to peers, by the names of the [credential] sections; empty where it is only to call."""
    staplings: tuple[Stapling, ...]
    identity: IdentityParts
    warnings: tuple[str, ...]

    def keep_stapled(self, clock: IReactorTime) -> None:
        """Fetch what is stapled, now and whenever that is due."""
        if self.staplings:
            from twisted.web.client import Agent  # HTTP: who staples nothing does not load it

            for stapling in self.staplings:
                stapling.start(clock, Agent(clock))

    def close(self) -> None:
        """Let go of what was made and is not used, or no more."""
        for stapling in self.staplings:
            stapling.stop()
        self.identity.close()
        for each in self.presenters.values():
            each.close()


def prepare(path: str | Path, *, to_serve: bool = True) -> Prepared:
    """Load the file at `path`, its keys and certificates, and build every TLS context; nothing is changed by it.

    Where it is only to call peers, not `to_serve`, no listener need be in it, and stores, listeners and back ends for
    identities are not looked at: whoever calls may be another user than the service.

    Raises ConfigurationError with every problem of the file and of what it points at.
    """
    reading = Reading(Path(path), to_serve=to_serve)
    config = reading.config()
    parts = {tls.name: part for tls in config.tls if (part := _prepare_tls(reading, config, tls, to_serve))}
    peers = {peer.name: made for peer in config.peers if (made := _prepare_peer(reading, config, peer, parts))}
    directories: list[Storage | Worklist | ProcedureSteps] = [*config.storages, *config.worklists]
    directories += config.procedure_steps
    for section in directories if to_serve else ():
        _judge_directory(reading, section)
    for listener in config.listeners if to_serve else ():
        _judge_transport(reading, listener, config.node.workers)
    presenters = _prepare_presenters(reading, config) if to_serve else {}
    identity = _prepare_identity(reading, config) if to_serve else build.parts((), _nothing_to_report)
    reading.raise_problems()
    return Prepared(
        config,
        {name: part.material for name, part in parts.items()},
        {name: part.connections for name, part in parts.items() if part.connections is not None},
        peers,
        presenters,
        tuple(stapling for part in parts.values() for stapling in part.staplings),
        identity,
        tuple(dict.fromkeys((  # several sections may have the same certificate
            *(warning for part in parts.values() for warning in part.warnings),
            *identity.warnings(datetime.now(UTC)), *build.impatience(config.identities if to_serve else ()),
        ))),
    )


@dataclass(frozen=True, slots=True)
class _PreparedTLS:
    roots: TrustRoots
    revocation: Revocation
    material: KeyMaterial
    connections: ServerConnectionCreator | None
    staplings: tuple[Stapling, ...]
    warnings: tuple[str, ...]


def _prepare_tls(reading: Reading, config: Config, tls: TLS, to_serve: bool) -> _PreparedTLS | None:
    roots = _trust_roots(reading, tls)
    sections: tuple[TLS | Certificate, ...] = (tls, *(tls.named_certificates or ()))
    materials = [_key_material(reading, section) for section in sections]
    revocation = _revocation(reading, tls, roots)
    policy = _policy(reading, tls)
    loaded = [material for material in materials if material is not None]
    if roots is None or revocation is None or policy is None or len(loaded) < len(materials):
        return None
    _judge_development_certificates(reading, config, tls, loaded, roots)
    staplings: dict[x509.Certificate, Stapling] = {}
    for section, material in zip(sections, loaded, strict=True):
        if stapling := _stapling(reading, section, material, roots):
            staplings[material.certificate] = stapling
    is_for_peers_alone = tls in [peer.tls for peer in config.peers] and tls not in [
        listener.tls for listener in config.listeners
    ]
    connections = None  # with a certificate that is only good for a client there can be none
    if to_serve and not is_for_peers_alone:
        try:
            connections = ServerConnectionCreator(
                policy,
                loaded[0],
                roots,
                revocation=revocation,
                stapled={certificate: stapling.current for certificate, stapling in staplings.items()},
                named=loaded[1:],
                strict_names=tls.strict_server_names,
                require_alpn=tls.require_alpn,
                resumption=tls.resumption,
            )
            verify(connections)
        except ConfigurationError as error:
            _report(reading, "tls", tls.name, "profile", error)
            return None
    now = datetime.now(UTC)
    warnings = [warning for material in loaded for warning in material.warnings(now)]
    warnings += [*roots.warnings(now), *revocation.warnings(now, roots.certificates)]
    return _PreparedTLS(roots, revocation, loaded[0], connections, tuple(staplings.values()), tuple(warnings))


def _policy(reading: Reading, tls: TLS) -> TLSPolicy | None:
    try:
        return tls.policy
    except ConfigurationError as error:
        _report_by_option(reading, "tls", tls.name, error)
    return None


def _prepare_peer(
    reading: Reading, config: Config, peer: Peer, parts: Mapping[str, _PreparedTLS]
) -> ClientConnectionCreator | None:
    if peer.host is None or peer.tls is None or peer.tls.name not in parts:
        return None
    for other in config.peers[:config.peers.index(peer)]:
        if other.host is not None and other.ae_title == peer.ae_title:
            reading.problem("peer", peer.name, "host", f"found a second place where {peer.ae_title} is reached, "
                            f"expected one: [peer {other.name}] has a host too")
    part = parts[peer.tls.name]
    try:
        made = ClientConnectionCreator(
            peer.tls.policy, part.roots, part.material, server_name=peer.host, revocation=part.revocation,
            rules=peer.certificates or (), resumption=peer.tls.resumption,
        )  # fmt: skip
        verify(made)
    except ConfigurationError as error:
        _report(reading, "peer", peer.name, "tls", error)
        return None
    return made


def _prepare_presenters(reading: Reading, config: Config) -> Mapping[str, Presenter]:
    """What each [credential] presents: it has to be there now, so that its want does not show in the night."""
    made = {}
    for credential in config.credentials:
        if not credential.is_complete:
            continue  # which is already said
        try:
            made[credential.name] = presenter(credential)
        except ConfigurationError as error:
            _report_by_option(reading, "credential", credential.name, error)
    return made


def _prepare_identity(reading: Reading, config: Config) -> IdentityParts:
    def report(back_end: BackEnd, error: ConfigurationError) -> None:
        _report_by_option(reading, back_end.kind, back_end.name, error)

    made = build.parts(config.back_ends, report)
    for identity in config.identities:
        for method, back_ends in identity.back_ends.items():
            for back_end in back_ends:
                found = made.authenticators.get(str(back_end))
                if found is not None and method not in found.methods:
                    reading.problem("identity", identity.name, method.value, f"found [{back_end}], which as it is "
                                    f"configured cannot check this, expected another, or see [{back_end}]")
    return made


def _nothing_to_report(back_end: BackEnd, error: ConfigurationError) -> None:
    raise AssertionError from error


def _report_by_option(reading: Reading, kind: str, name: str, error: ConfigurationError) -> None:
    """Problems that begin with the option that they are with, if it is with one."""
    known = {option.name for option in SECTIONS[kind].options}
    for problem in error.problems:
        option, _, sentence = problem.partition(": ")
        if (option := option.replace("_", "-")) in known:
            reading.problem(kind, name, option, sentence)
        else:
            reading.problem(kind, name, "", problem)


def _report(reading: Reading, kind: str, name: str, option: str, error: ConfigurationError) -> None:
    for problem in error.problems:
        reading.problem(kind, name, option, problem)


def _key_material(reading: Reading, section: TLS | Certificate) -> KeyMaterial | None:
    try:
        passphrase = section.private_key_passphrase
        source = Passphrase.parse(passphrase) if passphrase is not None else None
        return KeyMaterial.load(section.certificate, section.private_key, source)
    except ConfigurationError as error:
        for problem in error.problems:
            option = "certificate"
            if problem.startswith("key file"):
                option = "private-key"
            elif problem.startswith("passphrase"):
                option = "private-key-passphrase"
            reading.problem(section.kind, section.name, option, problem)
    return None


def _stapling(
    reading: Reading, section: TLS | Certificate, material: KeyMaterial, roots: TrustRoots
) -> Stapling | None:
    if section.ocsp_response is None and section.ocsp_responder is None:
        return None
    from ..tls.stapling import Stapling  # HTTP: see `keep_stapled`

    try:
        if section.ocsp_response is not None:
            return Stapling.from_file(section.ocsp_response, material, roots)
        url = section.ocsp_responder if section.ocsp_responder != "certificate" else None
        return Stapling.from_responder(material, roots, url)
    except ConfigurationError as error:
        option = "ocsp-response" if section.ocsp_response is not None else "ocsp-responder"
        _report(reading, section.kind, section.name, option, error)
    return None


def _revocation(reading: Reading, tls: TLS, roots: TrustRoots | None) -> Revocation | None:
    if tls.client_certificate is ClientCertificate.NONE:
        return UNCHECKED
    try:
        return Revocation.load(tls.revocation_check, tls.revocation_lists or (), roots.certificates if roots else ())
    except ConfigurationError as error:
        if roots is not None:  # without roots every list is a stranger's, which would be said in vain
            option = "revocation-lists" if tls.revocation_lists else "revocation-check"
            _report(reading, "tls", tls.name, option, error)
    return None


def _trust_roots(reading: Reading, tls: TLS) -> TrustRoots | None:
    if tls.trust_roots is None:
        return TrustRoots(())
    try:
        return TrustRoots.load(tls.trust_roots)
    except ConfigurationError as error:
        _report(reading, "tls", tls.name, "trust-roots", error)
    return None


def _judge_development_certificates(
    reading: Reading, config: Config, tls: TLS, materials: Sequence[KeyMaterial], roots: TrustRoots
) -> None:
    if tls.development_certificates_outside_loopback:
        return
    # A development authority among the roots is as bad as our own certificate: it lets anyone be any peer.
    suspects = [("certificate", tls.certificate, material.chain) for material in materials]
    suspects += [("trust-roots", tls.trust_roots or tls.certificate, roots.certificates)]
    outside = [f"{listener} ([listener {listener.name}])" for listener in config.listeners
               if listener.tls is tls and not listener.is_loopback]
    outside += [f"{peer.host} ([peer {peer.name}])" for peer in config.peers
                if peer.tls is tls and not peer.is_loopback]
    for place in outside:
        for option, path, certificates in suspects:
            if any(map(is_development_certificate, certificates)):
                reading.problem(
                    "tls", tls.name, option, f"found a development certificate in {path} for {place}, expected one of "
                    "your own authority, a loopback interface, or development-certificates-outside-loopback = "
                    "i understand the risk",
                )


def _judge_directory(reading: Reading, section: Storage | Worklist | ProcedureSteps) -> None:
    directory, is_read = section.directory, isinstance(section, Worklist)
    kind = "worklist" if is_read else "storage" if isinstance(section, Storage) else "procedure-steps"
    if not os.path.exists(directory):
        sentence = f"found no {directory}, expected a directory that exists: mkdir -p {directory}"
    elif not os.path.isdir(directory):
        sentence = f"found the file {directory}, expected a directory"
    elif not os.access(directory, os.R_OK | os.X_OK | (0 if is_read else os.W_OK)):
        what, how = ("read", "readable") if is_read else ("write", "writable")
        sentence = f"found {directory}, where user id {os.geteuid()} may not {what}, expected a {how} directory"
    else:
        return
    reading.problem(kind, section.name, "directory", sentence)


def _judge_transport(reading: Reading, listener: Listener, workers: int) -> None:
    from twisted.internet import reactor  # as late as possible: importing it chooses one for the process

    if listener.endpoint is None:
        return
    if workers > 1 and not listener.endpoint.removeprefix("haproxy:").startswith(PASSED_ON):
        reading.problem("listener", listener.name, "endpoint", f"found {listener.endpoint!r}, expected one that begins "
                        f"with {', '.join(PASSED_ON)} or haproxy:, as there are {workers} workers in [node]")
    if "systemd:" in listener.endpoint and "LISTEN_FDS" not in os.environ:
        return  # a socket that only systemd can hand over, and only to the service
    try:
        serverFromString(reactor, listener.endpoint)
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:  # as plugins' parsers stumble
        reading.problem("listener", listener.name, "endpoint",
                        f"found {listener.endpoint!r}, expected a Twisted server endpoint string ({error})")


def summary(prepared: Prepared) -> Iterator[str]:
    """What a configuration amounts to, a line a section."""
    config = prepared.config
    yield f"{config.path}: no problems found"
    for listener in config.listeners:
        titles = ", ".join(ae.title for ae in listener.aes)
        limits = listener.limits.name
        protection = f"TLS {listener.tls.name}" if listener.tls else "plain DICOM without TLS"
        yield f"listener {listener.name}: {listener}, {protection}, AE {titles}, limits {limits}"
    for tls in config.tls:
        certificate = prepared.key_material[tls.name].certificate
        yield (f"tls {tls.name}: {tls.profile.name}, client certificate {tls.client_certificate.value}, "
               f"certificate {certificate.subject.rfc4514_string()} until {certificate.not_valid_after_utc:%Y-%m-%d}")
        for remark in prepared.connections[tls.name].not_enforced if tls.name in prepared.connections else ():
            yield f"tls {tls.name}: {remark}"
    for ae in config.aes:
        store = f" in {ae.storage.name}" if ae.storage is not None else ""
        callers = "anyone" if ae.peers is None else ", ".join(peer.name for peer in ae.peers)
        yield f"ae {ae.title}: {', '.join(ae.services)}{store}, called by {callers}"
        if ae.rules is not None:
            yield f"ae {ae.title}: what may be done is said by {', '.join(f'[rule {rule.name}]' for rule in ae.rules)}"
    for identity in config.identities:
        checks = "; ".join(
            f"{method.value} by {', '.join(map(str, back_ends))}" for method, back_ends in identity.back_ends.items()
        )
        yield f"identity {identity.name}: {identity.policy.value}{', ' if checks else ''}{checks}"
    for storage in config.storages:
        yield (f"storage {storage.name}: {storage.directory / storage.layout.template}"
               f"{', indexed' if storage.index else ''}")
    for forward in config.forwards:
        sources = [storage.name for storage in config.storages if forward in (storage.forward or ())]
        yield (f"forward {forward.name}: from {', '.join(sources) or 'no storage'} to "
               f"{', '.join(peer.name for peer in forward.peers)}")
    for worklist in config.worklists:
        yield f"worklist {worklist.name}: {worklist.directory}/*.wl"
    for steps in config.procedure_steps:
        yield f"procedure-steps {steps.name}: {steps.directory}/*.json"
    for peer in config.peers:
        if peer.host is not None and peer.tls is not None:
            yield f"peer {peer.name}: {peer.ae_title} is reached at {peer.host}:{peer.port}, TLS {peer.tls.name}"
    if unused := list(_unused(config)):
        yield f"not used by any listener: {', '.join(unused)}"
    yield from (f"warning: {warning}" for warning in prepared.warnings)


def _unused(config: Config) -> Iterator[str]:
    listeners, aes = config.listeners, [ae for listener in config.listeners for ae in listener.aes]
    yield from (f"[tls {tls.name}]" for tls in config.tls
                if tls not in [*(each.tls for each in listeners), *(each.tls for each in config.peers)])
    yield from (f"[ae {ae.title}]" for ae in config.aes if ae not in aes)
    yield from (f"[peer {peer.name}]" for peer in config.peers
                if peer.certificates is None and peer.host is None and all(peer not in (ae.peers or ()) for ae in aes)
                and not (peer.bearer_identity_type and any(ae.peers is None for ae in aes)))
    chosen = [*(listener.identity for listener in listeners), *(ae.identity for ae in aes)]
    used = {identity.name for identity in chosen if identity is not None}
    yield from (f"[identity {each.name}]" for each in config.identities if each.name not in used)
    rules = {rule.name for ae in aes for rule in ae.rules or ()}
    yield from (f"[rule {each.name}]" for each in config.rules if each.name not in rules)
    asked = {str(each) for identity in config.identities for back_ends in identity.back_ends.values()
             for each in back_ends}
    yield from (f"[{each}]" for each in config.back_ends if str(each) not in asked)
    yield from (f"[storage {each.name}]" for each in config.storages if all(each != ae.storage for ae in aes))
    yield from (f"[forward {each.name}]" for each in config.forwards
                if all(each not in (storage.forward or ()) for storage in config.storages))
    yield from (f"[worklist {each.name}]" for each in config.worklists if all(each != ae.worklist for ae in aes))
    yield from (f"[procedure-steps {each.name}]" for each in config.procedure_steps
                if all(each != ae.procedure_steps for ae in aes))
    yield from (f"[limits {each.name}]" for each in config.limits if all(each != place.limits for place in listeners))
