"""What becomes of a user once it is known who it is: policy, rules, terms, reloads and lock-outs, over the wire."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP

import pytest

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import Cost, PasscodeHash, User
from dimsetls.uids import VERIFICATION
from dimsetls.ul.pdus import Abort, AssociateAC, UserIdentityAC
from dimsetls.ul.reader import read_pdu

from ...secrets import secret
from ...servers.saml_idp import IdentityProvider
from ..running import Node, Service, eventually
from ..sender import CT_IMAGE_STORAGE
from .hospital import OURS, Issuer
from .peers import DENIED, Answer, Line, Shown, call, pynetdicom, raw, request, storescu

pytestmark = pytest.mark.peers

WORD = secret("annas passcode 1", "a passcode")
ANNA, WRONG, NOBODY = Shown(2, b"anna", WORD.encode()), Shown(2, b"anna", b"wrong passcode 1"), Shown()
BERT = Shown(2, b"bert", WORD.encode())
NOT_AUTHORIZED = 0x0124
ALLOWED, REFUSED = 0, 1
"""Results of presentation contexts (PS3.8 Table 9-18)."""


def user(name: str, *groups: str, roles: tuple[str, ...] = ()) -> User:
    return User(name, PasscodeHash.make(Secret(WORD.encode()), Cost(ln=10)), groups, roles)


class Staff:
    """A node with a users file and an issuer of tokens of its own; `place` adds an AE."""

    def __init__(self, directory: Path, pki: Path) -> None:
        self.pki = pki
        self.node = Node(directory, pki)
        self.users = directory / "users"
        self.write(user("anna", "radiology", roles=("technician",)), user("bert"))
        self.issuer, self.idp = Issuer(directory), IdentityProvider()
        self.idp.write_certificate(directory / "idp.pem")
        node = self.node
        node.sections.pop("ae DIMSETLS")
        node.set("users staff", file="users")
        node.set("jwt app", issuer=Issuer.name, audience="pacs", jwks_file=self.issuer.jwks, leeway="0s")
        node.set("saml app", issuer=self.idp.issuer, certificates="idp.pem", audience=self.idp.audience)
        self.identity("staff")

    def write(self, *users: User) -> None:
        self.users.touch(0o600)
        self.users.write_text("\n".join(line for each in users for line in each.lines) + "\n")

    def identity(self, name: str, **options: object) -> None:
        self.node.set(f"identity {name}", **{
            "passcode": "users staff", "jwt": "app", "bearer": "jwt app", "saml": "app", "refusal_time": "0s",
            "failures_per_address": 0, "failures_per_certificate": 0, **options,
        })  # fmt: skip

    def place(self, ae: str, **options: object) -> None:
        """An AE, which does what the first one does unless told otherwise."""
        aes = [section[3:] for section in self.node.sections if section.startswith("ae ")]
        self.node.set("listener main", aes=", ".join([*dict.fromkeys([*aes, ae])]))
        self.node.set(f"ae {ae}", storage="archive", **options)

    def reload(self, service: Service) -> None:
        before = len(service.lines("#info. reloaded "))
        self.node.write()
        os.kill(service.process.pid, SIGHUP)
        service.expect("#info. reloaded ", before + 1)


@pytest.fixture
def staff(tmp_path: Path, pki: Path) -> Staff:
    return Staff(tmp_path, pki)


def results(answer: Answer) -> list[int]:
    """Of Verification and of CT Image Storage."""
    return [context.result for context in answer.accepted.presentation_contexts[:2]]


# Policy ---------------------------------------------------------------------------------------------------------------


def test_policy_by_listener_and_by_ae(staff: Staff, pki: Path) -> None:
    staff.identity("guests", policy="prefer")
    staff.identity("anyone", policy="ignore")
    staff.identity("tokens", passcode=None)
    staff.identity("strangers", certificates="dns:other.invalid")
    staff.node.set("listener main", identity="staff")
    staff.place("STAFF")
    for name in ("guests", "anyone", "tokens", "strangers"):
        staff.place(name.upper(), identity=name)
    staff.node.set("ae ELSEWHERE", services="verification")
    staff.node.set("listener other", port=0, tls="secure", aes="ELSEWHERE")
    with staff.node.running() as service:
        def shown(ae: str, what: Shown) -> object:
            answer = raw(call(service, pki, ae), what)
            if not isinstance(answer.pdu, AssociateAC):
                return answer.pdu
            assert answer.status == 0
            return answer.accepted.user_information.user_identity_response

        yes, silent = UserIdentityAC(b""), None
        assert [shown("STAFF", each) for each in (ANNA, WRONG, NOBODY)] == [yes, DENIED, DENIED]
        assert [shown("GUESTS", each) for each in (ANNA, WRONG, NOBODY)] == [yes, DENIED, silent]
        assert [shown("ANYONE", each) for each in (ANNA, WRONG, NOBODY)] == [silent] * 3
        assert [shown("TOKENS", each) for each in (ANNA, NOBODY)] == [DENIED] * 2
        assert [shown("STRANGERS", each) for each in (ANNA, NOBODY)] == [DENIED] * 2
        assert [shown("ELSEWHERE", each) for each in (ANNA, WRONG, NOBODY)] == [silent] * 3
        service.expect("started PEER.* to ANYONE .*; the user identity is ignored, as configured", 2)
        service.expect("started PEER.* to ELSEWHERE .*; a user identity came, and none is checked here", 2)
        service.expect("refused .* to TOKENS .* passcode came, which is not configured; configured are saml, jwt")
        service.expect("SECURITY ALERT: refused .* to STRANGERS .* may not present a user identity here")
        assert not service.lines("to (ANYONE|ELSEWHERE) .* for anna")


def test_an_identity_and_a_token_are_of_one_user(staff: Staff, pki: Path) -> None:
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        for name, outcome in (("anna", AssociateAC), ("bert", type(DENIED))):
            both = Shown(2, b"anna", WORD.encode(), staff.issuer.token(sub=name))
            assert isinstance(raw(call(service, pki, "STAFF"), both).pdu, outcome)
        bad = Shown(2, b"anna", b"wrong passcode 1", staff.issuer.token(sub="anna"))
        assert raw(call(service, pki, "STAFF"), bad).pdu == DENIED
        service.expect("for anna of staff by passcode and bearer, ")
        service.expect("SECURITY ALERT: .*: the user identity is that of 'anna', the access token is that of 'bert'")


# Rules ----------------------------------------------------------------------------------------------------------------

RULES: dict[str, tuple[dict[str, str], dict[str, list[int]]]] = {
    "GROUP": ({"groups": "radiology"}, {"anna": [0, 0], "bert": [1, 1], "token": [1, 1]}),
    "ROLE": ({"roles": "technician", "may": "store"}, {"anna": [1, 0], "bert": [1, 1], "token": [1, 1]}),
    "USER": ({"users": "bert", "realms": "staff"}, {"anna": [1, 1], "bert": [0, 0]}),
    "REALM": ({"realms": "elsewhere"}, {"anna": [1, 1], "bert": [1, 1]}),
    "SCOPE": ({"scopes": "dicom.store", "may": "store"}, {"anna": [1, 1], "token": [1, 0], "other token": [1, 1]}),
    "CERTIFICATE": ({"certificates": OURS}, {"anna": [0, 0], "bert": [0, 0], "token": [1, 1]}),
    "OTHERS": ({"certificates": "dns:other.invalid"}, {"anna": [1, 1], "bert": [1, 1]}),
    "CALLING": ({"calling-ae-titles": "SOMEONE"}, {"anna": [1, 1], "bert": [1, 1]}),
    "MR": ({"sop-classes": "1.2.840.10008.5.1.4.1.1.4"}, {"anna": [0, 1]}),
    "CT": ({"sop-classes": CT_IMAGE_STORAGE, "may": "store"}, {"anna": [1, 0]}),
    "UNKNOWN": ({"unidentified": "yes", "may": "verification"}, {"anna": [0, 1], "nobody": [0, 1], "token": [0, 1]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[tuple[Staff, Service]]:
    """An AE for each rule."""
    staff = Staff(tmp_path_factory.mktemp("ruled"), pki)
    staff.identity("staff", policy="prefer")
    for ae, (conditions, _) in RULES.items():
        staff.place(ae, identity="staff", rules=ae)
        staff.node.set(f"rule {ae}", **{"may": "verification, store", **conditions})
    with staff.node.running() as service:
        yield staff, service


@pytest.mark.parametrize("ae", RULES)
def test_what_a_rule_permits_is_agreed_on_and_nothing_else(ruled: tuple[Staff, Service], pki: Path, ae: str) -> None:
    staff, service = ruled
    for who, expected in RULES[ae][1].items():
        shown = {"anna": ANNA, "bert": BERT, "nobody": NOBODY}.get(who) or Shown(
            token=staff.issuer.token(sub="anna", groups=["radiology"], roles=["technician"],
                                     scope="dicom.store" if who == "token" else "dicom.query"))  # fmt: skip
        calling = call(service, pki, ae)
        with Line(calling) as line:
            answer = line.associate(request(calling, shown))
            assert (who, results(answer)) == (who, expected)
            assert line.echo() == (0 if expected[0] == ALLOWED else None)  # without a context it is a violation
        (started,) = service.expect(rf"started {calling.calling} at ")
        assert ("has no permission for" in started) == (REFUSED in expected)
        assert (f"[rule {ae}] " in started) == (REFUSED in expected)


def test_peers_of_others_are_told_the_same(ruled: tuple[Staff, Service], pki: Path) -> None:
    _, service = ruled
    assert storescu(call(service, pki, "ROLE"), ANNA).status == 0
    refused = storescu(call(service, pki, "ROLE"), BERT)
    assert refused.status != 0
    assert {context.result for context in refused.accepted.presentation_contexts} == {REFUSED}
    assert pynetdicom(call(service, pki, "GROUP"), ANNA).status == 0
    assert raw(call(service, pki, "GROUP"), ANNA).status == 0


# Terms ----------------------------------------------------------------------------------------------------------------


def test_what_becomes_of_an_association_when_the_identity_expires(staff: Staff, pki: Path) -> None:
    for word in ("ignore", "refuse", "abort"):
        staff.identity(word, when_expired=word)
        staff.place(word.upper(), identity=word)
    with staff.node.running() as service:
        ends = time.time() + 2.0
        calls = {word: call(service, pki, word.upper()) for word in ("ignore", "refuse", "abort")}
        lines = {word: Line(calls[word]) for word in calls}
        for word, line in lines.items():
            shown = Shown(token=staff.issuer.token(sub="anna", exp=ends))
            assert line.associate(request(calls[word], shown)).accepted
        assert [line.echo() for line in lines.values()] == [0, 0, 0]
        assert time.time() < ends  # or nothing was tested
        octets = lines["abort"].receive()  # it comes unasked
        assert time.time() >= ends
        assert read_pdu(octets[0], octets[6:]) == Abort(0, 0)
        assert lines["ignore"].echo() == 0
        assert lines["refuse"].echo() == NOT_AUTHORIZED
        lines["ignore"].release()
        lines["refuse"].release()
        for line in lines.values():
            line.__exit__()
        who = "anna of https://issuer.hospital.example by bearer"
        service.expect(f"answered 0124H to message 1 of {calls['refuse'].calling}: the identity of {who} was valid")
        service.expect(rf"aborted {calls['abort'].calling} .*; the identity of {who} has expired")


def test_one_that_has_expired_is_refused_at_once(staff: Staff, pki: Path) -> None:
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        expired = Shown(5, staff.issuer.token(exp=time.time() - 1))
        assert raw(call(service, pki, "STAFF"), expired).pdu == DENIED
        service.expect("the token expired at")


# Reload ---------------------------------------------------------------------------------------------------------------


def test_new_users_and_rules_hold_after_a_reload_and_associations_stay(staff: Staff, pki: Path) -> None:
    staff.place("STAFF", identity="staff", rules="people")
    staff.node.set("rule people", may="verification, store", groups="radiology")
    with staff.node.running() as service:
        calling = call(service, pki, "STAFF")
        with Line(calling) as line:
            assert results(line.associate(request(calling, ANNA))) == [ALLOWED, ALLOWED]
            assert results(raw_results(service, pki, BERT)) == [REFUSED, REFUSED]
            assert raw(call(service, pki, "STAFF"), Shown(2, b"carl", WORD.encode())).pdu == DENIED
            # A user comes without a reload.
            staff.write(user("anna", "radiology"), user("bert", "surgery"), user("carl", "radiology"))
            assert raw(call(service, pki, "STAFF"), Shown(2, b"carl", WORD.encode())).status == 0
            staff.node.set("rule people", groups="surgery")
            staff.reload(service)
            assert results(raw_results(service, pki, ANNA)) == [REFUSED, REFUSED]
            assert raw(call(service, pki, "STAFF"), BERT).status == 0
            assert line.echo() == 0  # what was agreed on stays agreed on
            line.release()


def raw_results(service: Service, pki: Path, shown: Shown) -> Answer:
    calling = call(service, pki, "STAFF")
    with Line(calling) as line:
        return line.associate(request(calling, shown))


def test_what_a_reload_does_not_forget(staff: Staff, pki: Path) -> None:
    """Assertions that were used, and failures that were counted."""
    staff.identity("staff", failures_per_user=2, failure_delay="1m")
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        shown = Shown(4, secret(staff.idp.assertion(), "a SAML assertion"))
        assert raw(call(service, pki, "STAFF"), shown).status == 0
        assert raw(call(service, pki, "STAFF"), WRONG).pdu == DENIED
        staff.reload(service)
        assert raw(call(service, pki, "STAFF"), shown).pdu == DENIED
        service.expect("the assertion was used before")
        assert raw(call(service, pki, "STAFF"), ANNA).pdu == DENIED
        service.expect(r"refused .* \(1,2,1\): user 'anna' failed 1 times, the next try is looked at in \d+ s")


def test_what_was_remembered_is_asked_again_after_a_reload(staff: Staff, pki: Path) -> None:
    staff.identity("staff", remember_successes="5m")
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        assert raw(call(service, pki, "STAFF"), ANNA).status == 0
        staff.write(user("bert"))
        assert raw(call(service, pki, "STAFF"), ANNA).status == 0
        staff.reload(service)
        assert raw(call(service, pki, "STAFF"), ANNA).pdu == DENIED


# Guessing -------------------------------------------------------------------------------------------------------------


def test_who_guesses_is_locked_out_and_nobody_else(staff: Staff, pki: Path) -> None:
    staff.identity("staff", failures_per_user=3, failure_delay="0s", lock_out_time="24h")
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        for _ in range(3):
            assert raw(call(service, pki, "STAFF"), WRONG).pdu == DENIED
        service.expect(r"SECURITY ALERT: user 'anna' is locked out for 86400 s after 3 failed identities")
        assert raw(call(service, pki, "STAFF"), ANNA).pdu == DENIED  # with the right passcode, too
        service.expect(r"user 'anna' failed 3 times, the next try is looked at in 8\d{4} s")
        assert raw(call(service, pki, "STAFF"), BERT).status == 0


def test_a_disabled_account_is_out_at_once(staff: Staff, pki: Path) -> None:
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        assert raw(call(service, pki, "STAFF"), ANNA).status == 0
        staff.write(User("anna", user("anna").passcode, disabled=True))
        assert raw(call(service, pki, "STAFF"), ANNA).pdu == DENIED
        eventually(lambda: bool(service.lines("'anna' is disabled")), "no line says it")


def test_verification_alone(staff: Staff, pki: Path) -> None:
    """The AE titles of the request are looked at before the identity: an AE that is not here asks nobody."""
    staff.place("STAFF", identity="staff")
    with staff.node.running() as service:
        calling = call(service, pki, "STAFF")
        with Line(calling) as line:
            answer = line.associate(request(call(service, pki, "STAFF", "A\\B"), ANNA, VERIFICATION))
            assert (answer.octets[7], answer.octets[8], answer.octets[9]) == (1, 1, 3)
