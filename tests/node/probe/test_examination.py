"""The probe against peers of every kind, over real sockets."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from dimsetls.node.probe.examination import NOBODY, STRANGER, Probe
from dimsetls.node.probe.hello import SSL_3_0, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3, SuiteClass
from dimsetls.node.probe.inference import demands_certificate, example, suite_states, version_states
from dimsetls.node.probe.observations import MOST_CONNECTIONS, Answer, Ending, Language, Reaction
from dimsetls.node.probe.verdict import Conclusion, judge
from dimsetls.testing import DevelopmentAuthority
from dimsetls.tls.material import KeyMaterial, TrustRoots
from dimsetls.uids import VERIFICATION

from .toys import Keys, accepting, listening, over_tls, rsa_key

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

ALERT_BAD_RECORD_MAC, ALERT_HANDSHAKE_FAILURE, ALERT_UNKNOWN_CA, ALERT_UNRECOGNIZED_NAME = 20, 40, 48, 112


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def probe(keys):
    """Probe a server of this machine; as a client, unless told otherwise."""
    client, roots = KeyMaterial.load(*keys.client), TrustRoots.load(keys.ca)

    def run(serve, host="127.0.0.1", *, called="TOY", timeout=5.0, certificate=client, listen_on=None):
        with listening(serve, listen_on or host) as port:
            return Probe(host, port, called=called, calling="PROBE", timeout=timeout,
                         key_material=certificate, trust_roots=roots).run()  # fmt: skip

    return run


def sentences(seen):
    return " ".join(finding.sentence for finding in judge(seen).findings)


def test_a_good_peer_shows_what_it_is(keys, probe):
    context = keys.context(alpn=("dicom",))
    seen = probe(over_tls(context, accepting(called="TOY", calling="PROBE", identity=True)), "localhost",
                 listen_on="127.0.0.1")  # fmt: skip
    assert seen.language is Language.TLS
    assert seen.connections <= MOST_CONNECTIONS
    assert version_states(seen) == {TLS_1_3: True, TLS_1_2: True, TLS_1_1: False, TLS_1_0: False, SSL_3_0: False}
    taken = [kind for kind, state in suite_states(seen).items() if state is not False]
    assert taken == [SuiteClass.RECOMMENDED]
    assert demands_certificate(seen) is True
    assert seen.stranger.certificate_requested
    assert not seen.stranger.admitted
    assert seen.stranger.alpn == "dicom"
    assert seen.stranger.server_name == "localhost"
    assert seen.small_groups.reaction == Reaction(Ending.REFUSED, ALERT_HANDSHAKE_FAILURE)
    assert seen.ordinary.flight.group == "P-256"
    assert seen.ordinary.flight.compression == 0
    assert seen.tls12.version == TLS_1_2
    assert seen.tls12.renegotiation.is_refusal
    certificate = seen.client.chain[0]
    assert (certificate.key, certificate.key_bits, certificate.signature_hash) == ("RSA", 2048, "sha256")
    assert certificate.names == ("localhost", "127.0.0.1", "::1")
    assert certificate.serves
    assert seen.client.name_matches
    assert seen.client.untrusted == ""
    association = seen.client.association
    assert (association.answer, association.echo, association.released) == (Answer.ACCEPTED, 0, True)
    assert (association.implementation_class_uid, association.implementation_version_name) == ("1.2.3", "TOY")
    assert association.maximum_length == 16384
    assert association.contexts[VERIFICATION]
    assert seen.nobody.association.rejection == (1, 1, 7)
    assert seen.unknown_caller.association.rejection == (1, 1, 3)
    assert seen.identity.association.identity_answered is True
    assert seen.identity.association.damaged_record == Reaction(Ending.REFUSED, ALERT_BAD_RECORD_MAC)
    verdict = judge(seen)
    assert verdict.conclusion is Conclusion.CONFORMANT, verdict.headline


def test_a_weak_peer_is_seen_through(keys, probe):
    """Everything that is out of date at once, and nobody is asked who they are."""
    long_ago = datetime.now(UTC) - timedelta(days=1)
    issued = keys.authority.issue_server(private_key=rsa_key(1024), not_after=long_ago, names=("elsewhere.example",))
    context = keys.context(
        certificate=keys.write("weak", issued), demand=ssl.CERT_NONE, ciphers="ALL:eNULL:@SECLEVEL=0",
        oldest=ssl.TLSVersion.TLSv1, newest=ssl.TLSVersion.TLSv1_2,
    )  # fmt: skip
    seen = probe(over_tls(context, accepting()))
    assert seen.connections <= MOST_CONNECTIONS
    states = version_states(seen)
    assert (states[TLS_1_3], states[TLS_1_2], states[TLS_1_1]) == (False, True, True)
    assert suite_states(seen)[SuiteClass.NULL] or suite_states(seen)[SuiteClass.ANONYMOUS]
    assert demands_certificate(seen) is False
    assert seen.impostor is None, "where nobody is asked, there is nothing to pretend"
    assert seen.nobody.association.answer is Answer.ACCEPTED
    assert seen.unknown_caller.association.calling == STRANGER
    assert seen.unknown_caller.association.identity_answered is False
    found = sentences(seen)
    for words in ("TLS 1.1", "NULL", "elsewhere.example", "expired on", "RSA of 1024 bits",
                  "asks for no client certificate", "any called AE title", "any calling AE title"):  # fmt: skip
        assert words in found
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT


def test_cbc_alone_is_a_warning_and_no_fault(keys, probe):
    ciphers = "ECDHE+AESGCM:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA"
    seen = probe(over_tls(keys.context(ciphers=ciphers, alpn=("dicom",)), accepting()))
    assert suite_states(seen)[SuiteClass.CBC]
    assert example(seen, SuiteClass.CBC).startswith("TLS_ECDHE_RSA_WITH_AES_")
    assert suite_states(seen)[SuiteClass.STATIC] is False
    assert "with CBC" not in sentences(seen), "Python's OpenSSL negotiates encrypt_then_mac, which RFC 9325 lets pass"
    assert judge(seen).conclusion is Conclusion.CONFORMANT


def test_tls_1_3_alone_is_named_and_does_not_pass_for_1_2(keys, probe):
    seen = probe(over_tls(keys.context(oldest=ssl.TLSVersion.TLSv1_3), accepting()))
    assert version_states(seen)[TLS_1_2] is False
    assert version_states(seen)[TLS_1_3] is True
    assert not seen.forbidden, "TLS 1.2 suites are not asked of who does not speak it"
    assert seen.client.association.echo == 0
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT
    assert "does not speak TLS 1.2" in sentences(seen)


def test_a_stranger_is_tested_as_far_as_it_gets(keys, probe):
    seen = probe(over_tls(keys.context(alpn=("dicom",)), accepting()), certificate=None)
    assert seen.client is None
    assert seen.stranger.association is None
    assert seen.nobody is None
    assert version_states(seen)[TLS_1_2] is True
    assert seen.stranger.chain
    verdict = judge(seen)
    assert verdict.conclusion is Conclusion.CONFORMANT
    assert "its DICOM was not seen" in verdict.headline
    assert "--cert" in " ".join(finding.advice for finding in verdict.findings)


def test_a_certificate_that_the_peer_does_not_trust_is_told_from_none(keys, probe):
    ours = DevelopmentAuthority("somebody else").issue_client().material
    seen = probe(over_tls(keys.context(), accepting()), certificate=ours)
    assert seen.client.reaction.is_refusal
    assert "It refused our client certificate" in sentences(seen)


def test_a_peer_that_demands_a_certificate_and_takes_any_is_caught(keys, probe):
    """As if verification were switched off: the toy trusts whoever the probe says has signed."""
    context = keys.context()
    made_up = []

    def trust_everybody(subject):
        issued = DevelopmentAuthority(subject)
        context.load_verify_locations(cadata=issued.own.certificate_pem.decode())
        made_up.append(issued)
        return issued

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dimsetls.node.probe.examination.DevelopmentAuthority", trust_everybody)
        seen = probe(over_tls(context, accepting()))
    assert len(made_up) == 1
    assert seen.impostor.admitted
    assert "takes any, even one made up" in sentences(seen)
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT


def test_an_unknown_server_name_may_be_refused(keys, probe):
    context = keys.context()
    context.sni_callback = lambda server, name, _: (
        None if name in (None, "localhost") else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    )
    seen = probe(over_tls(context, accepting()), "localhost", listen_on="127.0.0.1")
    assert seen.other_name.reaction == Reaction(Ending.REFUSED, ALERT_UNRECOGNIZED_NAME)
    assert seen.other_protocols.flight is not None
    assert seen.other_protocols.server_name == "localhost"
    assert "a name it does not have" not in sentences(seen)
    assert "no notice of ALPN" in sentences(seen)


def test_http_on_the_same_port_is_found_by_alpn(keys, probe):
    seen = probe(over_tls(keys.context(alpn=("dicom", "http/1.1")), accepting()))
    assert seen.other_protocols.alpn == "http/1.1"
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT
    assert "HTTP shares the port" in sentences(seen)


def test_another_ae_title_is_asked_for(keys, probe):
    seen = probe(over_tls(keys.context(alpn=("dicom",)), accepting(called="PACS")), called="WRONG")
    assert seen.client.association.rejection == (1, 1, 7)
    assert (seen.nobody, seen.unknown_caller) == (None, None)
    assert "does not know the AE title WRONG" in sentences(seen)
    assert judge(seen).conclusion is Conclusion.CONFORMANT


def test_a_peer_that_leaves_no_room_for_data_is_survived(keys, probe):
    seen = probe(over_tls(keys.context(), accepting(maximum_length=7)))
    assert seen.client.association.answer is Answer.ACCEPTED
    assert seen.client.association.echo is None
    assert "leaves no room" in seen.client.association.words


# Without TLS, or without DICOM

def test_plain_dicom_is_named(probe):
    seen = probe(accepting(), timeout=0.3)  # the toy takes a ClientHello for a PDU, and waits for the rest of it
    assert seen.language is Language.DICOM
    assert seen.plain.echo == 0
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT


def hang_up(connection):
    connection.recv(1)


def say(data):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(data)

    return serve


def http(connection):
    """As a server does that knows no other protocol: a request line, or nothing."""
    if connection.recv(65536).startswith(b"HEAD "):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(("serve", "language", "connections"), [
    (say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Language.HTTP, 1),
    (http, Language.HTTP, 3),
    (say(b"220 mail.example ESMTP\r\n"), Language.OTHER, 3),
    (hang_up, Language.NOTHING, 3),
], ids=["http", "silent-http", "smtp", "hang-up"])
def test_other_languages_are_named(probe, serve, language, connections):
    seen = probe(serve)
    assert seen.language is language
    assert seen.connections == connections
    assert judge(seen).conclusion is Conclusion.NO_DICOM


def test_https_is_named(keys, probe):
    serve = over_tls(keys.context(demand=ssl.CERT_NONE), say(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    seen = probe(serve)
    assert seen.client.association.answer is Answer.HTTP
    verdict = judge(seen)
    assert verdict.conclusion is Conclusion.NO_DICOM
    assert "HTTP over TLS" in verdict.headline


def test_tls_with_something_else_inside_is_no_dicom(keys, probe):
    seen = probe(over_tls(keys.context(demand=ssl.CERT_NONE), hang_up))
    assert judge(seen).conclusion is Conclusion.NO_DICOM


def test_tls_that_makes_no_sense_is_survived(probe):
    seen = probe(say(b"\x16\x03\x03\0\x10\x02\0\0\x0cgibberish..."))
    assert seen.stranger.reaction.ending is Ending.GARBLED
    assert seen.forbidden[0].reaction.ending is Ending.GARBLED
    assert judge(seen).conclusion is Conclusion.NOT_CONFORMANT


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    seen = Probe("127.0.0.1", port, called="TOY", calling="PROBE", timeout=5.0).run()
    assert seen.connections == 1
    assert "Connection refused" in judge(seen).headline
    assert judge(seen).conclusion is Conclusion.NO_DICOM


def test_a_name_without_address():
    seen = Probe("no-such-peer.invalid", 2762, called="TOY", calling="PROBE", timeout=5.0).run()
    assert seen.connections == 0
    assert "no-such-peer.invalid has no address" in judge(seen).headline


def test_silence_ends_with_the_time_given():
    """A listener that never accepts: the system completes the connection, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = monotonic()
        seen = Probe("127.0.0.1", server.getsockname()[1], called="TOY", calling="PROBE", timeout=0.1).run()
    assert seen.stranger.reaction.ending is Ending.SILENT
    assert seen.connections == 3
    assert monotonic() - begun < 5.0, "three connections of a tenth of a second"
    assert judge(seen).conclusion is Conclusion.NO_DICOM


def test_silence_inside_tls_ends_with_the_time_given(keys, probe):
    """The handshakes succeed, and then the peer only listens."""

    def listen(connection):
        while connection.recv(65536):
            pass

    seen = probe(over_tls(keys.context(demand=ssl.CERT_NONE), listen), timeout=0.3)
    assert seen.client.reaction.ending is Ending.SILENT
    assert judge(seen).conclusion is Conclusion.NO_DICOM
    assert "did not answer an A-ASSOCIATE-RQ in time" in judge(seen).headline


class Stubborn:
    """TLS whose user never learns that a record failed, and whose peer never gets an alert."""

    def __init__(self, context, connection):
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._pump(self._tls.do_handshake)

    def recv(self, size):
        try:
            return self._pump(self._tls.read, size)
        except ssl.SSLError:
            while self._connection.recv(65536):
                pass
            raise

    def sendall(self, data):
        self._pump(self._tls.write, data)

    def _pump(self, operation, *arguments):
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                self._connection.sendall(self._outgoing.read())
                data = self._connection.recv(65536)
                self._incoming.write(data) if data else self._incoming.write_eof()
            else:
                self._connection.sendall(self._outgoing.read())
                return result


def test_a_damaged_record_that_is_overlooked_is_a_fault(keys, probe):
    context = keys.context(alpn=("dicom",))
    seen = probe(lambda connection: accepting()(Stubborn(context, connection)), timeout=0.5)
    assert seen.unknown_caller.association.damaged_record == Reaction(Ending.SILENT)
    verdict = judge(seen)
    assert verdict.conclusion is Conclusion.NOT_CONFORMANT
    assert verdict.headline.endswith("requirement 15.")


def test_an_address_of_the_newer_kind(keys, probe):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    seen = probe(over_tls(keys.context(alpn=("dicom",)), accepting()), "::1")
    assert seen.client.name_matches
    assert seen.client.server_name is None
    assert seen.nobody.association.called == NOBODY
