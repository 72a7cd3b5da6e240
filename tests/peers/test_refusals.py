"""Peers that TLS has to turn away: what they are told, and the one sentence that the log has about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from dimsetls.node.init import init
from dimsetls.testing import DevelopmentAuthority

from . import dcmtk
from .running import DEADLINE, Node, Service
from .sender import Sender, client_context, connect

pytestmark = pytest.mark.peers

COMPLAINT = r"#(warn|error|critical)\]"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Service]:
    with Node(tmp_path_factory.mktemp("refusing"), pki).running() as service:
        yield service


@pytest.fixture(scope="module")
def other_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys of somebody else's authority."""
    directory = tmp_path_factory.mktemp("other")
    init(directory)
    return directory / "pki"


@pytest.fixture
def one_complaint(service: Service, pki: Path) -> Iterator[Callable[[str], None]]:
    """Checks that the log complains of a condition, once and of nothing else, and that a good peer is served."""
    before = len(service.lines(COMPLAINT))

    def check(condition: str) -> None:
        service.expect(COMPLAINT, before + 1)
        assert dcmtk.echoscu(service, pki).returncode == 0
        (line,) = service.lines(COMPLAINT)[before:]
        assert f"({condition}:" in line
        assert "no association with 127.0.0.1:" in line

    yield check
    assert len(service.lines(COMPLAINT)) == before + 1


def handshake(service: Service, context: ssl.SSLContext) -> str:
    """The error that comes of a handshake; in TLS 1.3 it comes after the client's part is done."""
    with pytest.raises(ssl.SSLError) as caught, connect(("127.0.0.1", service.port()), context) as connection:
        connection.recv(1)
    return str(caught.value)


@pytest.mark.parametrize(("offered", "selected"), [
    ([], None), (["dicom"], "dicom"), (["http/1.1", "dicom"], "dicom"),
])  # fmt: skip
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_dicom_is_selected_where_protocols_are_offered(
    service: Service, pki: Path, version: ssl.TLSVersion, offered: list[str], selected: str | None
) -> None:
    context = client_context(pki, version)
    if offered:
        context.set_alpn_protocols(offered)
    connection = connect(("127.0.0.1", service.port()), context)
    assert connection.selected_alpn_protocol() == selected
    with Sender(connection) as sender:
        assert sender.echo() == 0x0000
        sender.release()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_other_protocols_offered(
    service: Service, pki: Path, one_complaint: Callable[[str], None], version: ssl.TLSVersion
) -> None:
    context = client_context(pki, version)
    context.set_alpn_protocols(["http/1.1", "h2"])
    assert "alert no application protocol" in handshake(service, context)
    one_complaint("no-application-protocol")


def test_tls_1_1(service: Service, pki: Path, one_complaint: Callable[[str], None]) -> None:
    context = client_context(pki)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "alert protocol version" in handshake(service, context)
    one_complaint("protocol-version")


@pytest.mark.parametrize(("version", "alert", "condition"), [
    (ssl.TLSVersion.TLSv1_2, "alert handshake failure", "no-client-certificate"),
    (ssl.TLSVersion.TLSv1_3, "alert certificate required", "certificate-required"),
])  # fmt: skip
def test_no_client_certificate(
    service: Service, pki: Path, one_complaint: Callable[[str], None], version: ssl.TLSVersion, alert: str,
    condition: str,
) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.minimum_version = context.maximum_version = version
    assert alert in handshake(service, context)
    one_complaint(condition)


def test_a_certificate_of_another_authority(
    service: Service, pki: Path, other_pki: Path, one_complaint: Callable[[str], None]
) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(other_pki / "client.pem", other_pki / "client.key")
    assert "alert unknown ca" in handshake(service, context)
    one_complaint("unknown-ca")


@pytest.mark.parametrize(("tls", "condition"), [
    ((), "plaintext-dicom"),
    (("+tla", "-ic"), "certificate-required"),
    (("+tls", "other/client.key", "other/client.pem", "+cf", "pki/ca.pem"), "unknown-ca"),
    # The rest would do, but AES in CBC mode or no encryption at all is all that these profiles have.
    (("+tls", "pki/client.key", "pki/client.pem", "+cf", "pki/ca.pem", "--profile-aes"), "no-shared-cipher"),
    (("+tls", "pki/client.key", "pki/client.pem", "+cf", "pki/ca.pem", "--profile-null"), "no-shared-cipher"),
], ids=["plain", "anonymous", "other authority", "AES profile", "NULL profile"])  # fmt: skip
def test_echoscu_is_turned_away(
    service: Service, pki: Path, other_pki: Path, one_complaint: Callable[[str], None], tls: tuple[str, ...],
    condition: str,
) -> None:
    where = {"pki": pki, "other": other_pki}
    words = [str(where[word.split("/")[0]] / word.split("/")[1]) if "/" in word else word for word in tls]
    answer = dcmtk.echoscu(service, pki, tls=words)
    assert answer.returncode != 0
    assert "Association Request Failed" in answer.stdout
    one_complaint(condition)


def test_echoscu_does_not_trust_our_authority(
    service: Service, pki: Path, other_pki: Path, one_complaint: Callable[[str], None]
) -> None:
    tls = "+tls", pki / "client.key", pki / "client.pem", "+cf", other_pki / "ca.pem"
    answer = dcmtk.echoscu(service, pki, tls=tls)
    assert answer.returncode != 0
    assert "certificate verify failed" in answer.stdout
    one_complaint("peer-unknown-ca")


@pytest.mark.parametrize(("said", "condition"), [
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http"), (b"\0" * 64, "not-tls"),
])  # fmt: skip
def test_something_else_than_tls(
    service: Service, one_complaint: Callable[[str], None], said: bytes, condition: str
) -> None:
    with socket.create_connection(("127.0.0.1", service.port()), DEADLINE) as connection:
        connection.sendall(said)
        while connection.recv(4096):
            pass  # an alert, and the end
    one_complaint(condition)


@pytest.mark.parametrize(("profile", "protection"), [
    ("--profile-bcp195-nd", r"TLSv1\.3 TLS_\w+"),
    ("--profile-bcp195", r"TLSv1\.3 TLS_\w+"),
    ("--profile-bcp195-ex", r"TLSv1\.2 ECDHE-ECDSA-\S+"),
])  # fmt: skip
def test_the_profiles_of_dcmtk_that_are_good(service: Service, pki: Path, profile: str, protection: str) -> None:
    before = len(service.lines(rf"\bstarted\b.*{protection}"))
    assert dcmtk.echoscu(service, pki, profile).returncode == 0
    service.expect(rf"\bstarted\b.*{protection}", before + 1)


def test_dcmtk_without_tls_1_3_wants_an_rsa_certificate(tmp_path: Path) -> None:
    """Below TLS 1.3 all but the extended profile know no suites with ECDSA, which the keys of `dimsetls init` need."""
    pki = tmp_path / "pki"
    pki.mkdir()
    authority = DevelopmentAuthority()
    server = authority.issue_server(private_key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    authority.own.write(pki / "ca.pem", pki / "ca.key")
    server.write(pki / "server.pem", pki / "server.key")
    authority.issue_client().write(pki / "client.pem", pki / "client.key")
    openssl = tmp_path / "openssl.cnf"
    openssl.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
    with Node(tmp_path, pki).running() as service:
        answer = dcmtk.run("echoscu", *dcmtk.WAITS, "-aec", "DIMSETLS", *dcmtk.secured(pki), "127.0.0.1",
                           service.port(), env={"OPENSSL_CONF": str(openssl)})
        assert answer.returncode == 0, answer.stdout
        service.expect(r"\bstarted\b.*TLSv1\.2 ECDHE-RSA-AES256-GCM-SHA384")
