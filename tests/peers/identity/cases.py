"""The table: what is presented, in which state, and what the answer must be; or why there is no such thing."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ...secrets import secret
from ...servers.kdc import OTHER_SERVICE, Form
from ...servers.oauth import OPAQUE
from .hospital import ANNA, PRIVATE_TYPE, Hospital
from .peers import DENIED, UNAVAILABLE, Shown
from .proof import Ticket

CONDITIONS = ("good", "wrong", "expired", "revoked", "replayed", "malformed", "oversize", "down", "hung")
"""`down`: nothing listens, or the file is gone. `hung`: every server is stopped (SIGSTOP). `replayed`: a second time."""

Show = Callable[[Hospital], Shown]


@dataclass(frozen=True)
class Case:
    """Presented at the AE `called`, it is accepted for a user, or rejected; `log` is in the node's line about it.

    `late`: by a node whose clock is an hour ahead.
    """

    show: Show
    outcome: object
    log: str
    called: str = "MAIN"
    late: bool = False
    alert: bool = False


@dataclass(frozen=True)
class Row:
    """One way to present an identity. `without` says which peers cannot, and why; by condition where not always."""

    cases: dict[str, Case | str]
    without: dict[str, str]
    answer: bytes | None = b""
    """The server response of 59H; None: there is none."""


ACCEPTED = "accepted"
NO_TERM = "it has no term"
NO_SERVER = "no server is asked"
BY_TLS = "TLS refuses such a certificate before any A-ASSOCIATE-RQ: tests/tls/test_revocation.py, test_contexts_certificates.py"


def accepted(show: Show, user: str, **how: object) -> Case:
    return Case(show, ACCEPTED, f"for {user}, ", **how)  # type: ignore[arg-type]


def denied(show: Show, log: str, **how: object) -> Case:
    return Case(show, DENIED, log, **how)  # type: ignore[arg-type]


def unavailable(show: Show, log: str, called: str) -> Case:
    return Case(show, UNAVAILABLE, log, called)


def name(primary: str | bytes) -> Show:
    return lambda hospital: Shown(1, primary.encode() if isinstance(primary, str) else primary)


def passcode(user: str, word: str | bytes) -> Show:
    octets = secret(word.encode() if isinstance(word, str) else word, f"the passcode of {user}")
    return lambda hospital: Shown(2, user.encode(), octets)


USERNAME = Row({
    "good": accepted(name("anna"), "anna of local by username"),
    "wrong": denied(name("mallory"), r"\[users local\] has no user 'mallory'"),
    "expired": NO_TERM,
    "revoked": denied(name("dora"), r"\[users local\] 'dora' is disabled"),
    "replayed": accepted(name("anna"), "anna of local by username"),
    "malformed": denied(name(b"an\xffna"), "the user name is not UTF-8"),
    "oversize": denied(name("a" * 256), "the username field has 256 octets, expected 1 to 255"),
    "down": unavailable(name("alice"), r"\[ldap dead\] no directory server could tell: .* cannot be reached", "DOWN"),
    "hung": unavailable(name("alice"), r"\[ldap hurried\] no directory server could tell: .* gave no answer", "HUNG"),
}, {"ours malformed": "a name of ours is text"})  # fmt: skip

PASSCODE = Row({
    "good": accepted(passcode("anna", ANNA), "anna of local by passcode"),
    "wrong": denied(passcode("anna", "anna's password"), r"\[users local\] the passcode of 'anna' is wrong"),
    "expired": NO_TERM,
    "revoked": denied(passcode("dora", ANNA), r"\[users local\] 'dora' is disabled"),
    "replayed": accepted(passcode("anna", ANNA), "anna of local by passcode"),
    "malformed": denied(passcode("anna", ""), "the passcode field has 0 octets, expected 1 to 1024"),
    "oversize": denied(passcode("anna", "0123456789abcdef" * 64 + "0"), "the passcode field has 1025 octets"),
    "down": accepted(passcode("anna", ANNA), "anna of gone by passcode", called="DOWN"),
    "hung": NO_SERVER,
}, {"pynetdicom malformed": "it refuses an empty passcode itself"})  # fmt: skip

DIRECTORY = Row({
    "good": accepted(passcode("alice", "alice-secret"), "alice of hospital by passcode"),
    "wrong": denied(passcode("alice", "alice-mistake"), r"\[ldap hospital\] uid=alice,\S+: the passcode is wrong"),
    "expired": denied(passcode("expired", "expired-secret"), "the passcode has expired"),
    "revoked": denied(passcode("locked", "locked-secret"), "the account is locked"),
    "replayed": accepted(passcode("alice", "alice-secret"), "alice of hospital by passcode"),
    "malformed": denied(passcode("latin1", b"p\xe4ssw\xf6rd"), "the passcode is not UTF-8, as directories keep it"),
    "oversize": denied(passcode("alice", "alice-secret" * 86), "the passcode field has 1032 octets"),
    "down": unavailable(passcode("alice", "alice-secret"), r"\[ldap dead\] no directory server could tell", "DOWN"),
    "hung": unavailable(passcode("alice", "alice-secret"), r"\[ldap hurried\] .* gave no answer within 0.3 s", "HUNG"),
}, {})  # fmt: skip


def kerberos(form: Form, first: bytes) -> Row:
    def ticket(**how: str) -> Show:
        return lambda hospital: Ticket(hospital, form, **how).shown()

    who = "alice of TEST.LOCAL by kerberos"
    return Row({
        "good": accepted(ticket(), who),
        "wrong": denied(ticket(service=OTHER_SERVICE), r"the ticket is for dicom/other.invalid@TEST.LOCAL, expected"),
        "expired": denied(ticket(user="bob"), r"Ticket expired \(the user needs a new one\)", late=True),
        "revoked": denied(lambda hospital: Ticket(hospital, form, service=hospital.withdrawn).shown(),
                          "the key was changed", called="GONE"),
        "replayed": denied(ticket(), r"Request is a replay \(a token is good for one use\)", alert=True),
        "malformed": denied(lambda hospital: Shown(3, Ticket(hospital, form).octets[:-1]), "expected a Kerberos token"),
        "oversize": denied(lambda hospital: Shown(3, secrets.token_bytes(20001)), "the kerberos field has 20001 octets"),
        "down": unavailable(ticket(), r"\[kerberos gone\] no token can be checked: .* cannot be read", "DOWN"),
        "hung": accepted(ticket(), who, called="HUNG"),  # no KDC is asked
    }, {}, first)  # fmt: skip


SAML = Row({
    "good": accepted(lambda hospital: Shown(4, hospital.assertion()), "alice of https://idp.hospital.example by saml"),
    "wrong": denied(lambda hospital: Shown(4, hospital.assertion(hospital.impostor)), r"\[saml hospital\] the signature", alert=True),
    "expired": denied(lambda hospital: Shown(4, hospital.assertion()), "the assertion ended at", late=True),
    "revoked": "no assertion is taken back but with its issuer's key, which is wrong",
    "replayed": denied(lambda hospital: Shown(4, hospital.assertion()), "the assertion was used before"),
    "malformed": denied(lambda hospital: Shown(4, hospital.assertion()[:-9]), r"\[saml hospital\] "),
    "oversize": denied(lambda hospital: Shown(4, b"<" + b"a" * 30000), "the saml field has 30001 octets"),
    "down": NO_SERVER,
    "hung": NO_SERVER,
}, {})  # fmt: skip


NO_SUCH_TOKEN = "it refuses characters outside b64token itself"


def tokens(present: Callable[[bytes], Shown], how: str, opaque: bool = False) -> dict[str, Case | str]:
    def show(make: Callable[[Hospital], bytes]) -> Show:
        return lambda hospital: present(make(hospital))

    good = show(lambda hospital: hospital.token(OPAQUE) if opaque else hospital.token())
    who = rf"alice of https://localhost:\d+ by {how}"
    dead, hung = ("introspection dead", "introspection hurried") if opaque else ("jwt dead", "jwt hurried")

    def revoked(hospital: Hospital) -> bytes:
        if not opaque:
            return hospital.revoked_jwt
        token = hospital.token(OPAQUE)
        hospital.oauth.revoke(token.decode())
        return token

    return {
        "good": accepted(good, who),
        "wrong": denied(show(lambda hospital: secret(secrets.token_urlsafe(32).encode(), "a token of nobody")),
                        "the token is not active") if opaque else
                 denied(show(Hospital.forged), "the token's signature is not good", alert=True),
        "expired": denied(good, "the token expired at", late=True),
        "revoked": denied(show(revoked), "the token is not active: it expired, was revoked") if opaque else
                   denied(show(revoked), "the issuer has no key 'ES256 ", called="GONE"),
        "replayed": accepted(good, who),  # it may be used until it expires (RFC 6750)
        "malformed": denied(show(lambda hospital: hospital.token().rpartition(b".")[0]), "the token is of 2 parts")
                     if how == "jwt" else
                     denied(show(lambda hospital: b"two words " + hospital.token()), "characters outside b64token"),
        "oversize": denied(show(lambda hospital: b"0123456789abcdef." * 964), f"the {how} field has 16388 octets"),
        "down": unavailable(good, rf"\[{dead}\] ", "DOWN"),
        "hung": unavailable(good, rf"\[{hung}\] ", "HUNG"),
    }  # fmt: skip


JWT = Row(tokens(lambda token: Shown(5, token), "jwt"), {})
ONLY_58H = "it has no option for SOP Class Extended Negotiation (56H)"
BEARER = Row(tokens(lambda token: Shown(token=token), "bearer"), {"DCMTK": ONLY_58H, "ours malformed": NO_SUCH_TOKEN}, None)
OPAQUE_BEARER = Row(tokens(lambda token: Shown(token=token), "bearer", opaque=True),
                    {"DCMTK": ONLY_58H, "ours malformed": NO_SUCH_TOKEN}, None)
RESERVED = "it sends no reserved User-Identity-Type"
PRIVATE = Row(tokens(lambda token: Shown(PRIVATE_TYPE, token), "bearer", opaque=True),
              {"DCMTK": RESERVED, "pynetdicom": RESERVED, "ours malformed": NO_SUCH_TOKEN})

CERTIFICATE = Row({
    "good": accepted(lambda hospital: Shown(), r"dimsetls development client of .* by certificate"),
    "wrong": denied(lambda hospital: Shown(), "a user identity is required, none came", called="OTHER"),
    "expired": BY_TLS, "revoked": BY_TLS, "malformed": BY_TLS, "oversize": BY_TLS,
    "replayed": accepted(lambda hospital: Shown(), r"dimsetls development client of .* by certificate"),
    "down": NO_SERVER, "hung": NO_SERVER,
}, {}, None)  # fmt: skip

TABLE: dict[str, Row] = {
    "username": USERNAME,
    "passcode, users file": PASSCODE,
    "passcode, directory": DIRECTORY,
    "kerberos, AP-REQ": kerberos("raw", b"\x6f"),
    "kerberos, GSS": kerberos("gss", b"\x60"),
    "kerberos, SPNEGO": kerberos("spnego", b"\xa1"),
    "saml": SAML,
    "jwt": JWT,
    "bearer, JWT": BEARER,
    "bearer, opaque": OPAQUE_BEARER,
    "bearer, private type": PRIVATE,
    "certificate alone": CERTIFICATE,
}
