"""For the tests of those who build on dimsetls: a throwaway certification authority.

>>> authority = DevelopmentAuthority()
>>> server, client = authority.issue_server(), authority.issue_client()
>>> policy = profile("bcp195-rfc9325")
>>> accepting = ServerConnectionCreator(policy, server.material, authority.trust_roots)
>>> requesting = ClientConnectionCreator(policy, authority.trust_roots, client.material, server_name="localhost")

Everything stays in memory; `server.write(certificate_path, key_path)` makes PEM files where files are needed.
"""

from __future__ import annotations

from .tls.authority import DevelopmentAuthority, DevelopmentCertificate, is_development_certificate
from .tls.contexts import ClientConnectionCreator, ServerConnectionCreator
from .tls.policy import profile

__all__ = [
    "ClientConnectionCreator",
    "DevelopmentAuthority",
    "DevelopmentCertificate",
    "ServerConnectionCreator",
    "is_development_certificate",
    "profile",
]
