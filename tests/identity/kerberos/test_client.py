"""Our own tokens, judged by our back end; and answers, which only the service that holds the key can give."""

from __future__ import annotations

import re
import sys

import pytest

from dimsetls.errors import ConfigurationError, IdentityDenied, IdentityUnavailable
from dimsetls.identity.credentials import KerberosTicket
from dimsetls.identity.interfaces import Presenter
from dimsetls.identity.kerberos.authenticator import ChannelBinding, Kerberos
from dimsetls.identity.kerberos.client import KerberosUser
from dimsetls.identity.kerberos.tokens import Form, ap_req_of, frame

from ...servers.kdc import KDC, REALM, SERVICE
from ..negotiation import KERBEROS, der
from ..stage import Calls

EXPORTER = bytes(range(32))
forms = pytest.mark.parametrize("form", Form)


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    with KDC(tmp_path_factory.mktemp("kdc") / "kdc") as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_CONFIG", str(running.config))
        patch.setenv("KRB5CCNAME", f"FILE:{running.directory}/none.ccache")
        yield running


@pytest.fixture(scope="module")
def alice(kdc):
    return kdc.ticket_cache()


@pytest.fixture
def accept(kdc, tmp_path):
    """What our back end finds of a token."""
    calls, made = Calls(), []

    def accept(token, exporter=None, **options):
        made.append(Kerberos(name="kerberos test", keytab=kdc.service_keytab, replay_cache=tmp_path / "replays",
                             reactor=calls, **options))
        presenter = Presenter("192.0.2.1", "A", "B", None, exporter)
        found = calls.outcome(made[-1].verify(KerberosTicket(token), presenter))
        if isinstance(found, Exception):
            raise found
        return found

    yield accept
    for back_end in made:
        back_end.close()


@forms
@pytest.mark.parametrize("service", [SERVICE, "dicom/localhost"])
def test_the_answer_in_each_form_is_verified(accept, alice, form, service):
    exchange = KerberosUser(service, credential_cache=alice, form=form).exchange()
    found = accept(exchange.token())
    assert found.name == f"alice@{REALM}"
    exchange.verify_response(found.server_response)


@forms
def test_a_client_keytab_is_as_good_as_a_ticket(kdc, accept, form):
    user = KerberosUser(SERVICE, client_keytab=kdc.client_keytab, principal=f"bob@{REALM}", form=form)
    for _ in range(2):  # the second with the same ticket and another authenticator
        exchange = user.exchange()
        found = accept(exchange.token())
        assert found.name == f"bob@{REALM}"
        exchange.verify_response(found.server_response)


@pytest.mark.parametrize("form", [Form.GSS, Form.SPNEGO])
def test_a_token_is_bound_to_the_connection(accept, alice, form):
    required = {"channel_binding": ChannelBinding.REQUIRED}
    user = KerberosUser(SERVICE, credential_cache=alice, form=form)
    exchange = user.exchange(EXPORTER)
    exchange.verify_response(accept(exchange.token(), EXPORTER, **required).server_response)
    with pytest.raises(IdentityDenied, match="not bound to this connection"):
        accept(user.exchange().token(), EXPORTER, **required)
    with pytest.raises(IdentityDenied, match="bound to another connection"):
        accept(user.exchange(EXPORTER).token(), bytes(32), **required)


WORTHLESS = {
    "nothing": lambda token, good, other: b"",
    "an echo": lambda token, good, other: token,
    "junk": lambda token, good, other: b"junk",
    "a hollow AP-REP": lambda token, good, other: b"\x6f\x02\x30\x00",
    "a hollow AP-REP in a frame": lambda token, good, other: frame(b"\x02\x00", b"\x6f\x02\x30\x00"),
    "yes without AP-REP": lambda token, good, other: der(0xA1, der(0x30, der(0xA0, "0a0100"), der(0xA1, KERBEROS))),
    "cut short": lambda token, good, other: good[:-1],
    "altered": lambda token, good, other: good[:-1] + bytes((good[-1] ^ 1,)),
    "of another token": lambda token, good, other: other,
}


@forms
@pytest.mark.parametrize("answer", WORTHLESS.values(), ids=WORTHLESS)
def test_an_answer_that_proves_nothing(accept, alice, form, answer):
    user = KerberosUser(SERVICE, credential_cache=alice, form=form)
    exchange, another = user.exchange(), user.exchange()
    token = exchange.token()
    good, other = (accept(each).server_response for each in (token, another.token()))
    with pytest.raises(IdentityDenied, match=SERVICE):
        exchange.verify_response(answer(token.reveal(), good, other))


@forms
def test_an_answer_counts_once(accept, alice, form):
    exchange = KerberosUser(SERVICE, credential_cache=alice, form=form).exchange()
    answer = accept(exchange.token()).server_response
    exchange.verify_response(answer)
    with pytest.raises(IdentityDenied, match="no token that waits for an answer"):
        exchange.verify_response(answer)


def test_without_mutual_authentication_nothing_is_proven(accept, alice):
    exchange = KerberosUser(SERVICE, credential_cache=alice, mutual=False).exchange()
    answer = accept(exchange.token()).server_response
    assert answer == b""
    with pytest.raises(IdentityDenied, match="mutual authentication is off"):
        exchange.verify_response(answer)


def test_no_token_is_shown(alice):
    exchange = KerberosUser(SERVICE, credential_cache=alice).exchange()
    token = exchange.token()
    assert repr(token) == "<secret>"
    assert ap_req_of(token.reveal())[:1] == b"n"
    assert "object at" in repr(exchange)


def test_no_ticket(kdc, alice, tmp_path):
    for user in (
        KerberosUser(SERVICE), KerberosUser(SERVICE, credential_cache=tmp_path / "none"),
        KerberosUser(f"dicom/nobody.invalid@{REALM}", credential_cache=alice),
        KerberosUser(SERVICE, client_keytab=kdc.client_keytab, principal=f"mallory@{REALM}"),
    ):  # fmt: skip
        with pytest.raises(IdentityUnavailable, match=rf"there is no Kerberos ticket for {user.service}: \w"):
            user.exchange().token()


def test_no_kdc(tmp_path, alice, kdc, monkeypatch):
    config = tmp_path / "krb5.conf"
    config.write_text(re.sub(r":\d+", ":1", kdc.config.read_text()))  # a port on which nobody listens
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    with pytest.raises(IdentityUnavailable, match=r"Cannot contact any KDC"):
        KerberosUser(f"dicom/other.invalid@{REALM}", credential_cache=alice).exchange().token()


def test_what_is_wrong_is_said_at_once(kdc, alice, tmp_path, monkeypatch):
    def problems(*arguments, **options):
        with pytest.raises(ConfigurationError) as caught:
            KerberosUser(*arguments, **options)
        return caught.value.problems

    missing = tmp_path / "missing"
    assert problems("pacs", client_keytab=missing, credential_cache=alice) == (
        "service: 'pacs' names no host, expected such as dicom/pacs.example.org",
        f"client-keytab: {missing} cannot be read: No such file or directory; expected a keytab that this user may "
        "read",
        "client-keytab: credential-cache is given as well, expected one of the two",
    )
    monkeypatch.setitem(sys.modules, "dimsetls.identity.kerberos.gss", None)
    monkeypatch.delattr("dimsetls.identity.kerberos.gss", raising=False)
    assert problems(SERVICE) == ("gssapi is not installed: pip install 'dimsetls[kerberos]'",)
