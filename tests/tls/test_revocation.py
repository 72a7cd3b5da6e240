from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from dimsetls.errors import ConfigurationError
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.revocation import UNCHECKED, CertificateRevocationLists, CRLCheck, Revocation

NOW = datetime.now(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def root() -> DevelopmentAuthority:
    return DevelopmentAuthority("root", path_length=1)


@pytest.fixture
def issuing(root) -> DevelopmentAuthority:
    return DevelopmentAuthority("issuing", issuer=root)


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Write revocation lists to one file."""
    def to_file(*crls: Any, name: str = "ca.crl", encoding: Encoding = Encoding.PEM) -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(crl.public_bytes(encoding) for crl in crls))
        return path

    return to_file


def known(*authorities: DevelopmentAuthority) -> list[x509.Certificate]:
    return [authority.own.certificate for authority in authorities]


def problems(*paths: Path, issuers: list[x509.Certificate]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        CertificateRevocationLists.load(paths, issuers)
    return caught.value.problems


def subjects(lists: CertificateRevocationLists) -> list[str]:
    return [each.crl.issuer.rfc4514_string().partition(",")[0] for each in lists.lists]


# Files ---------------------------------------------------------------------------------------------------------------


def test_der_and_pem_one_or_more_to_a_file(root, issuing, write):
    both = write(root.crl(), issuing.crl())
    single = write(root.crl(), name="root.der", encoding=Encoding.DER)
    lists = CertificateRevocationLists.load([both, str(single)], known(root, issuing))
    assert subjects(lists) == ["CN=root", "CN=issuing", "CN=root"]


def test_all_problems_of_all_files_are_told_together(root, stranger, write, tmp_path):
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "damaged").write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    (tmp_path / "der").write_bytes(b"\x30\x03abc")
    found = problems(
        tmp_path / "absent", tmp_path / "junk", tmp_path / "damaged", tmp_path / "der",
        write(stranger.crl(), name="stranger"), write(root.crl(next_update=NOW - HOUR), name="stale"),
        write(root.crl(this_update=NOW + HOUR), name="early"), issuers=known(root),
    )
    expected = "; expected a certificate revocation list in PEM or DER"
    assert found[:4] == (
        f"revocation list {tmp_path}/absent cannot be read: No such file or directory{expected}",
        f"revocation list {tmp_path}/junk holds none{expected}",
        f"revocation list {tmp_path}/damaged is damaged{expected}",
        f"revocation list {tmp_path}/der is damaged{expected}",
    )
    assert [next(word for word in ("not signed", "stale since", "not valid before") if word in problem)
            for problem in found[4:]] == ["not signed", "stale since", "not valid before"]
    assert f"in {tmp_path}/stale is stale since {NOW - HOUR:%Y-%m-%d %H:%M} UTC; expected the authority's" in found[5]


def test_a_list_in_the_name_of_an_authority_but_by_another_key_is_refused(root, write):
    impostor = DevelopmentAuthority("root")
    assert impostor.own.certificate.subject == root.own.certificate.subject
    (problem,) = problems(write(impostor.crl()), issuers=known(root))
    assert "is not signed by any authority known here" in problem


@pytest.mark.parametrize("partial", [
    x509.DeltaCRLIndicator(1),
    x509.IssuingDistributionPoint(None, None, False, False, None, True, False),
    x509.IssuingDistributionPoint(None, None, False, False, frozenset([x509.ReasonFlags.key_compromise]), False, False),
], ids=["delta", "indirect", "by reason"])
def test_a_list_that_covers_only_part_is_refused(root, write, partial):
    builder = x509.CertificateRevocationListBuilder().issuer_name(root.own.certificate.subject)
    builder = builder.last_update(NOW - HOUR).next_update(NOW + DAY).add_extension(partial, critical=True)
    (problem,) = problems(write(builder.sign(root.own.private_key, SHA256())), issuers=known(root))
    assert "covers only part of what is revoked" in problem


@pytest.mark.parametrize(("life", "left", "warned"), [
    (60 * DAY, 4 * DAY, False), (60 * DAY, 2 * DAY, True), (7 * DAY, DAY, False), (7 * DAY, 16 * HOUR, True),
    (DAY, 3 * HOUR, False), (DAY, 2 * HOUR, True),
])
def test_a_list_that_soon_goes_stale_is_warned_of(root, write, life, left, warned):
    path = write(root.crl(this_update=NOW + left - life, next_update=NOW + left))
    warnings = list(CertificateRevocationLists.load([path], known(root)).warnings(NOW))
    assert [f"in {path} goes stale on" in warning for warning in warnings] == [True] * warned


# Policy --------------------------------------------------------------------------------------------------------------


def test_a_check_needs_lists_and_lists_need_a_check(root, write):
    for check in (CRLCheck.LEAF, CRLCheck.CHAIN):
        with pytest.raises(ConfigurationError, match=r"not checked - i understand the risk"):
            Revocation.load(check, [], known(root))
    with pytest.raises(ConfigurationError, match="that nothing is looked up in; expected none"):
        Revocation.load(CRLCheck.WAIVED, [write(root.crl())], known(root))
    assert Revocation.load(CRLCheck.WAIVED, [], known(root)) == UNCHECKED


def test_an_authority_without_a_list_is_warned_of(root, issuing, write):
    path = write(issuing.crl())

    def missing(check: CRLCheck) -> list[str]:
        return list(Revocation.load(check, [path], known(root, issuing)).warnings(NOW, known(root, issuing)))

    (warning,) = missing(CRLCheck.CHAIN)
    assert 'there is no revocation list of "CN=root' in warning
    assert missing(CRLCheck.LEAF) == []  # its leaf certificates come from the other


# Handshakes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["client", "server"])
def judged_by(request, policy, link_between) -> Callable[..., Any]:
    """A handshake in which one side looks up the other's certificate; the faults of judge and judged, or None."""
    def handshake(peer: Any, revocation: Revocation, *, keep: dict[str, Any] | None = None) -> Any:
        # Root and issuing authority are the peer's; what the judge itself shows, the peer does not look up.
        own = authority_of_judge.issue_server()
        roots = Roots(peer, own)
        if request.param == "client":
            judge: Any = ClientConnectionCreator(
                policy, roots, own.material, server_name="localhost", revocation=revocation
            )
            wire = link_between(ServerConnectionCreator(policy, peer.material, roots), judge).pump()
            users = wire.client_user, wire.server_user
        else:
            judge = ServerConnectionCreator(policy, own.material, roots, revocation=revocation)
            other = ClientConnectionCreator(policy, roots, peer.material, server_name="localhost")
            wire = link_between(judge, other).pump()
            users = wire.server_user, wire.client_user
        if keep is not None:
            keep["judge"] = judge
        return [None if user.reason is None else user.fault for user in users]

    return handshake
