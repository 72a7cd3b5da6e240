"""Who is called, as whom, and over which TLS: the options that all requesting commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from ...association import RequestedAssociation
    from ...identity.credentials import Credential
    from ...identity.kerberos.client import KerberosUser
    from ...identity.presenting import Presentation
    from ...tls.contexts import ClientConnectionCreator
    from ...ul.pdus import RoleSelection


def add_target(command: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    from ..probe.command import _ae_title, _seconds

    command.add_argument("peer", metavar="PEER", help="whom to call: HOST:PORT, and its certificate must name HOST; or "
                                                      "with --config the NAME of a [peer NAME]")
    command.add_argument("--config", metavar="FILE",
                         help="an INI file that says how to reach the peer, in place of --cert, --key and --ca")
    command.add_argument("--ae", type=_ae_title, metavar="TITLE", help="its title (default ANY-SCP, or of [peer])")
    command.add_argument("--calling-ae", type=_ae_title, metavar="TITLE",
                         help="ours (default DIMSETLS, or that of the first [ae])")
    command.add_argument("--cert", metavar="FILE", help="our certificate, in PEM")
    command.add_argument("--key", metavar="FILE", help="its private key, in PEM")
    command.add_argument("--ca", metavar="FILE",
                         help="authorities, in PEM; the peer's certificate must lead to one")
    command.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS",
                         help="the longest wait for a connection, its TLS handshake, or an answer (default 30)")
    identity = command.add_mutually_exclusive_group()
    identity.add_argument("--user", metavar="NAME", help="present this user name")
    identity.add_argument("--token-file", metavar="FILE", help="present the JSON Web Token in this file")
    identity.add_argument("--kerberos", metavar="SERVICE",
                          help="present a Kerberos ticket for this service, such as dicom/pacs.example.org")
    command.add_argument("--passcode-stdin", action="store_true",
                         help="with --user: a passcode too, the first line of standard input")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(refuse=command.error)


@dataclass(frozen=True, slots=True)
class Target:
    """A peer to be called."""

    host: str
    port: int
    called: str
    calling: str
    timeout: float
    connections: ClientConnectionCreator
    credential: Credential | None = None
    kerberos: KerberosUser | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.called} at {host}:{self.port}"

    async def open(
        self,
        contexts: Iterable[tuple[str, tuple[str, ...]]],
        role_selections: tuple[RoleSelection, ...] = (),
    ) -> RequestedAssociation:
        """An association with it, for ``async with``. Raises as `associate` does, and IdentityUnavailable."""
        from twisted.internet import reactor
        from twisted.internet.endpoints import HostnameEndpoint

        from ...association import Timeouts, associate
        from ...identity.presenting import Standing
        from ...tls.endpoints import DicomTLSClientEndpoint

        wait = self.timeout
        opened = await associate(
            DicomTLSClientEndpoint(HostnameEndpoint(reactor, self.host, self.port, wait), self.connections),
            calling_ae_title=self.calling, called_ae_title=self.called, contexts=contexts,
            role_selections=role_selections, identity=await self._presentation(),
            timeouts=Timeouts(tls_handshake=wait, connect=wait, answer=wait, response=wait),
        )  # fmt: skip
        if opened.standing not in (None, Standing.AUTHENTICATED):
            sys.stderr.write(f"{self} did not verify the user identity ({opened.standing.value})\n")
        return opened

    async def _presentation(self) -> Presentation | None:
        """What is presented, made anew for each association: a Kerberos ticket can be used once."""
        from twisted.internet.threads import deferToThread

        from ...identity.credentials import KerberosTicket
        from ...identity.presenting import Presentation

        if self.kerberos is not None:
            exchange = self.kerberos.exchange()
            ticket = KerberosTicket(await deferToThread(exchange.token))
            return Presentation(ticket, verify_response=exchange.verify_response)
        return None if self.credential is None else Presentation(self.credential)


def read_target(parsed: argparse.Namespace) -> Target:
    """The peer of the options; what cannot be used among them is wrong usage."""
    from ...identity.kerberos.client import KerberosUser

    if parsed.passcode_stdin and parsed.user is None:
        parsed.refuse("--passcode-stdin goes with --user NAME")
    try:
        target = _by_address(parsed) if parsed.config is None else _by_name(parsed)
        kerberos = None if parsed.kerberos is None else KerberosUser(parsed.kerberos)
        return replace(target, kerberos=kerberos, credential=_credential(parsed))
    except (ConfigurationError, argparse.ArgumentTypeError) as error:
        parsed.refuse("; ".join(error.problems if isinstance(error, ConfigurationError) else error.args))
        raise AssertionError from error  # argparse has ended the process


def _by_address(parsed: argparse.Namespace) -> Target:
    from ...tls.contexts import ClientConnectionCreator
    from ...tls.material import KeyMaterial, TrustRoots
    from ...tls.policy import BCP195_RFC9325
    from ..probe.command import _peer

    if (parsed.cert is None) is not (parsed.key is None):
        parsed.refuse("--cert and --key go together")
    if parsed.ca is None:
        parsed.refuse("--ca FILE is missing, or --config FILE with the NAME of a [peer NAME]")
    host, port = _peer(parsed.peer)
    key_material = None if parsed.cert is None else KeyMaterial.load(parsed.cert, parsed.key)
    roots = TrustRoots.load(parsed.ca)
    connections = ClientConnectionCreator(BCP195_RFC9325, roots, key_material, server_name=host)
    called, calling = parsed.ae or "ANY-SCP", parsed.calling_ae or "DIMSETLS"
    return Target(host, port, called, calling, parsed.timeout, connections)


def _by_name(parsed: argparse.Namespace) -> Target:
    from ..prepare import prepare

    if any(each is not None for each in (parsed.cert, parsed.key, parsed.ca)):
        parsed.refuse("--config came with --cert, --key or --ca, expected the one or the others")
    prepared = prepare(parsed.config)
    for peer in prepared.config.peers:
        if peer.name == parsed.peer and peer.host is not None:
            called, calling = parsed.ae or peer.ae_title, parsed.calling_ae or prepared.config.aes[0].title
            return Target(peer.host, peer.port, called, calling, parsed.timeout, prepared.peers[peer.name])
    known = ", ".join(peer.name for peer in prepared.config.peers if peer.host is not None) or "none"
    raise ConfigurationError(f"{parsed.config} has no [peer {parsed.peer}] with host; those it has: {known}")


def _credential(parsed: argparse.Namespace) -> Any:
    from ...identity.credentials import JSONWebToken, Secret, Username, UsernameAndPasscode

    if parsed.token_file is not None:
        try:
            return JSONWebToken(Secret(Path(parsed.token_file).read_bytes().strip()))
        except OSError as error:
            sentence = f"{parsed.token_file}: found no readable file ({error.strerror}), expected a JSON Web Token"
            raise ConfigurationError(sentence) from None
    if parsed.passcode_stdin:
        return UsernameAndPasscode(parsed.user, Secret(sys.stdin.buffer.readline().rstrip(b"\r\n")))
    return None if parsed.user is None else Username(parsed.user)
