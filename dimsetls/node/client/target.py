"""Who is called, as whom, and over which TLS: the options that all requesting commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigurationError
from ..arguments import DEFAULT_CONFIG, Parser, ae_title, default_config, host_and_port, seconds

if TYPE_CHECKING:
    from ...association import IdentitySource, Remote, RequestedAssociation
    from ...identity.credentials import Credential, Secret
    from ...identity.presenting import Presentation
    from ...ul.pdus import RoleSelection


def add_target(command: Parser) -> None:
    """Add the options to a command."""
    command.add_argument("peer", metavar="PEER", help="whom to call: HOST:PORT, and its certificate must name HOST; or "
                                                      "the NAME of a [peer NAME] in the configuration")
    command.add_argument("--config", metavar="FILE", help="the INI file that says how to reach a peer by its NAME, in "
                                                          f"place of --cert, --key and --ca ({DEFAULT_CONFIG})")
    command.add_argument("--ae", type=ae_title, metavar="TITLE", help="its title (default ANY-SCP, or of [peer])")
    command.add_argument("--calling-ae", type=ae_title, metavar="TITLE",
                         help="ours (default DIMSETLS, or that of the first [ae])")
    command.add_argument("--cert", metavar="FILE", help="our certificate, in PEM")
    command.add_argument("--key", metavar="FILE", help="its private key, in PEM")
    command.add_argument("--ca", metavar="FILE",
                         help="authorities, in PEM; the peer's certificate must lead to one")
    command.add_argument("--timeout", type=seconds, metavar="SECONDS",
                         help="the longest wait for a connection, its TLS handshake, or an answer (default 30, or as "
                              "[peer] says)")
    identity = command.add_mutually_exclusive_group()
    identity.add_argument("--user", metavar="NAME", help="present this user name")
    identity.add_argument("--token-file", metavar="FILE", help="present the JSON Web Token in this file")
    identity.add_argument("--kerberos", metavar="SERVICE",
                          help="present a Kerberos ticket for this service, such as dicom/pacs.example.org")
    identity.add_argument("--saml-file", metavar="FILE", help="present the SAML assertion in this file")
    command.add_argument("--bearer-file", metavar="FILE",
                         help="present the access token in this file, alone or besides another identity")
    command.add_argument("--passcode-stdin", action="store_true",
                         help="with --user: a passcode too, the first line of standard input")
    command.add_argument("--require-identity", action="store_true",
                         help="abort unless the peer says that it verified what is presented")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(refuse=command.refuse)


@dataclass(frozen=True, slots=True)
class Target:
    """A peer to be called."""

    remote: Remote

    def __str__(self) -> str:
        return str(self.remote)

    async def open(
        self,
        contexts: Iterable[tuple[str, tuple[str, ...]]],
        role_selections: tuple[RoleSelection, ...] = (),
    ) -> RequestedAssociation:
        """An association with it, for ``async with``. Raises as `Remote.open` does."""
        return await self.remote.open(contexts, role_selections=role_selections)


def read_target(parsed: argparse.Namespace) -> Target:
    """The peer of the options; what cannot be used among them is wrong usage."""
    if parsed.passcode_stdin and parsed.user is None:
        parsed.refuse("--passcode-stdin goes with --user NAME")
    if parsed.require_identity and not _presents(parsed):
        parsed.refuse("--require-identity goes with an identity, such as --user NAME; a [credential] has answer = "
                      "require")
    if parsed.kerberos is not None and parsed.bearer_file is not None:
        parsed.refuse("--bearer-file came with --kerberos, expected one of them")
    try:
        remote = _by_address(parsed) if parsed.config is None and ":" in parsed.peer else _by_name(parsed)
        identity = _identity(parsed)
    except (ConfigurationError, argparse.ArgumentTypeError) as error:
        parsed.refuse("; ".join(error.problems if isinstance(error, ConfigurationError) else error.args))
        raise AssertionError from error  # argparse has ended the process

    def opened(association: RequestedAssociation) -> None:
        if (standing := association.standing) is not None and standing.value != "authenticated":
            sys.stderr.write(f"{remote} did not verify the user identity ({standing.value})\n")

    return Target(replace(remote, identity=identity or remote.identity, opened=opened))


def _by_address(parsed: argparse.Namespace) -> Remote:
    from twisted.internet import reactor
    from twisted.internet.endpoints import HostnameEndpoint

    from ...association.protocol import Timeouts
    from ...association.remote import Remote
    from ...tls.contexts import ClientConnectionCreator
    from ...tls.endpoints import DicomTLSClientEndpoint
    from ...tls.material import KeyMaterial, TrustRoots
    from ...tls.policy import BCP195_RFC9325

    if (parsed.cert is None) is not (parsed.key is None):
        parsed.refuse("--cert and --key go together")
    if parsed.ca is None:
        parsed.refuse("--ca FILE is missing, or --config FILE with the NAME of a [peer NAME]")
    host, port = host_and_port(parsed.peer)
    key_material = None if parsed.cert is None else KeyMaterial.load(parsed.cert, parsed.key)
    connections = ClientConnectionCreator(
        BCP195_RFC9325, TrustRoots.load(parsed.ca), key_material, server_name=host
    )
    wait = parsed.timeout or 30.0
    return Remote(
        DicomTLSClientEndpoint(HostnameEndpoint(reactor, host, port, wait), connections),
        parsed.ae or "ANY-SCP",
        parsed.calling_ae or "DIMSETLS",
        timeouts=Timeouts(tls_handshake=wait, connect=wait, answer=wait, response=wait),
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    )


def _by_name(parsed: argparse.Namespace) -> Remote:
    from twisted.internet import reactor
    from twisted.internet.interfaces import IReactorTime

    from ..destinations import remote_of
    from ..prepare import prepare

    if any(each is not None for each in (parsed.cert, parsed.key, parsed.ca)):
        parsed.refuse("a peer by its NAME came with --cert, --key or --ca, expected it by HOST:PORT, or without them")
    try:
        file = parsed.config or default_config()
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; without one a peer is called by HOST:PORT") from None
    prepared = prepare(file, to_serve=False)
    for peer in prepared.config.peers:
        if peer.name == parsed.peer and peer.host is not None:
            if (wait := parsed.timeout) is not None:
                peer = replace(peer, connect_timeout=wait, answer_timeout=wait, response_timeout=wait)
            if _presents(parsed):
                peer = replace(peer, presents=None)
            ours = next((ae.title for ae in prepared.config.aes), "DIMSETLS")
            remote = remote_of(prepared, peer, parsed.calling_ae or ours, IReactorTime(reactor))
            assert remote is not None
            return replace(remote, called_ae_title=parsed.ae or peer.ae_title)
    known = ", ".join(peer.name for peer in prepared.config.peers if peer.host is not None) or "none"
    raise ConfigurationError(f"{file} has no [peer {parsed.peer}] with host; those it has: {known}; others "
                             "are called by HOST:PORT")


def _presents(parsed: argparse.Namespace) -> bool:
    words = parsed.user, parsed.token_file, parsed.saml_file, parsed.kerberos, parsed.bearer_file
    return any(each is not None for each in words)


def _identity(parsed: argparse.Namespace) -> Presentation | IdentitySource | None:
    """What the options say is to be presented; a Kerberos ticket is another one for each association."""
    from ...identity.credentials import AccessToken, Requirement
    from ...identity.presenting import Presentation

    requirement = Requirement.REQUIRE if parsed.require_identity else Requirement.PREFER
    if parsed.kerberos is not None:
        from ...identity.kerberos.client import KerberosUser
        from ..presenting import Presents, Tickets

        return Presents(Tickets(KerberosUser(parsed.kerberos), requirement))
    credential = _credential(parsed)
    token = None if parsed.bearer_file is None else AccessToken(_secret(parsed.bearer_file, "an access token"))
    if credential is None and token is None:
        return None
    try:
        return Presentation(credential, token, requirement=requirement)
    except ValueError as error:  # the token has other characters than a token
        raise ConfigurationError(f"{parsed.bearer_file}: {error}") from None


def _credential(parsed: argparse.Namespace) -> Credential | None:
    from ...identity.credentials import JSONWebToken, SAMLAssertion, Secret, Username, UsernameAndPasscode

    if parsed.token_file is not None:
        return JSONWebToken(_secret(parsed.token_file, "a JSON Web Token"))
    if parsed.saml_file is not None:
        return SAMLAssertion(_secret(parsed.saml_file, "a SAML assertion"))
    if parsed.passcode_stdin:
        return UsernameAndPasscode(parsed.user, Secret(sys.stdin.buffer.readline().rstrip(b"\r\n")))
    return None if parsed.user is None else Username(parsed.user)


def _secret(path: str, what: str) -> Secret:
    from ...identity.credentials import Secret

    try:
        return Secret(Path(path).read_bytes().strip())
    except OSError as error:
        raise ConfigurationError(f"{path}: found no readable file ({error.strerror}), expected {what}") from None
