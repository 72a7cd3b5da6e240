"""The servers of a hospital, whoever has an account there, and the configuration of the node that asks them."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from dimsetls.identity.credentials import Secret
from dimsetls.identity.users import Cost, PasscodeHash, User

from ...secrets import secret
from ...servers.kdc import KDC, REALM, SERVICE, Request
from ...servers.oauth import ES256, MODALITY, OPAQUE, AuthorizationServer
from ...servers.saml_idp import IdentityProvider
from ...servers.slapd import GROUP_BASE, PEOPLE, PEOPLE_BASE, SERVICE_DN, SERVICE_PASSCODE, Slapd
from ..running import Node

OURS = "dns:localhost"
"""The client's certificate that `dimsetls init` makes, in the words of a rule."""
ANNA = "anna's pässcode"
"""Of a user in the users file; alice, bob and their like are in the directory."""
PRIVATE_TYPE = 254
TYPES = ("username", "passcode", "kerberos", "saml", "jwt", "bearer")


class Hospital:
    """Real servers in `directory`; `environment` is what a node needs to use Kerberos."""

    def __init__(self, directory: Path, slapd: Slapd, kdc: KDC, oauth: AuthorizationServer, dead: int) -> None:
        self.directory, self.slapd, self.kdc, self.oauth, self.dead = directory, slapd, kdc, oauth, dead
        self.idp = IdentityProvider()
        self.impostor = IdentityProvider()  # of the same name, with a key of its own
        self.idp.write_certificate(directory / "idp.pem")
        self.environment = {**os.environ, "KRB5_CONFIG": str(kdc.config), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.service_passcode = directory / "ldap.pass"
        self.service_passcode.touch(0o600)
        self.service_passcode.write_text(secret(SERVICE_PASSCODE, "the passcode of the service account"))
        self.write_users()
        for person in PEOPLE:
            secret(person.passcode or b"", f"the LDAP passcode of {person.uid}")
        secret(MODALITY.secret, "the client secret")
        for keytab in (kdc.service_keytab, kdc.client_keytab):
            for key in re.findall(r"\(0x([0-9a-f]+)\)", kdc.run("klist", "-K", "-e", "-k", str(keytab))):
                secret(bytes.fromhex(key), f"a key of {keytab.name}")
        self._prepare_what_is_revoked()

    # Accounts ----------------------------------------------------------------------------------------------------

    def write_users(self, *more: User, name: str = "users") -> Path:
        """A users file with anna, and dora whose account is disabled."""
        cost = Cost(ln=10)
        kept = PasscodeHash.make(Secret(ANNA.encode()), cost)
        secret(kept.text, "the hash of a passcode")
        users = [User("anna", kept, ("radiology",), ("technician",)), User("dora", kept, disabled=True), *more]
        path = self.directory / name
        path.touch(0o600)
        path.write_text("\n".join(line for user in users for line in user.lines) + "\n")
        return path

    def ticket(self, form: Any, service: str = SERVICE, user: str = "alice", clock: str = "") -> bytes:
        request = Request(form, service, str(self.kdc.directory / f"{user}.ccache"))
        return secret(self.kdc.token(request, clock) if clock else request.make(), f"a Kerberos token ({form})")

    def assertion(self, idp: IdentityProvider | None = None, **wishes: Any) -> bytes:
        return secret((idp or self.idp).assertion("alice", **wishes), "a SAML assertion")

    def token(self, audience: str = ES256, **how: Any) -> bytes:
        """An access token of alice: a JWT, or opaque for the audience OPAQUE."""
        return secret(self.oauth.token(audience, **how)["access_token"].encode(), f"an access token for {audience}")

    def forged(self) -> bytes:
        """A token as the issuer makes them, signed by somebody else."""
        head, body, _ = self.token().split(b".")
        return secret(signed(head + b"." + body, ec.generate_private_key(ec.SECP256R1())), "a forged token")

    def _prepare_what_is_revoked(self) -> None:
        """Before any node runs: a token whose key the issuer gave up, and a ticket whose key the service gave up."""
        self.revoked_jwt = self.token()
        self.oauth.rotate()
        self.oauth.rotate()
        self.withdrawn = f"dicom/withdrawn@{REALM}"
        self.kdc.administer("addprinc -randkey dicom/withdrawn")
        for user in ("alice", "bob"):
            self.kdc.ticket_cache(user, *(["-l", "5m"] if user == "bob" else []))
        self.ticket("raw", self.withdrawn)  # so that the ticket is in the cache
        self.withdrawn_keytab = self.directory / "withdrawn.keytab"
        self.kdc.administer(f"ktadd -k {self.withdrawn_keytab} dicom/withdrawn")

    # Servers that do not answer ----------------------------------------------------------------------------------

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All servers are stopped as they stand: what connects to them is connected, and waits."""
        kdc = int((self.kdc.directory / "kdc.pid").read_text())
        with self.slapd.frozen(), self.oauth.hung():
            os.kill(kdc, signal.SIGSTOP)
            try:
                yield
            finally:
                os.kill(kdc, signal.SIGCONT)

    # The node ----------------------------------------------------------------------------------------------------

    def configure(self, node: Node) -> None:
        """MAIN asks everybody; HUNG asks without patience; DOWN asks where nobody is; GONE has what is revoked."""
        node.set("node", log_level="debug")
        node.set("listener main", aes="MAIN, HUNG, DOWN, GONE, OTHER, BOUND, OPEN")
        node.sections.pop("ae DIMSETLS")
        users, ldap, jwt = "users local", "ldap hospital", "jwt hospital"
        node.set("users local", file=self.directory / "users")
        self.ldap(node, "hospital", self.slapd.ldaps)
        self.ldap(node, "hurried", self.slapd.ldaps, timeout="300ms")
        self.ldap(node, "dead", f"ldaps://localhost:{self.dead}")
        self.kerberos(node, "hospital", self.kdc.service_keytab)
        gone = self.directory / "gone.keytab"
        gone.touch(0o600)
        gone.write_bytes(self.kdc.service_keytab.read_bytes())
        self.kerberos(node, "gone", gone)
        self.kerberos(node, "bound", self.kdc.service_keytab, channel_binding="required")
        self.kerberos(node, "withdrawn", self.withdrawn_keytab, self.withdrawn)
        node.set("saml hospital", issuer=self.idp.issuer, certificates=self.directory / "idp.pem",
                 audience=self.idp.audience)
        self.jwt(node, "hospital")
        self.jwt(node, "hurried", request_deadline="300ms")
        self.jwt(node, "dead", jwks_url=f"https://localhost:{self.dead}/jwks")
        self.jwt(node, "rotated")
        self.introspection(node, "hospital")
        self.introspection(node, "hurried", request_deadline="300ms")
        self.introspection(node, "dead", url=f"https://localhost:{self.dead}/token/introspection")
        node.set("certificate-identity ours", certificates=OURS, name_from="subject:CN", groups="modalities")
        node.set("certificate-identity other", certificates="dns:other.invalid", name_from="dns")
        node.set("users gone", file=self.write_users(name="gone-users"))
        self.place(node, "MAIN", username=users, passcode=f"{users}, {ldap}", kerberos="hospital", saml="hospital",
                   jwt="hospital", bearer=f"{jwt}, introspection hospital", certificate="ours")
        self.place(node, "HUNG", username="ldap hurried", passcode="ldap hurried", kerberos="hospital",
                   jwt="hurried", bearer="jwt hurried, introspection hurried")
        self.place(node, "DOWN", username="ldap dead", passcode="users gone, ldap dead", kerberos="gone", jwt="dead",
                   bearer="jwt dead, introspection dead")
        self.place(node, "GONE", kerberos="withdrawn", jwt="rotated", bearer="jwt rotated, introspection hospital")
        self.place(node, "OTHER", username=users, asserting="dns:other.invalid", certificate="other")
        self.place(node, "BOUND", kerberos="bound")
        node.set("ae OPEN", services="verification")
        node.set("peer private", ae_title="PRIVATE", bearer_identity_type=PRIVATE_TYPE)

    def place(self, node: Node, ae: str, *, asserting: str = OURS, **options: Any) -> None:
        """An AE with an [identity] of the same name: no lock-outs, no delays."""
        names = ("failures_per_user", "failures_per_address", "failures_per_certificate", "refusal_time")
        quick = dict(zip(names, ("0", "0", "0", "0s"), strict=True))
        node.set(f"ae {ae}", storage="archive", identity=ae)
        node.set(f"identity {ae}", **{
            "policy": "require", "asserting_certificates": asserting if "username" in options else None,
            "kerberos_length": 20000, "saml_length": 30000, **quick, **options,
        })  # fmt: skip

    def ldap(self, node: Node, name: str, server: str, **options: Any) -> None:
        node.set(f"ldap {name}", **{
            "servers": server, "trust_roots": self.slapd.trust_roots, "search_base": PEOPLE_BASE,
            "service_dn": SERVICE_DN, "service_passcode": self.service_passcode, "group_base": GROUP_BASE,
            "back_off": "1s", **options,
        })  # fmt: skip

    def kerberos(self, node: Node, name: str, keytab: Path, service: str = SERVICE, **options: Any) -> None:
        node.set(f"kerberos {name}", **{
            "keytab": keytab, "service": service, "strip_realms": REALM,
            "replay_cache": node.directory / f"{name}.rcache", **options,
        })  # fmt: skip

    def jwt(self, node: Node, name: str, **options: Any) -> None:
        node.set(f"jwt {name}", **{
            "issuer": self.oauth.issuer, "audience": ES256, "jwks_url": f"{self.oauth.issuer}/jwks",
            "trust_roots": self.oauth.trust_roots, **options,
        })  # fmt: skip

    def introspection(self, node: Node, name: str, **options: Any) -> None:
        node.set(f"introspection {name}", **{
            "url": f"{self.oauth.issuer}/token/introspection", "trust_roots": self.oauth.trust_roots,
            "issuer": self.oauth.issuer, "audience": OPAQUE, "client_id": MODALITY.client_id,
            "client_secret": self.oauth.secret, "remember": "0s", **options,
        })  # fmt: skip

    def take_away(self) -> None:
        """What DOWN was configured with, now that its node runs."""
        (self.directory / "gone.keytab").unlink(missing_ok=True)
        (self.directory / "gone-users").unlink(missing_ok=True)


@contextmanager
def hospital(directory: Path) -> Iterator[Hospital]:
    """All servers, started."""
    from dimsetls.tls.authority import DevelopmentAuthority

    places = {name: directory / name for name in ("slapd", "kdc", "oauth", "own")}
    places["slapd"].mkdir()
    places["own"].mkdir()
    with ExitStack() as stack:
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        slapd = Slapd(places["slapd"], DevelopmentAuthority())
        stack.callback(slapd.stop)
        kdc = stack.enter_context(KDC(places["kdc"]))
        before = os.environ.get("KRB5_CONFIG")
        os.environ["KRB5_CONFIG"] = str(kdc.config)  # GSS-API takes it from nowhere else
        stack.callback(_restore, before)
        oauth = stack.enter_context(AuthorizationServer(places["oauth"]))
        yield Hospital(places["own"], slapd, kdc, oauth, nobody.getsockname()[1])


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop("KRB5_CONFIG")
    else:
        os.environ["KRB5_CONFIG"] = before


# Tokens made by hand --------------------------------------------------------------------------------------------------


def part(value: object) -> bytes:
    """A part of a JWT."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(octets).rstrip(b"=")


def signed(signing_input: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """With its signature (RFC 7518 §3.4)."""
    r, s = decode_dss_signature(key.sign(signing_input, ec.ECDSA(SHA256())))
    return signing_input + b"." + part(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class Issuer:
    """An issuer whose keys are in a file, for tokens that no honest server makes."""

    name = "https://issuer.hospital.example"

    def __init__(self, directory: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        x, y = (part(number.to_bytes(32, "big")).decode() for number in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y}
        self.jwks = directory / "issuer.jwks"
        self.jwks.write_text(json.dumps({"keys": [self.jwk]}))

    def token(self, header: Mapping[str, Any] | None = None, key: Any = None, **claims: Any) -> bytes:
        """A good one, but for what is given."""
        now = time.time()
        head = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"} | dict(header or {})
        body = {"iss": self.name, "aud": "pacs", "sub": "alice", "iat": now, "exp": now + 600,
                "jti": secrets.token_hex(8)} | claims  # fmt: skip
        return secret(signed(part(head) + b"." + part(body), key or self.key), "an access token made by hand")
