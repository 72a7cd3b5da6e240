"""Octets that are a token in one of three forms, and the many that are not. The DER here is written by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimsetls.identity.kerberos.tokens import Form, Malformed, ap_req_of, frame, is_ap_rep, read, ticket_of

from ..negotiation import KERBEROS, MICROSOFT, NEGOEX, NTLM, der, init, mechanisms

AP_REQ = der(0x6E, der(0x30, b"whatever is in it" * 20))
GSS = der(0x60, KERBEROS, "0100", AP_REQ)


MECH_TOKEN = der(0xA2, der(0x04, GSS))


def test_three_forms():
    assert read(AP_REQ).form is Form.AP_REQ
    assert read(GSS).form is Form.GSS
    assert read(init(mechanisms(KERBEROS), MECH_TOKEN)).form is Form.SPNEGO
    assert {read(each).ap_req for each in (AP_REQ, GSS, init(mechanisms(KERBEROS), MECH_TOKEN))} == {AP_REQ}
    assert ap_req_of(GSS) == AP_REQ
    assert frame(b"\x01\x00", AP_REQ) == GSS


@pytest.mark.parametrize("octets", [
    init(mechanisms(MICROSOFT, KERBEROS, NEGOEX, NTLM), MECH_TOKEN),  # as Windows offers
    init(mechanisms(KERBEROS, NTLM), der(0xA1, "0302063c"), MECH_TOKEN),
    init(mechanisms(KERBEROS), MECH_TOKEN, der(0xA3, der(0x04, "00" * 12))),
])  # fmt: skip
def test_spnego_that_prefers_kerberos(octets):
    assert read(octets).octets == GSS


@pytest.mark.parametrize(("octets", "sentence"), [
    (b"", "no octets"),
    (der(0x61, AP_REQ), "a bare ticket"),
    (der(0x76, AP_REQ), "KRB-CRED"),
    (der(0x7E, AP_REQ), "KRB-ERROR"),
    (der(0x6F, AP_REQ), "an AP-REP"),
    (b"NTLMSSP\0\1\0\0\0", "NTLM"),
    (b"YIICegYJKoZIhvcSAQICAQ==", "base64"),
    (b"boICpDCCAqCgAwIBBaED", "base64"),
    (b"<xml/>", "3CH"),
    (AP_REQ + b"\0", "1 octets after the AP-REQ"),
    (GSS + b"\0\0", "2 octets after the GSS-API token"),
    (AP_REQ[:-1], "of which"),
    (AP_REQ[:2], "without a length"),
    (AP_REQ[:1], "without a length"),
    (b"\x6e\x80\0\0", "without a length"),
    (b"\x6e\x85\0\0\0\0\1x", "without a length"),
    (der(0x60, KERBEROS, "0100", AP_REQ, "00"), "1 octets after the AP-REQ in the GSS-API token"),
    (der(0x60, KERBEROS, "0200", der(0x6F, "3000")), "0200H inside"),
    (der(0x60, KERBEROS, "0100", der(0x61, "3000")), "61 in place of 6EH"),
    (der(0x60, KERBEROS), "H inside"),
    (der(0x60, NTLM, "00"), r"1\.3\.6\.1\.4\.1\.311\.2\.2\.10 \(NTLM\)"),
    (der(0x60, "06062b0601050205", "0501"), r"1\.3\.6\.1\.5\.2\.5 \(IAKERB\)"),
    (der(0x60, "0603813403", "00"), r"2\.100\.3,"),
    (der(0x60, "0600", "00"), "without a name"),
    (der(0x60, "0401aa"), "in place of 06H"),
    (der(0xA0, der(0x30, mechanisms(KERBEROS), MECH_TOKEN)), "without the frame"),
    (der(0xA1, der(0x30, "a0030a0100")), "a response of SPNEGO"),
    (init(mechanisms(NTLM, KERBEROS), MECH_TOKEN), "prefers .* expected Kerberos first"),
    (init(mechanisms(KERBEROS)), "nothing in place of A2H"),
    (init(mechanisms(), MECH_TOKEN), "nothing in place of 06H"),
    (init(MECH_TOKEN), "in place of A0H"),
    (init(mechanisms(KERBEROS), der(0xA2, der(0x04))), "nothing in place of 60H"),
    (init(mechanisms(KERBEROS), der(0xA2, der(0x04, AP_REQ))), "6E in place of 60H"),
    (init(mechanisms(KERBEROS), der(0xA2, der(0x04, GSS), "00")), "1 octets after the token in SPNEGO"),
    (init(mechanisms(KERBEROS), MECH_TOKEN, "a400"), "2 octets too many"),
    (init(mechanisms(KERBEROS), MECH_TOKEN) + b"\0", "1 octets after"),
    (init(mechanisms(KERBEROS), der(0xA2, der(0x04, init(mechanisms(KERBEROS), MECH_TOKEN)))), "SPNEGO in SPNEGO"),
])  # fmt: skip
def test_what_is_no_token_is_named(octets, sentence):
    with pytest.raises(Malformed, match=sentence):
        read(octets)


def test_the_answer_has_the_form_of_the_token():
    assert read(AP_REQ).answer(b"answer") == b"answer"
    assert read(GSS).answer(b"answer") == b"answer"
    for preferred in (KERBEROS, MICROSOFT):
        token = read(init(mechanisms(preferred), MECH_TOKEN))
        accepted = der(0xA0, "0a0100"), der(0xA1, preferred)
        assert token.answer(b"") == der(0xA1, der(0x30, *accepted))
        answer = bytes(300)
        assert token.answer(answer) == der(0xA1, der(0x30, *accepted, der(0xA2, der(0x04, answer))))


def test_an_ap_rep_is_one_element():
    assert is_ap_rep(der(0x6F, "3000"))
    assert not any(map(is_ap_rep, (b"", AP_REQ, der(0x6F, "3000") + b"\0", der(0x6F, "3000")[:-1])))


def test_the_ticket_in_an_ap_req():
    ticket = der(0x61, "3000")
    fields = der(0xA0, "020105"), der(0xA1, "02010e"), der(0xA2, "03050000000000")
    assert ticket_of(der(0x6E, der(0x30, *fields, der(0xA3, ticket), der(0xA4, "3000")))) == ticket
    with pytest.raises(Malformed, match="in place of A2H where the ap-options"):
        ticket_of(der(0x6E, der(0x30, *fields[:2], der(0xA3, ticket))))


@given(st.binary(max_size=64), st.sampled_from([AP_REQ, GSS, init(mechanisms(KERBEROS), MECH_TOKEN)]), st.data())
def test_nothing_else_comes_of_any_octets(junk, good, data):
    at = data.draw(st.integers(0, len(good)))
    for octets in (junk, good[:at] + junk, good[:at] + junk + good[at + len(junk) :]):
        with suppress(Malformed):
            assert read(octets).ap_req[0] == 0x6E


def test_no_token_is_shown():
    assert "whatever" not in repr(read(GSS))
