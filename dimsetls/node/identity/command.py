"""The command `dimsetls identity test`: its words, the credential that it reads, and its exit status."""

from __future__ import annotations

import argparse
import json
import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError


def add_identity(commands: Any) -> None:
    """Add the command to argparse's sub-commands."""
    identity = commands.add_parser(
        "identity", help="try a user's credential against the back ends of a configuration",
        description="What the node makes of user identities.",
        epilog="Example: dimsetls identity test --config var/dimsetls.ini --type passcode --user alice",
    ).add_subparsers(dest="identity_command", required=True, metavar="COMMAND")
    test = identity.add_parser(
        "test", help="check one credential, and explain each step",
        description="Check a credential exactly as an association of the AE would, and say what each back end found, "
                    "what the peer would be answered, and what the rules permit. Failures are not counted against "
                    "anyone, but a directory counts its own. Exit status: 0 accepted, 1 refused or a problem, 2 wrong "
                    "usage.",
        epilog="Example: dimsetls identity test --config var/dimsetls.ini --type passcode --user alice",
    )
    test.add_argument("--config", required=True, metavar="FILE", help="the INI file")
    test.add_argument("--ae", metavar="TITLE", help="the AE that is called (default: the first of the first listener)")
    test.add_argument("--type", required=True, choices=("username", "passcode", "kerberos", "saml", "jwt", "bearer",
                                                        "certificate"), help="what is presented")
    test.add_argument("--user", metavar="NAME", help="the user name, for username and passcode")
    test.add_argument("--passcode-stdin", action="store_true",
                      help="read the passcode from standard input instead of asking for it")
    test.add_argument("--file", metavar="FILE", help="the ticket, assertion or token; - for standard input")
    test.add_argument("--certificate", metavar="FILE", help="the certificate, in PEM, that the peer would show")
    test.add_argument("--calling-ae", default="DIMSETLS", metavar="TITLE", help="its AE title (default DIMSETLS)")
    test.add_argument("--address", default="127.0.0.1", metavar="A", help="the peer's address (default 127.0.0.1)")
    test.add_argument("--json", action="store_true", help="print one JSON object at the end")
    test.set_defaults(refuse=test.refuse)


def run_identity(parsed: argparse.Namespace) -> int:
    """Try it, print each step as it comes; returns the exit status."""
    from ...identity.credentials import (
        AccessToken,
        CertificateAlone,
        Credential,
        JSONWebToken,
        KerberosTicket,
        SAMLAssertion,
        Secret,
        Username,
        UsernameAndPasscode,
    )
    from .trial import Trial

    kind = parsed.type
    if kind in ("username", "passcode") and not parsed.user:
        parsed.refuse(f"--type {kind} wants --user NAME")
    if kind in ("kerberos", "saml", "jwt", "bearer") and not parsed.file:
        parsed.refuse(f"--type {kind} wants --file FILE")
    if kind == "certificate" and not parsed.certificate:
        parsed.refuse("--type certificate wants --certificate FILE")
    credential: Credential
    match kind:
        case "username":
            credential = Username(parsed.user)
        case "passcode":
            credential = UsernameAndPasscode(parsed.user, Secret(_passcode(parsed.passcode_stdin)))
        case "certificate":
            credential = CertificateAlone()
        case "kerberos":
            credential = KerberosTicket(Secret(_contents(parsed.file)))
        case "saml":
            credential = SAMLAssertion(Secret(_contents(parsed.file)))
        case "jwt":
            credential = JSONWebToken(Secret(_contents(parsed.file).strip()))  # on a line of its own
        case _:
            credential = AccessToken(Secret(_contents(parsed.file).strip()))
    steps: list[str] = []
    trial = Trial(
        parsed.config, credential, called=parsed.ae, calling=parsed.calling_ae, address=parsed.address,
        certificate=Path(parsed.certificate) if parsed.certificate else None, say=steps.append if parsed.json else _say,
    )  # fmt: skip
    is_accepted = trial.run()
    if parsed.json:
        _say(json.dumps({"accepted": is_accepted, "steps": steps}))
    return 0 if is_accepted else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _passcode(from_stdin: bool) -> bytes:
    if from_stdin:
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    return getpass("Passcode: ").encode()


def _contents(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        sentence = f"{path}: found no readable file ({error.strerror}), expected the credential"
        raise ConfigurationError(sentence) from None
