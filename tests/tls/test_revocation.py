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
from dimsetls.tls.authority import SKEW, DevelopmentAuthority
from dimsetls.tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from dimsetls.tls.material import TrustRoots
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


class Judge:
    """The side of a handshake that looks the other's certificates up; both are from `issuing` and trust its root."""

    def __init__(self, side: str, policy: Any, issuing: DevelopmentAuthority, link_between: Any) -> None:
        self.side, self._policy, self._issuing, self._link_between = side, policy, issuing, link_between
        self._own = issuing.issue_server().material

    def checking(self, check: CRLCheck, *crls: Path) -> Judge:
        revocation = Revocation.load(check, crls, self._issuing.chain + self._issuing.trust_roots.certificates)
        return self.with_revocation(revocation)

    def with_revocation(self, revocation: Revocation) -> Judge:
        self.creator = self._make(self.side, self._own, revocation)
        return self

    def meet(self, peer: Any) -> tuple[Any, Any]:
        """The faults of this side and of the peer, None for a side that has none."""
        if self.side == "server":
            wire = self._link_between(self.creator, self._make("client", peer.material, UNCHECKED)).pump()
            users = wire.server_user, wire.client_user
        else:
            wire = self._link_between(self._make("server", peer.material, UNCHECKED), self.creator).pump()
            users = wire.client_user, wire.server_user
        mine, other = (None if user.reason is None else user.fault for user in users)
        assert mine is not None or users[0].session.peer is not None
        return mine, other

    def _make(self, side: str, material: Any, revocation: Revocation) -> Any:
        roots = self._issuing.trust_roots
        if side == "server":
            return ServerConnectionCreator(self._policy, material, roots, revocation=revocation)
        return ClientConnectionCreator(self._policy, roots, material, server_name="localhost", revocation=revocation)


@pytest.fixture(params=["server", "client"])
def judge(request, policy, issuing, link_between) -> Judge:
    """The acceptor, then the requestor."""
    return Judge(request.param, policy, issuing, link_between)


def named(faults: tuple[Any, Any]) -> list[tuple[int, str]]:
    return [(fault.reason, fault.name) for fault in faults]


def test_a_certificate_that_is_listed_is_refused_and_its_neighbour_is_not(judge, issuing, write):
    good, bad = issuing.issue_server(), issuing.issue_server()
    issuing.revoke(bad)
    judge.checking(CRLCheck.LEAF, write(issuing.crl()))
    assert judge.meet(good) == (None, None)
    assert named(judge.meet(bad)) == [(0x22C, "certificate-revoked"), (0x32C, "peer-certificate-revoked")]


def test_without_a_list_of_its_issuer_nobody_is_admitted(judge, root, issuing, write):
    judge.checking(CRLCheck.LEAF, write(root.crl()))
    assert named(judge.meet(issuing.issue_server())) == [(0x230, "crl-unavailable"), (0x330, "peer-unknown-ca")]


def test_the_whole_chain_is_looked_up_if_so_configured(judge, root, issuing, write):
    peer = issuing.issue_server()
    root.revoke(issuing.own)
    lists = write(root.crl(), issuing.crl())
    assert judge.checking(CRLCheck.LEAF, lists).meet(peer) == (None, None)
    mine, _ = judge.checking(CRLCheck.CHAIN, lists).meet(peer)
    assert (mine.reason, mine.name) == (0x22C, "certificate-revoked")
    assert "at depth 1" in mine.detail
    only_leaf = judge.checking(CRLCheck.CHAIN, write(issuing.crl()))
    assert named(only_leaf.meet(peer))[0] == (0x230, "crl-unavailable")


def test_the_whole_chain_may_be_good(judge, root, issuing, write):
    judge.checking(CRLCheck.CHAIN, write(root.crl()), write(issuing.crl(), name="issuing.crl"))
    assert judge.meet(issuing.issue_server()) == (None, None)


def test_openssl_compares_the_dates_of_a_list_with_the_clock_at_every_handshake(judge, issuing, write):
    """One context, one list: good now, and stale as soon as OpenSSL takes it to be two hours later."""
    judge.checking(CRLCheck.LEAF, write(issuing.crl(this_update=NOW - HOUR, next_update=NOW + HOUR)))
    peer = issuing.issue_server()
    assert judge.meet(peer) == (None, None)
    judge.creator._context.get_cert_store().set_time(NOW + 2 * HOUR)
    assert named(judge.meet(peer)) == [(0x22D, "crl-expired"), (0x32D, "peer-certificate-expired")]


def test_a_list_that_is_not_valid_yet_is_named(judge, issuing, write):
    judge.checking(CRLCheck.LEAF, write(issuing.crl(this_update=NOW - 2 * SKEW, next_update=NOW + HOUR)))
    judge.creator._context.get_cert_store().set_time(NOW - 2.5 * SKEW)
    assert named(judge.meet(issuing.issue_server(not_before=NOW - DAY)))[0] == (0x22A, "crl-not-yet-valid")


def test_the_latest_of_several_lists_counts(judge, issuing, write):
    peer = issuing.issue_server()
    before = issuing.crl(this_update=NOW - DAY)
    issuing.revoke(peer)
    judge.checking(CRLCheck.LEAF, write(before, issuing.crl()))
    assert named(judge.meet(peer))[0] == (0x22C, "certificate-revoked")


def test_two_generations_of_an_authority_with_one_name_each_have_their_list(policy, link_between, write):
    """In a rollover, the same name stands for two keys; each certificate is looked up in its own issuer's list."""
    old, new = DevelopmentAuthority("hospital"), DevelopmentAuthority("hospital")
    roots = TrustRoots((old.own.certificate, new.own.certificate))
    revoked = old.issue_client()
    old.revoke(revoked)
    revocation = Revocation.load(CRLCheck.CHAIN, [write(old.crl(), new.crl())], roots.certificates)
    acceptor = ServerConnectionCreator(policy, new.issue_server().material, roots, revocation=revocation)
    outcomes = []
    for client in (old.issue_client(), new.issue_client(), revoked):
        requestor = ClientConnectionCreator(policy, roots, client.material, server_name="localhost")
        user = link_between(acceptor, requestor).pump().server_user
        outcomes.append(user.fault.name if user.reason is not None else "admitted")
    assert outcomes == ["admitted", "admitted", "certificate-revoked"]


def test_a_revoked_client_is_refused_whichever_server_it_asks_for(policy, link_between, issuing, write):
    """Each name has a context of its own (SNI), and each context its lists."""
    client, roots = issuing.issue_client(), issuing.trust_roots
    issuing.revoke(client)
    revocation = Revocation.load(CRLCheck.LEAF, [write(issuing.crl())], known(issuing))
    acceptor = ServerConnectionCreator(
        policy, issuing.issue_server().material, roots, revocation=revocation,
        named=[issuing.issue_server(names=["archive.example"]).material],
    )
    for name in ("localhost", "archive.example"):
        requestor = ClientConnectionCreator(policy, roots, client.material, server_name=name)
        assert link_between(acceptor, requestor).pump().server_user.fault.name == "certificate-revoked"
