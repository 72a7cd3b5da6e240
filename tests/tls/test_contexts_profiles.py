"""The profiles beside the default one, in real handshakes with peers that have little else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from dimsetls.tls.bindings import CAN_RESTRICT_GROUPS, restrict_groups
from dimsetls.tls.contexts import ServerConnectionCreator
from dimsetls.tls.policy import BCP195_RFC9325, PROFILES, TLSVersion

MODIFIED, LEGACY, ONLY_13 = (
    PROFILES[name] for name in ("bcp195-rfc9325-modified", "legacy-bcp195-nd", "tls13-only")
)


def peer(issued: Any, *more: Callable[[SSL.Context], object]) -> Callable[[SSL.Context], object]:
    """A raw client with a certificate; a key on a curve would not do for one that has no curves."""
    def configure(context: SSL.Context) -> None:
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.private_key)
        for each in more:
            each(context)

    return configure


def only_1_2(suite: str) -> Callable[[SSL.Context], object]:
    def configure(context: SSL.Context) -> None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(suite.encode())

    return configure


@pytest.fixture(scope="module")
def with_rsa(authority: Any) -> Any:
    return authority.issue_server(private_key=rsa.generate_private_key(65537, 2048))


@pytest.mark.parametrize("suite", ["DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"])
@pytest.mark.parametrize("more", [
    [], pytest.param([lambda context: restrict_groups(context, ["X25519"])],
                     marks=pytest.mark.skipif(not CAN_RESTRICT_GROUPS, reason="cannot restrict groups")),
], ids=["names finite fields", "names none"])
def test_a_peer_that_has_only_dhe_is_served_by_the_legacy_profile_alone(link, with_rsa, suite, more):
    client = peer(with_rsa, only_1_2(suite), *more)
    served = link(server=with_rsa, server_policy=LEGACY, raw_client=client).pump()
    assert served.server_user.session.cipher_suite == suite
    for policy in (BCP195_RFC9325, MODIFIED):
        refused = link(server=with_rsa, server_policy=policy, raw_client=client).pump()
        assert refused.server_user.fault.name == "no-shared-cipher"


def test_our_client_calls_a_server_that_has_only_dhe_with_the_legacy_profile(link, link_between, authority, with_rsa):
    only_dhe = LEGACY.narrow(maximum_version=TLSVersion.TLS_1_2, cipher_suites=["DHE-RSA-AES256-GCM-SHA384"])
    server = ServerConnectionCreator(only_dhe, with_rsa.material, authority.trust_roots)
    served = link_between(server, link(LEGACY, client=with_rsa).client_creator).pump()
    assert served.client_user.session.cipher_suite == "DHE-RSA-AES256-GCM-SHA384"
    assert link_between(server, link().client_creator).pump().client_user.fault.name == "peer-handshake-failure"


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES128-CCM"])
def test_the_modified_profile_has_ccm(link, authority, suite):
    client = peer(authority.issue_client(), only_1_2(suite))
    assert link(server_policy=MODIFIED, raw_client=client).pump().server_user.session.cipher_suite == suite
    assert link(raw_client=client).pump().server_user.session is None


def test_the_modified_profile_has_ccm_in_tls_1_3(link):
    ccm = MODIFIED.narrow(tls13_cipher_suites=["TLS_AES_128_CCM_SHA256"])
    assert link(ccm, server_policy=MODIFIED).pump().server_user.session.cipher_suite == "TLS_AES_128_CCM_SHA256"


def test_tls_1_3_only_refuses_tls_1_2_on_either_side(link):
    only_12 = BCP195_RFC9325.narrow(maximum_version=TLSVersion.TLS_1_2)
    assert link(ONLY_13, server_policy=ONLY_13).pump().server_user.session.version == "TLSv1.3"
    refused = link(only_12, server_policy=ONLY_13).pump()
    assert (refused.server_user.fault.name, refused.client_user.fault.name) == (
        "protocol-version", "peer-protocol-version"
    )
    refused = link(ONLY_13, server_policy=only_12).pump()
    assert refused.client_user.fault.name == "peer-protocol-version"


def test_what_a_profile_asks_for_in_vain_is_said_by_the_creator(authority):
    creator = ServerConnectionCreator(MODIFIED, authority.issue_server().material, authority.trust_roots)
    assert creator.not_enforced[: len(MODIFIED.cannot)] == MODIFIED.cannot
    assert any("CCM_8" in sentence for sentence in creator.not_enforced)
