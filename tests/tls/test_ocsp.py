from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.ocsp import StatusRefused, issuer_of, judge, must_staple, request, responder_url
from dimsetls.tls.revocation import Revocation

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def issuing() -> DevelopmentAuthority:
    return DevelopmentAuthority("issuing")


@pytest.fixture
def server(issuing) -> Any:
    return issuing.issue_server()


def refusal(der: bytes, server: Any, issuing: DevelopmentAuthority) -> tuple[str, str]:
    with pytest.raises(StatusRefused) as caught:
        judge(der, server.certificate, issuing.own.certificate, NOW)
    return caught.value.refusal.condition, caught.value.refusal.sentence


def answer(server: Any, issuing: DevelopmentAuthority, **other: Any) -> Any:
    """The beginnings of a response that says good, save for what the test says otherwise."""
    said = {
        "cert": server.certificate, "issuer": issuing.own.certificate, "algorithm": SHA256(),
        "cert_status": ocsp.OCSPCertStatus.GOOD, "this_update": NOW - HOUR, "next_update": NOW + HOUR,
        "revocation_time": None, "revocation_reason": None,
    }
    builder = ocsp.OCSPResponseBuilder().add_response(**said | other)
    return builder.responder_id(ocsp.OCSPResponderEncoding.NAME, issuing.own.certificate)


def signed(builder: Any, issuing: DevelopmentAuthority) -> bytes:
    return builder.sign(issuing.own.private_key, SHA256()).public_bytes(Encoding.DER)


# Judging -------------------------------------------------------------------------------------------------------------


def test_a_good_response_vouches_until_its_next_update(issuing, server):
    der = issuing.ocsp_response(server, next_update=NOW + DAY)
    assert judge(der, server.certificate, issuing.own.certificate, NOW) == NOW + DAY


def test_the_certificate_may_be_named_with_sha_1_which_most_responders_do(issuing, server):
    der = signed(answer(server, issuing, algorithm=SHA1()), issuing)
    assert judge(der, server.certificate, issuing.own.certificate, NOW) == NOW + HOUR


@pytest.mark.parametrize("key", [
    lambda: None, lambda: rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate,
], ids=["ECDSA", "RSA", "Ed25519"])
def test_a_responder_that_the_issuer_certified_may_sign(issuing, server, key):
    responder = issuing.issue_responder(private_key=key())
    der = issuing.ocsp_response(server, responder=responder, next_update=NOW + DAY)
    now = datetime.now(UTC)  # NOW may be older than the responder's certificate by the time this test runs
    assert judge(der, server.certificate, issuing.own.certificate, now) == NOW + DAY


@pytest.mark.parametrize("responder", [
    lambda issuing: issuing.issue_server(),  # not certified for it
    lambda issuing: issuing.issue_responder(not_after=NOW - DAY),
    lambda issuing: issuing.issue_responder(not_before=NOW + DAY),
    lambda issuing: DevelopmentAuthority("issuing").issue_responder(),  # a namesake
], ids=["no OCSPSigning", "expired", "not yet valid", "of another authority"])
def test_nobody_else_may_sign(issuing, server, responder):
    der = issuing.ocsp_response(server, responder=responder(issuing))
    condition, sentence = refusal(der, server, issuing)
    assert condition == "bad-certificate-status"
    assert "this one is signed by neither" in sentence


def test_a_response_signed_by_a_namesake_of_the_issuer_is_refused(issuing, server):
    impostor = DevelopmentAuthority("issuing")
    forged = answer(server, impostor)
    assert "signed by neither" in refusal(signed(forged, impostor), server, issuing)[1]


def test_an_altered_response_is_refused(issuing, server):
    der = bytearray(issuing.ocsp_response(server))
    der[-1] ^= 1
    assert "signed by neither" in refusal(bytes(der), server, issuing)[1]


def test_a_response_for_another_certificate_is_refused(issuing, server):
    der = issuing.ocsp_response(issuing.issue_server())
    condition, sentence = refusal(der, server, issuing)
    assert condition == "bad-certificate-status"
    assert f"serial number {server.certificate.serial_number:X}, this one is for another" in sentence


@pytest.mark.parametrize(("said", "condition", "why"), [
    ({"this_update": NOW - 2 * DAY, "next_update": NOW - DAY}, "certificate-status-stale", "is current, this one"),
    ({"next_update": NOW}, "certificate-status-stale", "is current, this one"),
    ({"this_update": NOW + HOUR, "next_update": NOW + DAY}, "certificate-status-stale", "is current, this one"),
    ({"next_update": None}, "certificate-status-stale", "says when it goes stale"),
    ({"cert_status": ocsp.OCSPCertStatus.UNKNOWN}, "bad-certificate-status", "does not know the certificate"),
    ({"cert_status": ocsp.OCSPCertStatus.REVOKED, "revocation_time": NOW - DAY}, "certificate-revoked",
     f"revoked it on {NOW - DAY:%Y-%m-%d %H:%M} UTC"),
    ({"cert_status": ocsp.OCSPCertStatus.REVOKED, "revocation_time": NOW - 3 * DAY, "this_update": NOW - 2 * DAY,
      "next_update": NOW - DAY}, "certificate-revoked", "revoked it on"),
], ids=["stale", "just stale", "not yet valid", "without an end", "unknown", "revoked", "revoked and stale"])
def test_what_the_response_says(issuing, server, said, condition, why):
    found, sentence = refusal(signed(answer(server, issuing, **said), issuing), server, issuing)
    assert found == condition
    assert why in sentence


def test_the_responder_s_clock_may_be_a_little_ahead(issuing, server):
    der = signed(answer(server, issuing, this_update=NOW + timedelta(minutes=4)), issuing)
    assert judge(der, server.certificate, issuing.own.certificate, NOW) == NOW + HOUR


@pytest.mark.parametrize("der", [b"\x00", b"junk", b"\x30\x00", b"\x30" + b"\xff" * 64], ids=repr)
def test_what_is_no_response_is_refused(issuing, server, der):
    assert refusal(der, server, issuing)[0] == "bad-certificate-status"


def test_every_truncation_of_a_response_is_refused(issuing, server):
    der = issuing.ocsp_response(server, responder=issuing.issue_responder())
    for length in range(1, len(der), 7):
        assert refusal(der[:length], server, issuing)[0] == "bad-certificate-status"


def test_a_responder_s_refusal_is_told(issuing, server):
    der = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
    assert "the responder answered try later" in refusal(der, server, issuing)[1]


# Certificates --------------------------------------------------------------------------------------------------------


def test_what_a_certificate_says_of_its_status(issuing, server):
    special = issuing.issue_server(ocsp_url="http://ocsp.example/", must_staple=True).certificate
    assert (responder_url(special), must_staple(special)) == ("http://ocsp.example/", True)
    assert (responder_url(server.certificate), must_staple(server.certificate)) == (None, False)


def test_the_issuer_is_found_by_its_signature_and_not_by_its_name(issuing, server):
    namesake = DevelopmentAuthority("issuing").own.certificate
    assert issuer_of(server.certificate, [namesake, issuing.own.certificate]) == issuing.own.certificate
    assert issuer_of(server.certificate, [namesake]) is None


def test_the_request_asks_for_the_certificate(issuing, server):
    asked = ocsp.load_der_ocsp_request(request(server.certificate, issuing.own.certificate))
    assert asked.serial_number == server.certificate.serial_number


# Handshakes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def meet(policy, issuing, link_between) -> Callable[..., Any]:
    """A handshake in which the server staples what the test gives; None: it staples nothing at all."""
    def handshake(server: Any, response: bytes | None, *, required: bool = False) -> Any:
        stapled = None if response is None else {server.certificate: lambda: response}
        acceptor = ServerConnectionCreator(policy, server.material, issuing.trust_roots, stapled=stapled)
        requestor = ClientConnectionCreator(
            policy, issuing.trust_roots, issuing.issue_client().material, server_name="localhost",
            revocation=Revocation(require_stapled=required),
        )
        return link_between(acceptor, requestor).pump()

    return handshake


def faults(wire: Any) -> list[tuple[int, str]]:
    return [(user.fault.reason, user.fault.name) for user in (wire.client_user, wire.server_user)]


def succeeded(wire: Any) -> bool:
    return wire.client_user.session is not None and wire.client_user.reason is wire.server_user.reason is None


def test_a_good_response_is_stapled_and_accepted(meet, issuing, server):
    assert succeeded(meet(server, issuing.ocsp_response(server), required=True))
    staple = issuing.issue_server(must_staple=True)
    assert succeeded(meet(staple, issuing.ocsp_response(staple)))


def test_none_is_accepted_unless_one_is_demanded(meet, issuing, server):
    assert succeeded(meet(server, None))
    assert succeeded(meet(server, b""))
    missing = [(0x271, "certificate-status-missing"), (0x371, "peer-bad-certificate-status")]
    for wire in (
        meet(server, None, required=True), meet(server, b"", required=True),
        meet(issuing.issue_server(must_staple=True), b""),
    ):
        assert faults(wire) == missing
        assert wire.client_user.fault.alert == 113


def test_a_revoked_server_is_refused(meet, issuing, server):
    issuing.revoke(server)
    wire = meet(server, issuing.ocsp_response(server))
    assert faults(wire) == [(0x22C, "certificate-revoked"), (0x371, "peer-bad-certificate-status")]
    assert wire.client_user.fault.alert == 113  # all that OpenSSL lets a client send over a stapled response
    assert "its authority revoked it on" in wire.client_user.fault.detail


@pytest.mark.parametrize(("respond", "name"), [
    (lambda issuing, server: issuing.ocsp_response(server, next_update=NOW - DAY), "certificate-status-stale"),
    (lambda issuing, server: issuing.ocsp_response(server, responder=issuing.issue_server()), "bad-certificate-status"),
], ids=["stale", "forged"])  # what OpenSSL cannot read, its newer versions do not staple
def test_a_bad_response_is_worse_than_none(meet, issuing, server, respond, name):
    wire = meet(server, respond(issuing, server))
    assert faults(wire) == [(0x271, name), (0x371, "peer-bad-certificate-status")]


def test_a_chain_is_judged_by_the_issuer_of_its_leaf(policy, link_between):
    root = DevelopmentAuthority("root", path_length=1)
    issuing = DevelopmentAuthority("issuing", issuer=root)
    server, roots = issuing.issue_server(), root.trust_roots
    for signer, good in ((issuing, True), (root, False)):
        response = signer.ocsp_response(server)
        acceptor = ServerConnectionCreator(
            policy, server.material, roots, stapled={server.certificate: lambda response=response: response}
        )
        requestor = ClientConnectionCreator(policy, roots, root.issue_client().material, server_name="localhost")
        assert succeeded(link_between(acceptor, requestor).pump()) is good


def test_the_response_is_looked_up_at_each_handshake(policy, issuing, server, link_between):
    """One context, used again and again, staples what is current."""
    stale = issuing.ocsp_response(server, next_update=NOW - DAY)
    responses = iter([issuing.ocsp_response(server), stale, issuing.ocsp_response(server)])
    acceptor = ServerConnectionCreator(
        policy, server.material, issuing.trust_roots, stapled={server.certificate: lambda: next(responses)}
    )
    requestor = ClientConnectionCreator(
        policy, issuing.trust_roots, issuing.issue_client().material, server_name="localhost"
    )
    assert [succeeded(link_between(acceptor, requestor).pump()) for _ in range(3)] == [True, False, True]


def test_each_of_several_certificates_has_its_own_response(policy, issuing, server, link_between):
    archive = issuing.issue_server(names=["archive.example"], must_staple=True)
    acceptor = ServerConnectionCreator(
        policy, server.material, issuing.trust_roots, named=[archive.material],
        stapled={each.certificate: lambda each=each: issuing.ocsp_response(each) for each in (server, archive)},
    )
    for name in ("localhost", "archive.example"):
        requestor = ClientConnectionCreator(
            policy, issuing.trust_roots, issuing.issue_client().material, server_name=name,
            revocation=Revocation(require_stapled=True),
        )
        assert succeeded(link_between(acceptor, requestor).pump())


def test_a_certificate_that_demands_stapling_needs_a_source(policy, issuing):
    material = issuing.issue_server(must_staple=True).material
    with pytest.raises(ConfigurationError, match="demands a stapled OCSP response"):
        ServerConnectionCreator(policy, material, issuing.trust_roots)


def test_a_name_that_does_not_match_comes_before_the_status(policy, issuing, link_between):
    server = issuing.issue_server(names=["other.example"])
    stale = issuing.ocsp_response(server, next_update=NOW - DAY)
    acceptor = ServerConnectionCreator(
        policy, server.material, issuing.trust_roots, stapled={server.certificate: lambda: stale}
    )
    requestor = ClientConnectionCreator(policy, issuing.trust_roots, server_name="localhost")
    assert link_between(acceptor, requestor).pump().client_user.fault.name == "certificate-name-mismatch"
