"""Revocation lists from an operator's files, and what is asked of a peer's certificates with them (RFC 9325 §7.5).

OpenSSL itself looks certificates up, and compares a list's dates with the clock at every handshake: a list that
goes stale while the node runs has peers refused, not let in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from OpenSSL.crypto import X509Store, X509StoreFlags

from ..errors import ConfigurationError
from .evidence import FOREVER, UNREADABLE

SOON = timedelta(days=3)
"""How long before its end a list is worth a warning; for lists that live less than a month, a tenth of their life."""


class CRLCheck(Enum):
    """Which certificates of a peer's chain must be found good in a revocation list; the value is the option's word."""

    CHAIN = "chain"
    LEAF = "leaf"
    WAIVED = "not checked - i understand the risk"


_FLAGS = {
    CRLCheck.CHAIN: X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL,
    CRLCheck.LEAF: X509StoreFlags.CRL_CHECK,
}


@dataclass(frozen=True, slots=True)
class LoadedList:
    """One revocation list, and the file it came from."""

    crl: x509.CertificateRevocationList
    path: Path

    def __str__(self) -> str:
        return f'revocation list of "{self.crl.issuer.rfc4514_string()}" in {self.path}'


@dataclass(frozen=True, slots=True)
class CertificateRevocationLists:
    """Revocation lists that were complete, current and signed by an authority we know when they were loaded."""

    lists: tuple[LoadedList, ...] = ()

    @classmethod
    def load(cls, paths: Iterable[str | Path], issuers: Sequence[x509.Certificate]) -> CertificateRevocationLists:
        """Read files of one DER or any number of PEM lists; ConfigurationError with every problem of all of them.

        `issuers` are the authorities that may have signed them: trust roots and what intermediates are known.
        """
        problems: list[str] = []
        lists = [each for path in paths for each in _read(Path(path), problems)]
        for each in lists:
            problems += _faults(each, issuers, datetime.now(UTC))
        if problems:
            raise ConfigurationError(*problems)
        return cls(tuple(lists))

    def warnings(self, now: datetime) -> Iterator[str]:
        """A sentence for each list that must soon be replaced."""
        for each in self.lists:
            start, end = each.crl.last_update_utc, each.crl.next_update_utc
            assert end is not None, "load refuses a list without an end"
            if end - now < min(SOON, (end - start) / 10):
                yield (f"the {each} goes stale on {end:%Y-%m-%d %H:%M} UTC, and peers of that authority are refused "
                       "from then on: replace it by the next one")


@dataclass(frozen=True, slots=True)
class Revocation:
    """How it is made sure that a peer's certificates are not revoked.

    The lists serve acceptor and requestor. A status (OCSP) that a server staples to its certificate is checked
    whenever it comes; `require_stapled` has the requestor insist on one.
    """

    check: CRLCheck = CRLCheck.WAIVED
    lists: CertificateRevocationLists = CertificateRevocationLists()
    require_stapled: bool = False

    @classmethod
    def load(
        cls,
        check: CRLCheck,
        paths: Sequence[str | Path],
        issuers: Sequence[x509.Certificate],
        *,
        require_stapled: bool = False,
    ) -> Revocation:
        """As :meth:`CertificateRevocationLists.load`; a check without lists is a problem too, and lists without one."""
        if check is CRLCheck.WAIVED and paths:
            raise ConfigurationError(
                f"found revocation lists ({', '.join(map(str, paths))}) that nothing is looked up in; expected none, "
                f"or the check {CRLCheck.CHAIN.value} or {CRLCheck.LEAF.value}"
            )
        if check is not CRLCheck.WAIVED and not paths:
            raise ConfigurationError(
                f"found no revocation list for the check {check.value}; expected the list of every authority that "
                f"peers' certificates come from, or that the risk is accepted in words: {CRLCheck.WAIVED.value}"
            )
        return cls(check, CertificateRevocationLists.load(paths, issuers), require_stapled)

    def warnings(self, now: datetime, trust_roots: Sequence[x509.Certificate]) -> Iterator[str]:
        """A sentence for each list that must soon be replaced, and each authority whose peers are sure to be refused.

        Of the leaf alone, an authority that has issued others need not have a list.
        """
        yield from self.lists.warnings(now)
        if self.check is CRLCheck.WAIVED:
            return
        listed = {each.crl.issuer for each in self.lists.lists}
        for root in trust_roots:
            above = any(other.issuer == root.subject for other in trust_roots if other is not root)
            if root.subject not in listed and (self.check is CRLCheck.CHAIN or not above):
                yield (f'there is no revocation list of "{root.subject.rfc4514_string()}", so peers of that authority '
                       "are refused: provide it")

    @property
    def end(self) -> datetime:
        """When the first list goes stale."""
        return min((each.crl.next_update_utc or FOREVER for each in self.lists.lists), default=FOREVER)

    def apply(self, store: X509Store) -> None:
        """Have OpenSSL look certificates up that are verified with this store."""
        if self.check is not CRLCheck.WAIVED:
            store.set_flags(_FLAGS[self.check])
        for each in self.lists.lists:
            store.add_crl(each.crl)


UNCHECKED = Revocation()
"""Nobody's certificate is looked up: for tests, and for those who accepted the risk."""


def _read(path: Path, problems: list[str]) -> list[LoadedList]:
    expected = "expected a certificate revocation list in PEM or DER"
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.append(f"revocation list {path} cannot be read: {error.strerror}; {expected}")
        return []
    try:
        if content[:1] == b"\x30":
            crls = [x509.load_der_x509_crl(content)]
        else:
            blocks = re.findall(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", content, re.DOTALL)
            crls = [x509.load_pem_x509_crl(block) for block in blocks]
    except UNREADABLE:
        problems.append(f"revocation list {path} is damaged; {expected}")
        return []
    if not crls:
        problems.append(f"revocation list {path} holds none; {expected}")
    return [LoadedList(crl, path) for crl in crls]


def _faults(loaded: LoadedList, issuers: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    crl = loaded.crl
    if not any(_is_signed_by(crl, issuer) for issuer in issuers):
        yield (f"{loaded} is not signed by any authority known here; expected the list of a trust root, or of an "
               "intermediate authority whose certificate stands beside the trust roots")
    if isinstance(crl.signature_hash_algorithm, MD5 | SHA1):  # RFC 9325 §4.5
        yield f"{loaded} is signed with {crl.signature_hash_algorithm.name.upper()}; expected SHA-256 or better"
    if crl.next_update_utc is None:
        yield f"{loaded} does not say when it goes stale (nextUpdate); expected a list that does"
    elif crl.next_update_utc <= now:
        yield f"{loaded} is stale since {crl.next_update_utc:%Y-%m-%d %H:%M} UTC; expected the authority's current list"
    if crl.last_update_utc > now:
        yield (f"{loaded} is not valid before {crl.last_update_utc:%Y-%m-%d %H:%M} UTC; expected one that is valid "
               "now: compare the clocks")
    if not _is_complete(crl):
        yield f"{loaded} covers only part of what is revoked (delta, indirect or by reason); expected a complete list"


def _is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return issuer.subject == crl.issuer and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, *UNREADABLE):
        return False  # a key or signature of a kind that nobody here could check


def _is_complete(crl: x509.CertificateRevocationList) -> bool:
    """OpenSSL takes no note of the others, so that every peer would be refused for want of a list (RFC 5280 §5.2)."""
    try:
        extensions = crl.extensions
    except UNREADABLE:
        return False
    for extension in extensions:
        match extension.value:
            case x509.DeltaCRLIndicator():
                return False
            case x509.IssuingDistributionPoint(indirect_crl=indirect, only_some_reasons=reasons):
                if indirect or reasons:
                    return False
    return True
