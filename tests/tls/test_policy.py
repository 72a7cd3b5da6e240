from __future__ import annotations

from dataclasses import replace

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


def test_the_other_profiles_differ_from_the_default_as_their_names_say():
    default, modified, only_13, legacy = PROFILES.values()
    assert modified.cipher_suites == (*default.cipher_suites, "ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES128-CCM")
    assert modified.tls13_cipher_suites == (*default.tls13_cipher_suites, "TLS_AES_128_CCM_SHA256")
    assert (only_13.minimum_version, only_13.cipher_suites) == (TLSVersion.TLS_1_3, ())
    assert (only_13.tls13_cipher_suites, only_13.groups) == (default.tls13_cipher_suites, default.groups)
    assert legacy.cipher_suites == (
        *default.cipher_suites, "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"
    )
    for policy in (modified, only_13, legacy):
        assert policy.signature_algorithms == default.signature_algorithms
        assert policy.client_certificate is ClientCertificate.REQUIRED
        assert policy.security_level == 2


def test_only_a_legacy_profile_says_so():
    assert [policy.name for policy in PROFILES.values() if policy.is_legacy] == ["legacy-bcp195-nd"]


def test_what_openssl_does_not_have_is_said_and_not_offered():
    said = {name: " ".join(policy.cannot) for name, policy in PROFILES.items()}
    assert "CCM_8" in said["bcp195-rfc9325-modified"]
    assert "Camellia-GCM" in said["bcp195-rfc9325-modified"]
    assert said["bcp195-rfc9325"] == said["tls13-only"] == ""
    for policy in PROFILES.values():
        assert not any("CCM8" in suite or "CAMELLIA" in suite for suite in policy.cipher_suites)


def test_a_policy_is_narrowed_to_what_is_given_in_that_order():
    narrow = BCP195_RFC9325.narrow(
        cipher_suites=["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
        groups=["P-384", "P-256"],
    )
    assert narrow.cipher_suites == ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384")
    assert narrow.groups == ("P-384", "P-256")
    assert replace(narrow, cipher_suites=BCP195_RFC9325.cipher_suites, groups=BCP195_RFC9325.groups) == BCP195_RFC9325
    assert BCP195_RFC9325.narrow() == BCP195_RFC9325


def test_a_version_left_out_takes_its_suites_with_it():
    assert BCP195_RFC9325.narrow(minimum_version=TLSVersion.TLS_1_3).cipher_suites == ()
    only_12 = BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2)
    assert (only_12.tls13_cipher_suites, only_12.cipher_suites) == ((), BCP195_RFC9325.cipher_suites)


@pytest.mark.parametrize(("policy", "narrower", "expected"), [
    (BCP195_RFC9325, {"groups": ["P-512"]},
     ["groups: 'P-512' is not in the TLS profile bcp195-rfc9325, which can be narrowed and not widened; did you mean "
      "P-256? (expected one of X25519, P-256, P-384)"]),
    (BCP195_RFC9325, {"cipher_suites": ["AES128-SHA"], "tls13_cipher_suites": ["TLS_AES_128_CCM_SHA256"]},
     ["cipher_suites: 'AES128-SHA' is not in the TLS profile bcp195-rfc9325, which can be narrowed and not widened; ",
      "tls13_cipher_suites: 'TLS_AES_128_CCM_SHA256' is not in the TLS profile bcp195-rfc9325, which can be narrowed "
      "and not widened; did you mean TLS_AES_128_GCM_SHA256?"]),
    (PROFILES["tls13-only"], {"minimum_version": TLSVersion.TLS_1_2},
     ["minimum_version: TLS 1.2 is below that of the TLS profile tls13-only; expected TLS 1.3 or above"]),
    (PROFILES["tls13-only"], {"cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256"]},
     ["cipher_suites: 'ECDHE-RSA-AES128-GCM-SHA256' is not in the TLS profile tls13-only, which can be narrowed and "
      "not widened; expected none, as it has none"]),
    (BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2), {"maximum_version": TLSVersion.TLS_1_3},
     ["maximum_version: TLS 1.3 is above that of the TLS profile bcp195-rfc9325; expected TLS 1.2 or below"]),
    (BCP195_RFC9325, {"minimum_version": TLSVersion.TLS_1_3, "maximum_version": TLSVersion.TLS_1_2},
     ["minimum_version: TLS 1.3 as the least and TLS 1.2 as the highest version leave none; expected a range"]),
    (PROFILES["tls13-only"], {"maximum_version": TLSVersion.TLS_1_2},
     ["maximum_version: TLS 1.3 as the least and TLS 1.2 as the highest version leave none; expected a range"]),
    (BCP195_RFC9325, {"minimum_version": TLSVersion.TLS_1_3, "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256"]},
     ["cipher_suites: ECDHE-RSA-AES128-GCM-SHA256 cannot be used, as TLS 1.2 is left out by the versions; expected "
      "the one or the other"]),
])
def test_a_policy_is_never_widened_and_never_emptied(policy, narrower, expected):
    with pytest.raises(ConfigurationError) as caught:
        policy.narrow(**narrower)
    for problem, beginning in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith(beginning)


def test_versions_are_written_as_people_write_them():
    assert [str(version) for version in TLSVersion] == ["TLS 1.2", "TLS 1.3"]
