"""What a node says of the associations that it asks for: with whom, as whom, how many, for how long."""

from __future__ import annotations

from collections.abc import Iterator

from ...identity.credentials import Requirement
from ..config import Peer
from .text import Section, code, codes, table

_IDENTITIES = {
    "username": "user name (type 1)",
    "passcode": "user name and passcode (type 2)",
    "kerberos": "Kerberos ticket (type 3)",
    "saml": "SAML assertion (type 4)",
    "jwt": "JSON Web Token (type 5)",
    "bearer": "access token (bearer extension)",
    "client-credentials": "access token of an authorization server (bearer extension)",
}


def calling(peers: tuple[Peer, ...]) -> Section:
    """Of each peer that the node calls."""
    def rows() -> Iterator[tuple[str, ...]]:
        for peer in peers:
            identity = "none"
            if (credential := peer.presents) is not None:
                identity = _IDENTITIES[credential.type]
                if credential.is_token and peer.bearer_identity_type is not None:
                    identity = f"access token (user identity type {peer.bearer_identity_type})"
                must = credential.answer is Requirement.REQUIRE
                identity += ", which it must verify" if must else ", which it need not verify"
            window = "1" if peer.operations == 1 else f"{peer.operations} are asked for"
            rules = codes(map(str, peer.certificates or ()), " or ")
            yield (code(peer.ae_title), rules or "any for its name", identity,
                   f"{peer.associations} from each AE", window,
                   f"connection and TLS {peer.connect_timeout:g} s each, A-ASSOCIATE and A-RELEASE "
                   f"{peer.answer_timeout:g} s, response {peer.response_timeout:g} s, idle {peer.idle_timeout:g} s")

    return Section("Associations as requestor", (
        "An association that falls idle is kept for its idle time, and used again for the same peer, in the same "
        "contexts, as the same user; then it is released. Verification is proposed besides what is needed, to check it "
        "by C-ECHO. A peer that fails is left alone for 1 s, then for twice as long each time, at most 60 s.",
        table("Peer | Its certificate | User identity presented | Associations | Operations outstanding | Deadlines",
              rows()),
    ))
