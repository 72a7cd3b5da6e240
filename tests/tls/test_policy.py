from __future__ import annotations

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.tls.policy import BCP195_RFC9325, PROFILES, ClientCertificate, TLSVersion, did_you_mean, profile


def test_the_default_profile_is_b_12_as_rfc_9325_has_it():
    """Typed a second time, as a purchaser would read it."""
    assert next(iter(PROFILES)) == "bcp195-rfc9325"
    policy = profile("bcp195-rfc9325")
    assert (policy.minimum_version, policy.maximum_version) == (TLSVersion.TLS_1_2, TLSVersion.TLS_1_3)
    assert policy.cipher_suites == (
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    )
    assert policy.tls13_cipher_suites == (
        "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"
    )
    assert policy.groups == ("X25519", "P-256", "P-384")
    assert policy.security_level == 2
    assert policy.client_certificate is ClientCertificate.REQUIRED
    assert policy.alpn == b"dicom"


@pytest.mark.parametrize("policy", PROFILES.values(), ids=PROFILES)
def test_no_profile_has_a_static_key_exchange_a_weak_cipher_or_hash(policy):
    for suite in policy.cipher_suites:
        assert suite.startswith(("ECDHE-", "DHE-") if policy.is_legacy else "ECDHE-")
        assert suite.endswith(("-GCM-SHA256", "-GCM-SHA384", "-CHACHA20-POLY1305", "-CCM"))
    for algorithm in policy.signature_algorithms:
        assert "sha1" not in algorithm
        assert "md5" not in algorithm


def test_a_profile_is_found_under_its_name():
    assert {name: profile(name).name for name in PROFILES} == {name: name for name in PROFILES}


def test_an_unknown_profile_leads_to_the_nearest():
    with pytest.raises(ConfigurationError) as caught:
        profile("BCP195-RFC9235")
    assert caught.value.problems == (
        "there is no TLS profile 'BCP195-RFC9235'; did you mean bcp195-rfc9325? (expected one of "
        "bcp195-rfc9325, bcp195-rfc9325-modified, tls13-only, legacy-bcp195-nd)",
    )


def test_the_rule_for_client_certificates_is_a_switch_and_touches_nothing_else():
    relaxed = BCP195_RFC9325.with_client_certificate(ClientCertificate.NONE)
    assert relaxed.client_certificate is ClientCertificate.NONE
    assert relaxed.with_client_certificate(ClientCertificate.REQUIRED) == BCP195_RFC9325


@pytest.mark.parametrize(("word", "sentence"), [
    ("requird", "did you mean required? (expected one of required, none)"),
    ("REQUIRED", "did you mean required? (expected one of required, none)"),
    ("zzz", "expected one of required, none"),
    ("", "expected one of required, none"),
])
def test_did_you_mean(word, sentence):
    assert did_you_mean(word, ("required", "none")) == sentence
