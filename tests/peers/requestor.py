"""Our requestor as a program: one association with C-ECHO over TLS; it prints what became of it.

    requestor.py HOST PORT PROFILE CA CERTIFICATE KEY [CRL]
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react

from dimsetls.association import associate
from dimsetls.errors import ConfigurationError, ProviderAborted
from dimsetls.tls.contexts import ClientConnectionCreator
from dimsetls.tls.endpoints import DicomTLSClientEndpoint
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.tls.policy import profile
from dimsetls.tls.revocation import CRLCheck, Revocation


async def run(reactor: object, *words: str) -> None:
    try:
        said = await outcome(reactor, *words)
    except ConfigurationError as error:
        said = str(error)
    except ProviderAborted as error:
        said = f"{error.reason:#05x} {error.detail}"
    print(said)  # noqa: T201 - that is what it is for


async def outcome(
    reactor: object, host: str, port: str, policy: str, ca: str, certificate: str, key: str, *crl: str
) -> str:
    trust_roots = TrustRoots.load(ca)
    revocation = Revocation.load(CRLCheck.CHAIN if crl else CRLCheck.WAIVED, crl, trust_roots.certificates)
    creator = ClientConnectionCreator(
        profile(policy), trust_roots, KeyMaterial.load(certificate, key), server_name=host, revocation=revocation
    )
    endpoint = DicomTLSClientEndpoint(HostnameEndpoint(reactor, host, int(port), 10.0), creator)
    async with await associate(endpoint, calling_ae_title="REQUESTOR", called_ae_title="STORESCP") as association:
        return f"{await association.echo():04X} {association.parties.protection}"


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, *sys.argv[1:])))
