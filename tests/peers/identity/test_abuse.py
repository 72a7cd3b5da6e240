"""What attackers send as an identity, to a node with real servers behind it; and hundreds who wait at one that hangs."""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dimsetls.identity.users import User

from ...secrets import secret
from ...servers.saml_idp import WRAPPINGS, IdentityProvider, serialized
from .. import dcmtk
from ..running import Node, Service, eventually
from .hospital import ANNA, Hospital, Issuer, part, signed
from .peers import DENIED, UNAVAILABLE, Line, Shown, call, raw, request

pytestmark = pytest.mark.peers

WAITING = 500


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def trap() -> Iterator[socket.socket]:
    """Somewhere that credentials point to, and nobody may go."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that credentials point to, and nobody may read."""
    path = tmp_path_factory.mktemp("bait") / "passwd"
    path.write_text(secret("root:x:0:0:the bait of the tests", "a file of the machine"))
    return path


@pytest.fixture(scope="module")
def stronghold(
    hospital: Hospital, pki: Path, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A node with the longest fields that go over the wire, and two issuers whose keys it has."""
    node = Node(tmp_path_factory.mktemp("stronghold"), pki)
    hospital.configure(node)
    node.set("jwt file", issuer=Issuer.name, audience="pacs", jwks_file=issuer.jwks)
    lengths = {f"{kind}_length": 65400 for kind in ("passcode", "kerberos", "saml", "jwt", "bearer")}
    node.set("identity MAIN", jwt="hospital, file", bearer="jwt hospital, jwt file, introspection hospital", **lengths)
    with node.running(env=hospital.environment) as service:
        yield service


@pytest.fixture
def refused(
    stronghold: Service, pki: Path, trap: socket.socket, bait: Path
) -> Iterator[Callable[[Shown, str], str]]:
    """Present it: the answer is (1,2,1), the log says so in one line, and nobody went anywhere for it."""

    def present(shown: Shown, log: str) -> str:
        calling = call(stronghold, pki, "MAIN")
        began = time.monotonic()
        assert raw(calling, shown).pdu == DENIED
        assert time.monotonic() - began < 5  # it takes a few milliseconds
        (line,) = stronghold.expect(rf"refused {calling.calling} at ")
        assert re.search(log, line), line
        assert len(line) < 3000
        return line

    yield present
    with pytest.raises(BlockingIOError):
        trap.accept()
    assert bait.read_text() not in stronghold.log


# The directory --------------------------------------------------------------------------------------------------------

INJECTED = (
    "*", "a*", "alice*", "*)(uid=*", "alice)(|(uid=*", "*))(|(uid=*", "alice)(userPassword=*)", "alice\\2a", "\\61lice",
    "alice,ou=people,dc=example,dc=org", "uid=alice", "alice)(&", "alice#", "(alice)", "alice)(objectClass=*", "{user}x",
    "alice+cn=x", "alice;bob", "alice\"", "cn=admin,dc=example,dc=org",
)  # fmt: skip


@pytest.mark.parametrize("name", INJECTED)
def test_ldap_injection(refused: Callable[[Shown, str], str], name: str) -> None:
    line = refused(Shown(2, name.encode(), b"alice-secret"), r"\[ldap hospital\] there is no user ")
    assert "uid=alice," not in line


def test_ldap_injection_by_the_passcode(refused: Callable[[Shown, str], str]) -> None:
    for word in (b"*", b"alice-secret*", b"alice-secre?", b"alice-secret)(uid=*", b"{SSHA}x", b"alice-secret\0"):
        refused(Shown(2, b"alice", word), r"uid=alice,\S+: the passcode is wrong")


# SAML -----------------------------------------------------------------------------------------------------------------


def doctored(assertion: bytes, doctype: str, inside: str = "") -> bytes:
    head, body = assertion.decode().split("?>", 1)
    return f"{head}?>{doctype}{body.replace('>alice<', f'>{inside}<') if inside else body}".encode()


def bombs(bait: Path, port: int) -> dict[str, tuple[str, str]]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return {
        "file": (f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{bait}">]>', "&x;"),
        "URL": (f'<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:{port}/x">]>', "&x;"),
        "parameter entity": (f'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:{port}/x"> %x;]>', ""),
        "external DTD": (f'<!DOCTYPE a SYSTEM "http://127.0.0.1:{port}/a.dtd">', ""),
        "billion laughs": (f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]>', "&l11;"),
        "quadratic blowup": (f'<!DOCTYPE a [<!ENTITY x "{"a" * 20000}">]>', "&x;" * 5000),
        "internal entity": ('<!DOCTYPE a [<!ENTITY x "alice">]>', "&x;"),
        "DTD alone": ("<!DOCTYPE a>", ""),
        "stylesheet": (f'<?xml-stylesheet href="http://127.0.0.1:{port}/x"?>', ""),
    }


@pytest.mark.parametrize("kind", bombs(Path("/"), 0))
def test_xml_that_reaches_out_or_blows_up(
    hospital: Hospital, stronghold: Service, refused: Callable[[Shown, str], str], bait: Path, trap: socket.socket,
    kind: str,
) -> None:  # fmt: skip
    before = stronghold.memory("VmHWM")
    doctype, inside = bombs(bait, trap.getsockname()[1])[kind]
    refused(Shown(4, doctored(hospital.assertion(), doctype, inside)), r"\[saml hospital\] ")
    assert stronghold.memory("VmHWM") - before < 64 << 20


def test_xinclude(hospital: Hospital, refused: Callable[[Shown, str], str], bait: Path) -> None:
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://{bait}" parse="text"/>'
    refused(Shown(4, hospital.assertion().replace(b">alice<", f">{include}<".encode())), r"\[saml hospital\] ")


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_signature_wrapping(hospital: Hospital, refused: Callable[[Shown, str], str], wrapping: str) -> None:
    line = refused(Shown(4, serialized(WRAPPINGS[wrapping](hospital.assertion()))), r"\[saml hospital\] ")
    assert "for mallory" not in line


def test_saml_of_great_depth_and_width(hospital: Hospital, refused: Callable[[Shown, str], str]) -> None:
    refused(Shown(4, b"<a>" * 9000), r"\[saml hospital\] ")
    refused(Shown(4, b"<a" + b"".join(b' b%d="c"' % n for n in range(5000)) + b"/>"), r"\[saml hospital\] ")
    refused(Shown(4, b'<?xml version="1.0" encoding="UTF-7"?><a/>'), r"\[saml hospital\] ")
    refused(Shown(4, "<a/>".encode("utf-16")), r"\[saml hospital\] ")
    stranger = IdentityProvider("https://stranger.example")
    refused(Shown(4, hospital.assertion(stranger)), r"\[saml hospital\] ")


# Tokens ---------------------------------------------------------------------------------------------------------------


def unsigned(header: object, claims: object, signature: bytes = b"") -> bytes:
    return b".".join((part(header), part(claims), signature))


@pytest.fixture
def claims() -> dict[str, Any]:
    now = time.time()
    return {"iss": Issuer.name, "aud": "pacs", "sub": "root", "iat": now, "exp": now + 600, "jti": "x"}


@pytest.fixture(params=["5", "56H"])
def carried(request: pytest.FixtureRequest) -> Callable[[bytes], Shown]:
    """As user identity type 5, and by the bearer extension."""
    return (lambda token: Shown(5, token)) if request.param == "5" else (lambda token: Shown(token=token))


@pytest.mark.parametrize("word", ["none", "None", "NONE", "nOnE", ""])
def test_no_algorithm(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], claims: dict[str, Any], word: str
) -> None:
    for signature in (b"", part(b"signature")):
        shown = carried(unsigned({"alg": word, "typ": "at+jwt", "kid": "k1"}, claims, signature))
        line = refused(shown, r"the token is signed with '\w*'; expected ES256")
        assert ("SECURITY ALERT" in line) == bool(word)


def test_a_public_key_as_a_shared_secret(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer, claims: dict[str, Any]
) -> None:
    public = issuer.key.public_key()
    keys = [public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo) for form in (Encoding.PEM, Encoding.DER)]
    for key in (*keys, keys[0].strip(), json.dumps(issuer.jwk).encode(), issuer.jwks.read_bytes(), b""):
        for algorithm, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            signing_input = part({"alg": algorithm, "typ": "at+jwt", "kid": "k1"}) + b"." + part(claims)
            token = signing_input + b"." + part(hmac.digest(key, signing_input, digest))
            assert "SECURITY ALERT" in refused(carried(token), f"the token is signed with '{algorithm}'; expected ES256")


def test_keys_that_a_token_brings_along(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer, claims: dict[str, Any],
    trap: socket.socket, bait: Path,
) -> None:  # fmt: skip
    own = ec.generate_private_key(ec.SECP256R1())
    numbers = own.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": part(numbers.x.to_bytes(32, "big")).decode(),
           "y": part(numbers.y.to_bytes(32, "big")).decode()}  # fmt: skip
    url = f"https://127.0.0.1:{trap.getsockname()[1]}/jwks"
    chain = [base64.b64encode(b"certificate").decode()]
    for extra in ({"jwk": jwk}, {"jku": url}, {"x5u": url}, {"x5c": chain}, {"jku": f"file://{bait}"},
                  {"jwk": jwk, "kid": "mine"}, {"crit": ["jku"], "jku": url}):  # fmt: skip
        refused(carried(issuer.token(extra, key=own, sub="root")),
                "signature is not good|no key 'mine'|has demands")
    refused(carried(unsigned({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}, claims | {"iss": url}, part(b"s"))),
            "the token|knows tokens of|not active|does not examine tokens of this form")


@pytest.mark.parametrize("key_id", [
    "../../../../dev/null", "/etc/passwd", "file:///etc/passwd", "k1\0", "k1' OR '1'='1", "| sleep 10", "$(sleep 10)", "",
    "https://127.0.0.1/", "k" * 5000, {"$ne": None}, ["k1"], 1, None, True, "\u202ek1", "k1\n2026 started",
], ids=str)  # fmt: skip
def test_key_ids_that_lead_somewhere(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer, key_id: object
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    wrong = "the issuer has no|kid is not a text|signature is not good"
    refused(carried(issuer.token({"kid": key_id}, key=other)), wrong)


def test_deep_json(refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer) -> None:
    for deep in (b"[" * 20000, b'{"a":' * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000):
        head = part({"alg": "ES256", "typ": "at+jwt", "kid": "k1"})
        refused(carried(signed(head + b"." + part(deep), issuer.key)), "levels")
        refused(carried(signed(part(deep[:6000]) + b"." + part(b"{}"), issuer.key)), "levels|not active")


def test_json_that_two_readers_read_differently(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer, claims: dict[str, Any]
) -> None:
    good = json.dumps(claims)
    head = part({"alg": "ES256", "typ": "at+jwt", "kid": "k1"})
    for body in (good.replace('"sub"', '"sub": "alice", "sub"'), good.replace('"exp":', '"exp": NaN, "x":'),
                 good + good, f"[{good}]", good.replace("root", "\\ud800"), f"\ufeff{good}"):  # fmt: skip
        refused(carried(signed(head + b"." + part(body.encode()), issuer.key)), r"\[\w+ \w+\] ")


@pytest.mark.parametrize("claim", [
    {"exp": None}, {"exp": "never"}, {"exp": 1e400}, {"exp": -1}, {"exp": True}, {"exp": 10**40}, {"aud": "other"},
    {"aud": []}, {"aud": {"pacs": 1}}, {"aud": None}, {"sub": ""}, {"sub": 7}, {"sub": "ro\0ot"}, {"sub": "x" * 300},
    {"nbf": 4e9}, {"iat": 4e9}, {"iss": Issuer.name + "/"}, {"nonce": "n"}, {"cnf": {"x5t#S256": "AA"}},
    {"cnf": {"jkt": "AA"}}, {"cnf": 1},
], ids=str)  # fmt: skip
def test_claims_that_are_not_true_here(
    refused: Callable[[Shown, str], str], carried: Callable[[bytes], Shown], issuer: Issuer, claim: dict[str, Any]
) -> None:
    refused(carried(issuer.token(**claim)), r"\[\w+ \w+\] ")


def test_the_token_without_any_of_this_is_good(stronghold: Service, pki: Path, issuer: Issuer) -> None:
    """Or the tests above would prove nothing."""
    assert raw(call(stronghold, pki, "MAIN"), Shown(5, issuer.token())).status == 0
    assert raw(call(stronghold, pki, "MAIN"), Shown(token=issuer.token())).status == 0


# Size -----------------------------------------------------------------------------------------------------------------

LONGEST = 65400


@pytest.mark.parametrize("shown", [
    Shown(1, b"a" * LONGEST), Shown(2, b"alice", b"p" * LONGEST), Shown(3, b"\x6e" * LONGEST), Shown(4, b"<" * LONGEST),
    Shown(5, b"a.b.c" * (LONGEST // 5)), Shown(5, b"a" * LONGEST),
    Shown(5, b"." * LONGEST), Shown(4, b"PHNhbWw" * (LONGEST // 7)), Shown(5, part({"alg": "ES256"}) + b"." * 60000),
    Shown(3, b"\x60\x82\xff\x00" + b"\xff" * (LONGEST - 4)), Shown(254, b"t" * LONGEST),
], ids=lambda shown: f"{shown.kind} {(shown.primary or shown.token)[:4]!r}")  # fmt: skip
def test_65_kib(refused: Callable[[Shown, str], str], shown: Shown) -> None:
    refused(shown, r"\(1,2,1\): ")


def test_an_opaque_token_that_is_too_long_for_its_server(stronghold: Service, pki: Path) -> None:
    assert raw(call(stronghold, pki, "MAIN"), Shown(token=b"t" * LONGEST)).pdu == UNAVAILABLE
    stronghold.expect(r"\[introspection hospital\] cannot tell whether the token is active: .* HTTP status 400")


def test_a_good_token_of_60_kib(stronghold: Service, pki: Path, issuer: Issuer) -> None:
    token = issuer.token(padding="x" * 46000)
    assert len(token) > 60000
    assert raw(call(stronghold, pki, "MAIN"), Shown(5, token)).status == 0
    assert raw(call(stronghold, pki, "MAIN"), Shown(token=token)).status == 0


# Time -----------------------------------------------------------------------------------------------------------------


def test_the_time_of_a_refusal_tells_nothing(hospital: Hospital, node: Node, pki: Path) -> None:
    """Nothing is refused before its time, however soon it is known. tests/identity/test_gate.py has the rest."""
    hospital.configure(node)
    node.set("identity MAIN", refusal_time="250ms")
    kinds = {"unknown": b"mallory", "wrong, by the file": b"anna", "disabled": b"dora", "wrong there": b"alice",
             "locked": b"locked"}  # fmt: skip
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    with node.running(env=hospital.environment) as service:
        for _ in range(2):
            for kind, name in kinds.items():
                calling = call(service, pki, "MAIN")
                with Line(calling) as line:
                    began = time.monotonic()
                    assert line.associate(request(calling, Shown(2, name, b"wrong passcode 2"))).pdu == DENIED
                    took[kind].append(time.monotonic() - began)
    assert min(min(times) for times in took.values()) >= 0.25
    best = [min(times) for times in took.values()]
    assert max(best) - min(best) < 0.25  # a few milliseconds, but for a bad second of the machine


# Flood ----------------------------------------------------------------------------------------------------------------


def quickest(attempt: Callable[[], None]) -> float:
    """The best of five, for a machine may have a bad second."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        attempt()
        took.append(time.monotonic() - began)
    return min(took)


def gather(lines: list[Line], answers: list[object]) -> bool:
    """Whether there are 10 answers now; who has one leaves the lines."""
    for line in [*lines]:
        if (came := line.answer) is not None:
            lines.remove(line)
            answers.append(came)
    return len(answers) >= 10


def test_hundreds_of_logins_at_a_directory_that_hangs_delay_nobody_else(
    hospital: Hospital, node: Node, pki: Path
) -> None:
    hospital.configure(node)
    hospital.ldap(node, "slow", hospital.slapd.ldaps, timeout="1m", waiting=1000)
    hospital.ldap(node, "narrow", hospital.slapd.ldaps, timeout="1m", threads=1, waiting=9)
    node.set("listener main", aes="SLOW, NARROW, QUICK, OPEN")
    hospital.place(node, "SLOW", passcode="ldap slow", deadline="5m")
    hospital.place(node, "NARROW", passcode="ldap narrow", deadline="5m")
    hospital.place(node, "QUICK", passcode="users local", kerberos="hospital")
    node.set("limits normal", associations=1200, associations_per_address=1200, associations_per_calling_ae=1200)
    anna = Shown(2, b"anna", ANNA.encode())

    def login(ae: str, name: str, stack: ExitStack) -> Line:
        calling = call(service, pki, ae)
        line = stack.enter_context(Line(calling))
        line.send(request(calling, Shown(2, name.encode(), b"any passcode 3")))
        return line

    def echo() -> None:
        answer = dcmtk.echoscu(service, pki, called="OPEN")
        assert answer.returncode == 0, answer.stdout

    def ask() -> None:
        assert raw(call(service, pki, "QUICK"), anna).status == 0

    with node.running(env=hospital.environment) as service:
        with hospital.slapd.frozen(), ExitStack() as stack:
            answers: list[object] = []
            slow = [login("SLOW", f"user{number}", stack) for number in range(WAITING)]
            narrow = [login("NARROW", f"user{number}", stack) for number in range(20)]
            service.expect(r"refused .* to NARROW .* \(2,3,1\): \[ldap narrow\] has 10 checks under way, and takes", 10)
            eventually(lambda: gather(narrow, answers), "10 answers came")
            assert answers == [UNAVAILABLE] * 10
            assert quickest(echo) < 1
            assert quickest(ask) < 1
            assert not service.lines("(refused|started) .* to SLOW ")
            assert {line.answer for line in slow} == {None}
        # They went away, so nobody's login waits behind theirs.
        eventually(lambda: len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())) < 100, "connections stayed")
        began = time.monotonic()
        assert raw(call(service, pki, "SLOW"), Shown(2, b"alice", b"alice-secret")).status == 0
        assert time.monotonic() - began < 5


def test_a_users_file_of_thousands(node: Node, hospital: Hospital, pki: Path) -> None:
    """Each has a hash; one is checked for a login, and that takes no longer than with a few."""
    hospital.configure(node)
    hospital.write_users(*(User(f"user {number}") for number in range(5000)), name="many")
    node.set("users many", file=hospital.directory / "many")
    node.set("listener main", aes="MANY")
    hospital.place(node, "MANY", passcode="users many")
    with node.running(env=hospital.environment) as service:
        def ask() -> None:
            assert raw(call(service, pki, "MANY"), Shown(2, b"anna", ANNA.encode())).status == 0

        assert quickest(ask) < 1
