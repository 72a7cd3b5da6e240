from __future__ import annotations

import copy
import pickle
import sys
import unicodedata

import pytest

from dimsetls.errors import IdentityDenied
from dimsetls.identity import credentials
from dimsetls.identity.credentials import (
    AccessToken,
    Caps,
    CertificateAlone,
    JSONWebToken,
    KerberosTicket,
    Method,
    Presented,
    SAMLAssertion,
    Secret,
    Username,
    UsernameAndPasscode,
    read_identity,
    read_username,
    write_identity,
)
from dimsetls.ul.pdus import UserIdentityRQ

CAPS = Caps()
HIDDEN = b"xyzzy-plugh"
SECRET = [
    UsernameAndPasscode("alice", Secret(HIDDEN)), KerberosTicket(Secret(HIDDEN)), SAMLAssertion(Secret(HIDDEN)),
    JSONWebToken(Secret(HIDDEN)), AccessToken(Secret(HIDDEN)),
]  # fmt: skip


def refusal(item, caps=CAPS):
    with pytest.raises(IdentityDenied) as caught:
        read_identity(item, caps)
    assert not caught.value.is_security_alert
    return str(caught.value)


# Secrets --------------------------------------------------------------------------------------------------------------


def texts(value):
    return [repr(value), str(value), f"{value}", f"{value!r:>40}", ascii(value), str([value])]


@pytest.mark.parametrize("value", [Secret(HIDDEN), *SECRET, *(Presented(each) for each in SECRET),
                                   Presented(None, False, SECRET[-1])])
def test_no_text_of_any_object_shows_a_secret(value):
    assert all("xyzzy" not in text and HIDDEN.hex() not in text for text in texts(value))


@pytest.mark.parametrize("value", [Secret(HIDDEN), *SECRET])
@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_neither_pickled_nor_copied(value, make):
    if make is copy.copy and not isinstance(value, Secret):
        assert texts(make(value)) == texts(value)  # a shallow copy holds the same secret, and no second one
        return
    with pytest.raises(TypeError, match="a secret is not to be pickled or copied"):
        make(value)


def test_a_secret_is_equal_to_the_same_octets_and_has_no_hash():
    assert Secret(HIDDEN) == Secret(HIDDEN)
    assert Secret(HIDDEN) != Secret(HIDDEN[:-1])
    assert Secret(HIDDEN) != HIDDEN
    with pytest.raises(TypeError):
        hash(Secret(HIDDEN))
    with pytest.raises(TypeError):
        hash(SECRET[0])


def test_what_is_wiped_is_overwritten_and_gone():
    secret = Secret(HIDDEN)
    held = secret._octets
    assert (secret.reveal(), len(secret)) == (HIDDEN, 11)
    secret.wipe()
    assert (secret.reveal(), len(secret), bytes(held)) == (b"", 0, b"")
    secret.wipe()


def test_wiping_overwrites_before_it_lets_go():
    class Watched(bytearray):
        def clear(self):
            seen.append(bytes(self))
            super().clear()

    seen: list[bytes] = []
    secret = Secret(b"")
    secret._octets = Watched(HIDDEN)
    secret.wipe()
    assert seen == [bytes(11)]


@pytest.mark.parametrize("make", [
    lambda secret: Presented(UsernameAndPasscode("alice", secret)), lambda secret: Presented(KerberosTicket(secret)),
    lambda secret: Presented(Username("alice"), False, AccessToken(secret)),
])
def test_what_was_presented_is_wiped(make):
    secret = Secret(HIDDEN)
    make(secret).wipe()
    assert secret.reveal() == b""


def test_what_has_no_secret_can_be_wiped_too():
    Presented(CertificateAlone()).wipe()
    Presented().wipe()


# 58H ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("item", "credential"), [
    (UserIdentityRQ(1, True, b"alice"), Username("alice")),
    (UserIdentityRQ(2, False, b"alice", HIDDEN), UsernameAndPasscode("alice", Secret(HIDDEN))),
    (UserIdentityRQ(3, True, HIDDEN), KerberosTicket(Secret(HIDDEN))),
    (UserIdentityRQ(4, True, HIDDEN), SAMLAssertion(Secret(HIDDEN))),
    (UserIdentityRQ(5, False, HIDDEN), JSONWebToken(Secret(HIDDEN))),
])
def test_each_type_is_read_and_written(item, credential):
    assert read_identity(item, CAPS) == credential
    assert write_identity(credential, item.positive_response_requested) == item


@pytest.mark.parametrize("credential", [AccessToken(Secret(HIDDEN)), CertificateAlone()])
def test_what_the_standard_has_no_type_for_is_not_written(credential):
    with pytest.raises(ValueError, match="has no sub-item 58H of its own"):
        write_identity(credential, False)


@pytest.mark.parametrize("kind", [0, 6, 254, 255])
def test_an_unknown_type_is_refused(kind):
    assert refusal(UserIdentityRQ(kind, False, b"x")) == f"user identity type {kind} came, PS3.7 knows 1 to 5"


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 6])
def test_a_secondary_field_is_refused_but_with_type_2(kind):
    sentence = refusal(UserIdentityRQ(kind, False, b"x", HIDDEN))
    assert sentence == f"a secondary field came with user identity type {kind}, only type 2 has one"


@pytest.mark.parametrize(("kind", "method"), [(1, "username"), (2, "username"), (3, "kerberos"), (4, "saml"),
                                              (5, "jwt")])
def test_a_field_is_neither_empty_nor_longer_than_its_cap(kind, method):
    caps = Caps(**{method: 5})
    secondary = b"secret" if kind == 2 else b""
    read_identity(UserIdentityRQ(kind, False, b"x" * 5, secondary), caps)
    for size in (0, 6, 65000):
        sentence = refusal(UserIdentityRQ(kind, False, b"x" * size, secondary), caps)
        assert sentence == f"the {method} field has {size} octets, expected 1 to 5"


@pytest.mark.parametrize("size", [0, 1025])
def test_a_passcode_is_neither_empty_nor_longer_than_its_cap(size):
    sentence = refusal(UserIdentityRQ(2, False, b"alice", b"x" * size))
    assert sentence == f"the passcode field has {size} octets, expected 1 to 1024"


def test_a_passcode_is_octets_of_any_kind():
    credential = read_identity(UserIdentityRQ(2, False, b"alice", b"\xff\x00\n"), CAPS)
    assert isinstance(credential, UsernameAndPasscode)
    assert credential.passcode.reveal() == b"\xff\x00\n"


# User names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "Alice Example", "alice:x", "DOMAIN\\alice", "a@b", "Ü", "山", "*)("])
def test_names_stay_as_they_are(name):
    assert read_username(name.encode(), CAPS) == name


def test_a_name_is_in_nfc():
    assert read_username("u\u0308".encode(), CAPS) == "ü"


@pytest.mark.parametrize("octets", [
    b"al\0ice", b"alice\n", b"\talice", b"\x7f", "alice\u200b".encode(), "\u202ealice".encode(), "\ufeffalice".encode(),
    "\u2028".encode(), "\ue000".encode(), "\U000e0041".encode(), "\uffff".encode(), b" alice", b"alice ",
    "alice\u00a0".encode(), b" ",
])
def test_a_name_that_could_pass_for_another_is_refused(octets):
    with pytest.raises(IdentityDenied, match=r"^the user name has control, format or unassigned characters, or spaces"):
        read_username(octets, CAPS)


def test_python_calls_nothing_printable_that_is_not_seen():
    printable = (character for character in map(chr, range(sys.maxunicode + 1)) if character.isprintable())
    assert not {unicodedata.category(character) for character in printable} & credentials._UNSEEN


@pytest.mark.parametrize("octets", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", "ü".encode("latin-1")])
def test_a_name_that_is_not_utf_8_is_refused_without_being_shown(octets):
    with pytest.raises(IdentityDenied) as caught:
        read_username(octets, CAPS)
    assert str(caught.value) == "the user name is not UTF-8"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_presented_method_has_a_cap():
    for method in Method:
        if method is not Method.CERTIFICATE:
            CAPS.judge(method, 1)
