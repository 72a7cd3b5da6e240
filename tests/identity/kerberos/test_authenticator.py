"""Tokens of a real KDC, in three forms, and everything that can be wrong with them or with this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable, IdentityUnknown
from dimsetls.identity.credentials import KerberosTicket, Secret, Username
from dimsetls.identity.interfaces import IAuthenticator, Presenter, Verified
from dimsetls.identity.kerberos import krb5
from dimsetls.identity.kerberos.authenticator import ChannelBinding, Kerberos
from dimsetls.identity.kerberos.tokens import Form, ap_req_of, frame

from ...servers.kdc import FORMS, KDC, OTHER_SERVICE, REALM, SERVICE, WEB_SERVICE, Request, shifted
from ..negotiation import KERBEROS, MICROSOFT, NEGOEX, NTLM, der, init, mechanisms
from ..stage import Calls

EXPORTER = bytes(range(32))
FIRST_OCTETS = {"raw": "6f", "gss": "60", "spnego": "a1"}
forms = pytest.mark.parametrize("form", FORMS)
framed = pytest.mark.parametrize("form", ["gss", "spnego"])


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    with KDC(tmp_path_factory.mktemp("kdc") / "kdc") as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_CONFIG", str(running.config))  # GSS-API takes it from nowhere else
        yield running


@pytest.fixture(scope="module")
def alice(kdc):
    return str(kdc.ticket_cache())


@pytest.fixture
def make(kdc, tmp_path):
    """Makes back ends with one replay cache, and what asks them."""
    made = []

    def make(**options):
        options = {"keytab": kdc.service_keytab, "replay_cache": tmp_path / "replays", "service": SERVICE} | options
        made.append(Asked(**options))
        return made[-1]

    yield make
    for each in made:
        each.back_end.close()


class Asked:
    """A back end and the thread that waits for it; `steps` are what it traced."""

    def __init__(self, **options):
        self.calls = Calls()
        self.steps = []
        self.back_end = Kerberos(name="kerberos test", reactor=self.calls, trace=self.steps.append, **options)

    def __call__(self, token, exporter=None):
        shown = Presenter("192.0.2.1", "A", "B", None, exporter)
        return self.calls.outcome(self.back_end.verify(KerberosTicket(Secret(token)), shown))

    def name(self, token, exporter=None):
        found = self(token, exporter)
        assert isinstance(found, Verified), found
        return found.name


def denied(found, sentence, kind=IdentityDenied):
    assert type(found) is kind, found
    assert str(found).startswith("[kerberos test] ")
    assert sentence in str(found)
    return found


# Good tokens ----------------------------------------------------------------------------------------------------------


@forms
def test_a_good_token_is_accepted_and_answered_in_its_form(make, alice, form):
    check = make()
    assert IAuthenticator.providedBy(check.back_end)
    found = check(Request(form, SERVICE, alice).make())
    assert (found.name, found.realm, found.groups) == (f"alice@{REALM}", REALM, frozenset())
    assert found.server_response.hex().startswith(FIRST_OCTETS[form])
    assert found.until > time.time()


@forms
def test_a_token_in_a_file_as_other_programs_send_it(kdc, make, form):
    assert make().name(kdc.token_file(form).read_bytes()) == f"alice@{REALM}"


def test_without_mutual_authentication_gss_has_nothing_to_answer(make, alice):
    check = make()
    assert check(Request("gss", SERVICE, alice, "").make()).server_response == b""
    answer = check(Request("spnego", SERVICE, alice, "").make()).server_response
    assert answer == der(0xA1, der(0x30, der(0xA0, "0a0100"), der(0xA1, KERBEROS)))
    assert check(Request("raw", SERVICE, alice, "").make()).server_response[0] == 0x6F


def test_the_identity_ends_with_the_ticket_without_the_clock_skew(kdc, make):
    begin = time.time()
    cache = str(kdc.ticket_cache("bob", "-l", "5m"))
    ends = {make()(Request(form, SERVICE, cache).make()).until for form in FORMS}
    assert len(ends) == 1
    assert begin + 299 <= ends.pop() <= time.time() + 300


def test_windows_offers_kerberos_under_a_number_of_its_own(make, alice):
    token = init(mechanisms(MICROSOFT, KERBEROS, NEGOEX, NTLM),
                 der(0xA2, der(0x04, Request("gss", SERVICE, alice).make())))
    answer = make()(token).server_response
    assert answer[0] == 0xA1
    assert bytes.fromhex(MICROSOFT) in answer


def test_each_step_is_told_and_no_token_shown(make, alice):
    check = make()
    token = Request("gss", SERVICE, alice).make()
    check(token, EXPORTER)
    assert [step.split("] ")[0] for step in check.steps] == ["[kerberos test"] * 3
    told = " ".join(check.steps)
    assert f"good for {SERVICE}, of 'alice@{REALM}'" in told
    assert "form gss" in told
    assert token[-16:].hex() not in told


def test_the_only_dicom_service_of_the_keytab_is_found(make, alice):
    assert make(service=None).name(Request("gss", SERVICE, alice).make()) == f"alice@{REALM}"
    assert make(service="dicom/localhost").name(Request("gss", SERVICE, alice).make()) == f"alice@{REALM}"


def test_a_key_that_is_added_to_the_keytab_is_used_without_a_reload(kdc, make, tmp_path):
    keytab = tmp_path / "rotated.keytab"
    kdc.administer(f"addprinc -randkey dicom/rotated\nktadd -k {keytab} dicom/rotated")
    service = f"dicom/rotated@{REALM}"
    check = make(keytab=keytab, service=service)
    cache = str(kdc.ticket_cache())
    old, too_old = (Request("gss", service, cache).make() for _ in range(2))
    kdc.administer(f"ktadd -k {keytab} dicom/rotated")
    new = Request("gss", service, str(kdc.ticket_cache())).make()
    assert [check.name(old), check.name(new)] == [f"alice@{REALM}"] * 2
    kdc.administer(f"ktrem -k {keytab} dicom/rotated old")
    denied(check(too_old), "the key was changed")


# Tokens that are not good ---------------------------------------------------------------------------------------------


@forms
def test_a_token_is_good_for_one_use_in_any_form(make, alice, form):
    check = make()
    token = Request(form, SERVICE, alice).make()
    assert check.name(token) == f"alice@{REALM}"
    assert denied(check(token), "Request is a replay (a token is good for one use)").is_security_alert


@framed
def test_a_token_is_not_good_again_without_its_frame(make, alice, form):
    check = make()
    token = Request(form, SERVICE, alice).make()

    raw = token[token.index(b"\x01\x00\x6e") + 2 :]
    assert check.name(token) == f"alice@{REALM}"
    denied(check(raw), "Request is a replay")
    denied(check(init(mechanisms(KERBEROS), der(0xA2, der(0x04, frame(b"\x01\x00", raw))))), "Request is a replay")


def test_a_token_is_not_good_again_with_a_frame_around_it(make, alice):
    check = make()
    token = Request("gss", SERVICE, alice).make()
    assert check.name(ap_req_of(token)) == f"alice@{REALM}"
    denied(check(token), "Request is a replay")


def test_another_back_end_with_the_same_replay_cache_sees_the_use(make, alice):
    token = Request("gss", SERVICE, alice).make()
    assert make().name(token) == f"alice@{REALM}"
    denied(make()(token), "Request is a replay")


@forms
def test_a_token_for_another_service_may_be_for_another_back_end(kdc, make, alice, form):
    for service in (WEB_SERVICE, OTHER_SERVICE):
        found = make()(Request(form, service, alice).make())
        denied(found, f"the ticket is for {service}, expected {SERVICE}", IdentityUnknown)
    other = make(keytab=kdc.other_keytab, service=None)
    assert other.name(Request(form, OTHER_SERVICE, alice).make()) == f"alice@{REALM}"


def test_a_ticket_for_another_service_with_a_younger_key_is_told_by_its_name(kdc, make):
    kdc.administer("addprinc -randkey dicom/younger\n" + "cpw -randkey dicom/younger\n" * 4)
    service = f"dicom/younger@{REALM}"
    found = make()(Request("raw", service, str(kdc.ticket_cache())).make())
    denied(found, f"the ticket is for {service}", IdentityUnknown)


@forms
def test_another_key_for_the_service_and_none_of_its_version(kdc, make, tmp_path, form):
    wrong, newer = tmp_path / "wrong.keytab", tmp_path / "newer.keytab"
    kdc.administer("addprinc -randkey dicom/rekeyed")
    service = f"dicom/rekeyed@{REALM}"
    token = Request(form, service, str(kdc.ticket_cache())).make()
    kdc.administer(f"ktadd -k {newer} dicom/rekeyed")
    denied(make(keytab=newer, service=service)(token), "the key was changed")
    kdc.administer(f"modprinc -kvno 1 dicom/rekeyed\nktadd -k {wrong} -norandkey dicom/rekeyed")
    denied(make(keytab=wrong, service=service)(token), "the KDC has another key for this service than the keytab")


@forms
def test_clocks_that_differ_too_much(kdc, make, form):
    cache = str(kdc.ticket_cache())
    Request(form, SERVICE, cache).make()  # so that the ticket is there, as the KDC has the right time
    assert make().name(kdc.token(Request(form, SERVICE, cache), "+4m")) == f"alice@{REALM}"
    denied(make()(kdc.token(Request(form, SERVICE, cache), "+6m")), "Clock skew too great (compare the clocks")


SHIFTED = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from dimsetls.identity.credentials import KerberosTicket, Secret
from dimsetls.identity.interfaces import Presenter
from dimsetls.identity.kerberos.authenticator import Kerberos

def main(reactor, keytab, cache):
    back_end = Kerberos(name="kerberos test", keytab=Path(keytab), replay_cache=Path(cache), reactor=reactor)
    ticket = KerberosTicket(Secret(sys.stdin.buffer.read()))
    verified = Deferred.fromCoroutine(back_end.verify(ticket, Presenter("192.0.2.1", "A", "B")))
    return verified.addBoth(lambda found: print(getattr(found, "value", found))).addBoth(lambda _: back_end.close())

react(main, sys.argv[1:])
"""


@forms
@pytest.mark.parametrize(("clock", "sentence"), [
    ("+1h", "Ticket expired (the user needs a new one)"), ("-1h", "Ticket not yet valid (compare the clocks"),
])  # fmt: skip
def test_a_ticket_outside_its_term(kdc, tmp_path, form, clock, sentence):
    token = Request(form, SERVICE, str(kdc.ticket_cache("bob", "-l", "5m"))).make()
    command = [sys.executable, "-c", SHIFTED, kdc.service_keytab, tmp_path / "replays"]
    environment = shifted(kdc.environment, clock)
    done = subprocess.run(command, env=environment, input=token, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert sentence in done.stdout.decode()


@forms
def test_a_flipped_bit_anywhere_never_makes_another_user(make, alice, tmp_path, form):
    """What is not encrypted is not believed either: the options, or the service that the ticket calls itself for."""
    check = make()
    token = Request(form, SERVICE, alice).make()
    accepted = []
    for at in range(len(token)):
        (tmp_path / "replays").unlink(missing_ok=True)  # or it would be refused as a replay, whatever the bit
        found = check(token[:at] + bytes((token[at] ^ (1 << at % 8),)) + token[at + 1 :])
        if isinstance(found, Verified):
            assert found.name == f"alice@{REALM}"
            accepted.append(at)
        else:
            assert isinstance(found, IdentityDenied), (at, found)
    in_ticket, in_authenticator = rb"\xa2\x82..\x04\x82..(?P<ticket>.*)", rb"\xa2\x81.\x04\x81.(?P<authenticator>.*)"
    encrypted = re.search(b".*" + in_ticket + rb"\xa4.*" + in_authenticator, token, re.DOTALL)
    assert encrypted is not None
    assert [at for part in ("ticket", "authenticator") for at in accepted if at in range(*encrypted.span(part))] == []
    (tmp_path / "replays").unlink(missing_ok=True)
    assert check.name(token) == f"alice@{REALM}"


@pytest.mark.parametrize(("token", "sentence"), [
    (b"", "no octets"),
    (bytes.fromhex("6e03616263"), "ASN.1"),
    (der(0x60, KERBEROS, "0100", der(0x6E, b"junk")), "is refused"),
    (b"NTLMSSP\0\1\0\0\0", "NTLM"),
    (der(0x61, "3000"), "a bare ticket (61H), which proves nothing"),
    (der(0x76, "3000"), "KRB-CRED (76H)"),
])  # fmt: skip
def test_junk(make, token, sentence):
    denied(make()(token), sentence)


@forms
def test_trailing_octets(make, alice, form):
    denied(make()(Request(form, SERVICE, alice).make() + b"\0"), "1 octets after the")


def test_a_bare_ticket_of_a_real_user(make, alice):
    ap_req = Request("raw", SERVICE, alice).make()
    denied(make()(krb5.ticket_of(ap_req)), "a bare ticket (61H), which proves nothing")


def test_what_needs_more_than_one_step(make, alice):
    import gssapi

    flags = [gssapi.RequirementFlag.dce_style, gssapi.RequirementFlag.mutual_authentication]
    context = gssapi.SecurityContext(
        name=gssapi.Name(SERVICE, gssapi.NameType.kerberos_principal), flags=flags, usage="initiate",
        creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{alice}"}), mech=gssapi.MechType.kerberos,
    )  # fmt: skip
    token = context.step()
    assert token[0] == 0x6E  # DCE style has no frame
    denied(make()(frame(b"\x01\x00", token)), "refused: Invalid token was supplied")


def test_another_credential(make):
    check = make()
    found = check.calls.outcome(check.back_end.verify(Username("alice"), Presenter("", "A", "B")))
    denied(found, "got username, expected a Kerberos token")


# Rules ----------------------------------------------------------------------------------------------------------------


@forms
def test_a_user_of_another_realm_comes_in_only_where_it_is_accepted(kdc, make, form):
    carol = str(kdc.ticket_cache("carol"))
    found = make()(Request(form, SERVICE, carol).make())
    denied(found, f"'carol@OTHER.LOCAL' is of realm 'OTHER.LOCAL', accepted are {REALM}")
    both = make(realms=[REALM, "OTHER.LOCAL"], strip_realms=[REALM])
    assert both.name(Request(form, SERVICE, carol).make()) == "carol@OTHER.LOCAL"


def test_a_realm_may_be_left_out_of_the_name(make, alice):
    found = make(strip_realms=[REALM])(Request("gss", SERVICE, alice).make())
    assert (found.name, found.realm) == ("alice", REALM)


@forms
def test_a_service_is_no_user_unless_allowed(kdc, make, form):
    modality = str(kdc.ticket_cache("ct/modality"))
    denied(make()(Request(form, SERVICE, modality).make()), "'ct/modality@TEST.LOCAL' is a service")
    allowed = make(allow_service_principals=True, strip_realms=[REALM])
    assert allowed.name(Request(form, SERVICE, modality).make()) == "ct/modality"


@pytest.mark.parametrize(("user", "sentence"), [
    (r"strange\@user", "special in Kerberos"), ("spoofed\u200b", "is of no use"), ("x" * 255, "is of no use"),
])  # fmt: skip
def test_strange_principals(kdc, make, tmp_path, user, sentence):
    kdc.administer(f'addprinc -pw x "{user}"\nktadd -norandkey -k {tmp_path}/strange.keytab "{user}"')
    cache = tmp_path / "strange.ccache"
    kdc.run("kinit", "-k", "-t", f"{tmp_path}/strange.keytab", "-c", f"FILE:{cache}", f"{user}@{REALM}")
    check = make(allow_service_principals=True)
    denied(check(Request("raw", SERVICE, str(cache)).make()), sentence)
    denied(check(Request("gss", SERVICE, str(cache)).make()), sentence)


def test_nobody_is_not_a_user(make):
    with pytest.raises(IdentityDenied, match="of nobody"):  # to get such a ticket of a KDC takes PKINIT
        make(allow_service_principals=True).back_end._name(f"WELLKNOWN/ANONYMOUS@{REALM}")


SAME, DIFFERENT, ABSENT = (EXPORTER, bytes(32), None)


@framed
@pytest.mark.parametrize(("policy", "sentences"), [
    (ChannelBinding.NONE, {SAME: None, DIFFERENT: None, ABSENT: None}),
    (ChannelBinding.OPTIONAL, {SAME: None, DIFFERENT: "bound to another connection", ABSENT: None}),
    (ChannelBinding.REQUIRED, {SAME: None, DIFFERENT: "bound to another connection", ABSENT: "not bound to this"}),
])  # fmt: skip
def test_channel_binding(make, alice, form, policy, sentences):
    check = make(channel_binding=policy)
    for binding, sentence in sentences.items():
        found = check(Request(form, SERVICE, alice).make(binding), EXPORTER)
        if sentence is None:
            assert found.name == f"alice@{REALM}"
        else:
            assert denied(found, sentence).is_security_alert == (binding == DIFFERENT)


def test_where_binding_is_required_there_is_no_raw_ap_req_and_no_plain_connection(make, alice):
    check = make(channel_binding=ChannelBinding.REQUIRED)
    found = check(Request("raw", SERVICE, alice).make(EXPORTER), EXPORTER)
    denied(found, "the token has the form ap-req, accepted are gss, spnego as channel binding is required")
    denied(check(Request("gss", SERVICE, alice).make(EXPORTER), None), "there is no TLS")


def test_forms_that_are_not_accepted(make, alice):
    check = make(forms=[Form.AP_REQ])
    assert check.name(Request("raw", SERVICE, alice).make()) == f"alice@{REALM}"
    denied(check(Request("gss", SERVICE, alice).make()), "the token has the form gss, accepted are ap-req")


# This machine ---------------------------------------------------------------------------------------------------------


@forms
def test_a_keytab_that_went_away_says_nothing_of_the_user(kdc, make, alice, tmp_path, form):
    keytab = tmp_path / "copy.keytab"
    keytab.write_bytes(kdc.service_keytab.read_bytes())
    keytab.chmod(0o600)
    check = make(keytab=keytab)
    keytab.write_bytes(kdc.other_keytab.read_bytes())
    denied(check(Request(form, SERVICE, alice).make()), f"{SERVICE} has no key in", IdentityUnavailable)
    keytab.unlink()
    denied(check(Request(form, SERVICE, alice).make()), "cannot be read", IdentityUnavailable)


@forms
def test_a_replay_cache_that_cannot_be_written_says_nothing_of_the_user(make, alice, tmp_path, form):
    (tmp_path / "state").mkdir()
    check = make(replay_cache=tmp_path / "state" / "replays")
    (tmp_path / "state").rmdir()
    denied(check(Request(form, SERVICE, alice).make()), "No such file or directory", IdentityUnavailable)


def problems(**options):
    with pytest.raises(ConfigurationError) as caught:
        Kerberos(name="kerberos test", reactor=Calls(), **options)
    return caught.value.problems


def test_what_is_wrong_is_said_at_once(kdc, tmp_path):
    missing, junk, empty, open_to_all = (tmp_path / name for name in ("missing", "junk", "empty", "open"))
    for path, octets in ((junk, b"no keytab"), (empty, b"\x05\x02"), (open_to_all, kdc.service_keytab.read_bytes())):
        path.write_bytes(octets)
        path.chmod(0o600)
    open_to_all.chmod(0o644)
    assert problems(keytab=missing) == (
        f"keytab: {missing} cannot be read: No such file or directory; expected a keytab that this user may read",)
    assert problems(keytab=tmp_path)[0].startswith(f"keytab: {tmp_path} cannot be read: Is a directory")
    assert problems(keytab=junk)[0].startswith(f"keytab: {junk} is not a keytab (Unsupported key table format version")
    assert problems(keytab=empty) == (f"keytab: {empty} holds no key, expected one at least",)
    assert problems(keytab=open_to_all)[0].startswith(f"keytab: {open_to_all} is open to others (mode 0644)")
    assert problems(keytab=kdc.service_keytab, service="dicom/elsewhere") == (
        f"service: dicom/elsewhere@{REALM} has no key in {kdc.service_keytab}, which holds {SERVICE}, {WEB_SERVICE}; "
        "expected one of these, or a keytab of this service",)
    assert "is no principal" in problems(keytab=kdc.service_keytab, service="dicom/a@B@C")[0]
    assert problems(keytab=kdc.client_keytab)[0].startswith(f"service: {kdc.client_keytab} holds alice@{REALM}, bob")
    assert problems(
        keytab=kdc.service_keytab, replay_cache=tmp_path / "no" / "cache", strip_realms=["ELSEWHERE"],
        channel_binding=ChannelBinding.REQUIRED, forms=[Form.AP_REQ],
    ) == (
        f"replay-cache: {tmp_path}/no is not a directory that can be written to, expected one for cache",
        "forms: ap-req alone cannot be bound to a connection, which channel-binding requires; expected gss, spnego or "
        "both",
        f"strip-realms: ELSEWHERE is none of the accepted realms ({REALM}), expected one of them",
    )  # fmt: skip
    assert "is not a file" in problems(keytab=kdc.service_keytab, replay_cache=tmp_path)[0]


def test_without_gssapi_there_is_the_raw_ap_req(kdc, make, alice, monkeypatch):
    monkeypatch.setitem(sys.modules, "dimsetls.identity.kerberos.gss", None)  # importing it fails
    monkeypatch.delattr("dimsetls.identity.kerberos.gss", raising=False)
    assert problems(keytab=kdc.service_keytab) == (
        "forms: gssapi is not installed: pip install 'dimsetls[kerberos]'; without it only forms = ap-req is possible",)
    assert make(forms=[Form.AP_REQ]).name(Request("raw", SERVICE, alice).make()) == f"alice@{REALM}"


def test_without_libkrb5_there_is_nothing(kdc, monkeypatch):
    monkeypatch.setattr(krb5, "LIBRARY", "libkrb5.so.0")
    krb5._library.cache_clear()
    try:
        (problem,) = problems(keytab=kdc.service_keytab)
    finally:
        krb5._library.cache_clear()
    assert problem.startswith("libkrb5.so.0 cannot be used (")
    assert problem.endswith("expected that of MIT Kerberos 1.18 or later, on Debian libkrb5-3")


def test_thousands_of_tokens_leave_nothing_behind(make, alice, tmp_path):
    check = make()
    check.back_end.trace = lambda sentence: None
    tokens = [Request(form, SERVICE, alice).make() for form in FORMS]
    tokens += [tokens[0][:-1] + b"\0", tokens[1][:-1] + b"\0", Request("raw", WEB_SERVICE, alice).make()]

    def resident_after(times):
        for _ in range(times):
            (tmp_path / "replays").unlink(missing_ok=True)
            found = [check(token) for token in tokens]
            assert [isinstance(each, Verified) for each in found] == [True] * 3 + [False] * 3
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    before = resident_after(150)
    assert resident_after(600) - before < 2 << 20
