from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimsetls.association.admission import Caller
from dimsetls.errors import ConfigurationError
from dimsetls.node.options import SECTIONS, sample
from dimsetls.node.reading import load
from dimsetls.services.filesystem import Duplicates, Durability
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.policy import BCP195_RFC9325, ClientCertificate
from dimsetls.tls.session import PeerCertificate

MINIMAL = """\
[listener main]
tls = secure
aes = DIMSETLS

[tls secure]
certificate = pki/server.pem
private-key = /keys/server.key
trust-roots = pki/ca.pem

[ae DIMSETLS]
storage = archive

[storage archive]
directory = store
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "node.ini"
        path.write_text(text)
        return load(path)
    return read


@pytest.fixture
def problems(read, tmp_path):
    """The problems of a text, without the name of the file."""
    def problems(text):
        with pytest.raises(ConfigurationError) as caught:
            read(text)
        name = str(tmp_path / "node.ini")
        assert all(problem.startswith(f"{name}:") for problem in caught.value.problems)
        return [problem.removeprefix(f"{name}:") for problem in caught.value.problems]
    return problems


def changed(old, new):
    assert MINIMAL.count(old) == 1
    return MINIMAL.replace(old, new)


def test_what_is_not_set_has_its_default(read, tmp_path):
    config = read(MINIMAL)
    assert config.path == tmp_path / "node.ini"
    assert (config.node.log_format, config.node.log_level, config.node.drain_timeout) == ("text", "info", 30)
    (listener,), (tls,), (ae,), (storage,) = config.listeners, config.tls, config.aes, config.storages
    assert (listener.name, listener.port, listener.interface, listener.endpoint) == ("main", 2762, "127.0.0.1", None)
    assert (tls.profile, tls.client_certificate) == (BCP195_RFC9325, ClientCertificate.REQUIRED)
    assert not tls.development_certificates_outside_loopback
    assert (ae.title, ae.services, ae.peers) == ("DIMSETLS", ("verification", "storage"), None)
    assert not ae.unknown_sop_classes
    assert (ae.maximum_length, ae.maximum_operations_invoked, ae.maximum_operations_performed) == (131066, 1, 1)
    assert len(ae.transfer_syntaxes) > 30
    assert storage.layout.template == "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    assert (storage.duplicates, storage.fsync) == (Duplicates.IDENTICAL, Durability.FULL)
    limits = listener.limits
    assert (limits.associations, limits.associations_per_address, limits.associations_per_calling_ae) == (200, 50, 50)
    assert (limits.pending_connections, limits.associate_pdu_length) == (1000, 262144)
    assert (limits.tls_handshake_timeout, limits.artim_timeout, limits.idle_timeout) == (10, 30, 300)
    assert (limits.pdu_timeout, limits.write_timeout, limits.response_timeout) == (60, 60, 300)


def test_sections_refer_to_each_other_as_objects(read):
    config = read(MINIMAL + "[peer ct1]\nae-title = CT1\n[limits few]\nassociations = 1\n"
                  "[ae OTHER]\nservices = verification\npeers = ct1\n"
                  "[listener second]\nport = 11112\ntls = secure\naes = OTHER, DIMSETLS\nlimits = few\n")
    main, second = config.listeners
    assert main.tls is second.tls is config.tls[0]
    assert [ae.title for ae in second.aes] == ["OTHER", "DIMSETLS"]
    assert second.aes[1] is main.aes[0]
    assert second.aes[1].storage is config.storages[0]
    assert second.aes[0].peers == (config.peers[0],)
    assert second.limits is config.limits[0]
    assert (second.limits.associations, second.limits.idle_timeout) == (1, 300)


def test_paths_begin_at_the_file(read, tmp_path, monkeypatch):
    tls = read(MINIMAL).tls[0]
    assert (tls.certificate, str(tls.private_key)) == (tmp_path / "pki/server.pem", "/keys/server.key")
    monkeypatch.chdir(tmp_path)
    assert load("node.ini").storages[0].directory == tmp_path / "store"


def test_the_sample_sets_nothing_but_defaults(read):
    text = sample()
    for line in ("port = 2762", "interface = 127.0.0.1", "limits = normal", "[limits normal]"):
        assert text.count(f"\n{line}\n") == 1
        text = text.replace(f"\n{line}\n", "\n")
    full, bare = read(sample()), read(text)
    assert [getattr(full.listeners[0], name) for name in ("port", "interface", "backlog")] \
        == [getattr(bare.listeners[0], name) for name in ("port", "interface", "backlog")]
    differing = {name for name in full.limits[0].__slots__
                 if getattr(full.limits[0], name) != getattr(bare.listeners[0].limits, name)}
    assert differing == {"name"}
    assert (full.node, full.tls, full.listeners[0].aes[0].peers) == (bare.node, bare.tls, None)


def test_words_that_accept_the_risk(read):
    words = changed("trust-roots", "development-certificates-outside-loopback = i understand the risk\ntrust-roots")
    assert read(words).tls[0].development_certificates_outside_loopback


def test_the_policy_follows_the_switch(read):
    tls = read(changed("trust-roots = pki/ca.pem", "client-certificate = none")).tls[0]
    assert tls.trust_roots is None
    assert tls.policy == BCP195_RFC9325.with_client_certificate(ClientCertificate.NONE)


@pytest.mark.parametrize(("options", "transport", "loopback", "shown"), [
    ("", r"tcp:2762:interface=127.0.0.1:backlog=1024", True, "127.0.0.1:2762"),
    ("interface = ::1\nport = 0\nbacklog = 5", r"tcp6:0:interface=\:\:1:backlog=5", True, "[::1]:0"),
    ("interface = 0.0.0.0", r"tcp:2762:interface=0.0.0.0:backlog=1024", False, "0.0.0.0:2762"),
    ("endpoint = unix:/run/d", "unix:/run/d", True, "unix:/run/d"),
    ("endpoint = haproxy:tcp:2762", "haproxy:tcp:2762", False, "haproxy:tcp:2762"),
    ("endpoint = systemd:domain=INET:index=0", "systemd:domain=INET:index=0", False, "systemd:domain=INET:index=0"),
])
def test_where_a_listener_listens(read, options, transport, loopback, shown):
    listener = read(changed("tls = secure\n", f"tls = secure\n{options}\n")).listeners[0]
    assert (listener.transport, listener.is_loopback, str(listener)) == (transport, loopback, shown)


def test_peers_are_recognized_by_title_and_address(read):
    config = read(changed("storage = archive", "storage = archive\npeers = ct1, ct2") +
                  "[peer ct1]\nae-title = CT\naddresses = 10.1.0.0/16, ::1\n[peer ct2]\nae-title = CT 2\n")
    ae = config.aes[0]
    assert config.peers[0].addresses == (ip_network("10.1.0.0/16"), ip_network("::1"))

    def recognizes(title, address):
        return ae.refusal(Caller(title, address, None), config.peers) is None

    assert recognizes("CT", "10.1.2.3")
    assert recognizes("CT", "::ffff:10.1.2.3")
    assert recognizes("CT", "::1")
    assert not recognizes("CT", "10.2.0.1")
    assert not recognizes("CT", "unix")
    assert not recognizes("ct", "10.1.2.3")
    assert recognizes("CT 2", "unix")
    assert recognizes("CT 2", "192.0.2.1")
    assert not recognizes("MR", "10.1.2.3")


@pytest.mark.parametrize("callers", ["any", "ct1, ct2"])
def test_a_title_bound_to_certificates_is_for_them_alone(read, callers):
    config = read(changed("storage = archive", f"storage = archive\npeers = {callers}") +
                  "[peer ct1]\nae-title = CT\ncertificates = dns:ct1.example, subject:CN=CT and subject:O=H\n"
                  "[peer ct2]\nae-title = MR\n")
    authority = DevelopmentAuthority()

    def refusal(title, *names):
        peer = PeerCertificate.of(authority.issue_client("CT", names=names).material.certificate) if names else None
        return config.aes[0].refusal(Caller(title, "10.1.2.3", peer), config.peers)

    assert refusal("CT", "ct1.example") is None
    assert refusal("MR", "elsewhere.example") is None
    stranger, nobody = refusal("CT", "elsewhere.example"), refusal("CT")
    assert stranger.is_security_alert
    assert "CT is bound to certificates by [peer ct1], but CN=CT" in stranger.sentence
    assert nobody.is_security_alert
    assert "no certificate came with it" in nobody.sentence


def test_any_peer_is_recognized_where_none_is_named(read):
    assert read(MINIMAL).aes[0].refusal(Caller("WHOEVER", "unix", None), ()) is None


@pytest.mark.parametrize(("text", "problem"), [
    (MINIMAL + "[listner second]",
     "15: [listner]: found 'listner', expected a kind of section: node, listener, ae, identity, "
     f"{', '.join([*SECTIONS][4:])}; did you mean listener?"),
    (MINIMAL + "[node one]", "15: [node]: found 'one', expected [node] without a name"),
    (MINIMAL + "[limits]", "15: [limits NAME]: found nothing, expected a name of letters, digits, dots, hyphens and "
                           "underscores that is not any, all or none"),
    (MINIMAL + "[peer any]", "15: [peer NAME]: found 'any', expected a name of letters, digits, dots, hyphens and "
                             "underscores that is not any, all or none"),
    (MINIMAL + "[ae A\\B]\nservices = verification",
     "15: [ae NAME]: found 'A\\\\B', expected an AE title: 1 to 16 printable ASCII characters without a backslash"),
    (MINIMAL + "[ae DIMSETLS]\nstorage = archive",
     "15: [ae DIMSETLS]: found a second time, expected once (first in line 10)"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\nprot = 11112"),
     "4: [listener main] prot: found 'prot', expected an option of [listener]: port, interface, endpoint, backlog, "
     "tls, plain, aes, identity, limits; did you mean port?"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\nport = many"),
     "4: [listener main] port: found 'many', expected a whole number from 0 to 65535"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\nport ="),
     "4: [listener main] port: found nothing, expected a whole number from 0 to 65535"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\ninterface = localhost"),
     "4: [listener main] interface: found 'localhost', expected an IPv4 or IPv6 address such as 127.0.0.1 or ::1; "
     "did you mean 127.0.0.1?"),
    (changed("aes = DIMSETLS\n", ""),
     "1: [listener main] aes: found nothing, expected names of [ae] sections, separated by commas, "
     "such as aes = DIMSETLS"),
    (changed("aes = DIMSETLS", "aes = DIMSELTS"),
     "3: [listener main] aes: found 'DIMSELTS', expected names of [ae] sections, separated by commas; "
     "did you mean DIMSETLS?"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS, DIMSETLS"),
     "3: [listener main] aes: found 'DIMSETLS' twice, expected each item of the list once"),
    (changed("tls = secure", "tls = sekure"),
     "2: [listener main] tls: found 'sekure', expected the name of a [tls] section; did you mean secure?"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\nlimits = none"),
     "4: [listener main] limits: found 'none', expected the name of a [limits] section"),
    (changed("aes = DIMSETLS", "aes = DIMSETLS\nbacklog = 5\nendpoint = unix:/run/d"),
     "4: [listener main] backlog: found besides endpoint (line 5), expected one or the other"),
    (MINIMAL + "[listener second]\ninterface = 0.0.0.0\ntls = secure\naes = DIMSETLS",
     "15: [listener second] port: found 0.0.0.0:2762, expected a place of its own, "
     "as [listener main] takes 127.0.0.1:2762"),
    (changed("[tls secure]", "[listener a]\nendpoint = unix:/run/d\ntls = secure\naes = DIMSETLS\n"
             "[listener b]\nendpoint = unix:/run/d\ntls = secure\naes = DIMSETLS\n[tls secure]"),
     "10: [listener b] endpoint: found unix:/run/d, expected a place of its own, as [listener a] takes unix:/run/d"),
    (changed("trust-roots = pki/ca.pem", "profile = bcp195-rfc9352\ntrust-roots = pki/ca.pem"),
     "8: [tls secure] profile: found 'bcp195-rfc9352', "
     "expected one of bcp195-rfc9325, bcp195-rfc9325-modified, tls13-only, legacy-bcp195-nd; "
     "did you mean bcp195-rfc9325?"),
    (changed("trust-roots = pki/ca.pem\n", ""),
     "5: [tls secure] trust-roots: found nothing, expected a PEM file, as client-certificate is required"),
    (changed("private-key = /keys/server.key\n", ""),
     "5: [tls secure] private-key: found nothing, expected a path, absolute or relative to the directory of this "
     "file, such as private-key = pki/server.key"),
    (changed("trust-roots", "development-certificates-outside-loopback = yes\ntrust-roots"),
     "8: [tls secure] development-certificates-outside-loopback: found 'yes', "
     "expected refuse or i understand the risk"),
    (changed("storage = archive\n", ""),
     "10: [ae DIMSETLS] storage: found nothing, expected the name of a [storage] section, "
     "as the services include storage"),
    (changed("storage = archive", "storage = archiv"),
     "11: [ae DIMSETLS] storage: found 'archiv', expected the name of a [storage] section; did you mean archive?"),
    (changed("storage = archive", "storage = archive\npeers = ct1"),
     "12: [ae DIMSETLS] peers: found 'ct1', expected any, or names of [peer] sections, separated by commas"),
    (changed("storage = archive", "storage = archive\nservices = verification, print"),
     "12: [ae DIMSETLS] services: found 'print', expected one of verification, storage, query, retrieve, commitment, "
     "worklist, procedure-steps"),
    (changed("storage = archive", "storage = archive\nservices = commitment"),
     "11: [ae DIMSETLS] storage: found archive, which has no index, expected index = yes in [storage archive], as the "
     "services include commitment"),
    (changed("storage = archive", "services = worklist"),
     "10: [ae DIMSETLS] worklist: found nothing, expected the name of a [worklist] section, as the services include "
     "worklist"),
    (changed("storage = archive", "services = procedure-steps\nworklist = today") + "[worklist today]\ndirectory = w\n",
     "10: [ae DIMSETLS] procedure-steps: found nothing, expected the name of a [procedure-steps] section, as the "
     "services include procedure-steps"),
    (MINIMAL + "[worklist today]\n",
     "15: [worklist today] directory: found nothing, expected a path, absolute or relative to the directory of this "
     "file, such as directory = worklist"),
    (changed("storage = archive", "storage = archive\nservices = verification, query"),
     "11: [ae DIMSETLS] storage: found archive, which has no index, expected index = yes in [storage archive], as the "
     "services include query"),
    (changed("storage = archive", "services = retrieve"),
     "10: [ae DIMSETLS] storage: found nothing, expected the name of a [storage] section, as the services include "
     "retrieve"),
    (MINIMAL + "[peer ct1]\nae-title = CT1\nhost = ct1",
     "15: [peer ct1] tls: found nothing, expected the name of a [tls] section, as there is a host to be reached"),
    (MINIMAL + "[peer ct1]\nae-title = CT1\ntls = secure",
     "17: [peer ct1] tls: found without host, expected both: it says how the peer is reached"),
    (MINIMAL + "[peer ct1]\nae-title = CT1\nhost = a b\ntls = secure",
     "17: [peer ct1] host: found 'a b', expected a DNS name such as pacs.hospital.example, or an IPv4 or IPv6 address"),
    (MINIMAL + "[tls open]\ncertificate = a\nprivate-key = b\nclient-certificate = none\n"
     "[peer ct1]\nae-title = CT1\nhost = ct1\ntls = open",
     "22: [peer ct1] tls: found open, whose client-certificate is none, expected a section that says how peers' "
     "certificates are verified"),
    (changed("directory = store", "directory = store\nfsync = yes"),
     "15: [storage archive] fsync: found 'yes', expected full or none"),
])
def test_one_sentence_names_file_section_option_what_was_found_and_what_is_expected(problems, text, problem):
    assert problems(text) == [problem]


def test_a_bad_layout_is_told_at_its_line(problems):
    found = problems(changed("directory = store", "directory = store\nlayout = {SopInstanceUID}.dcm"))
    assert all(problem.startswith("15: [storage archive] layout: ") for problem in found)
    assert "{SOPInstanceUID}" in "".join(found)


def test_all_problems_come_in_one_run_in_the_order_of_the_lines(problems):
    text = MINIMAL.replace("tls = secure", "tls = sekure").replace("pki/ca.pem", "pki/ca.pem\ncolor = red")
    found = problems("stray = 1\n" + text + "[limits x]\nassociations = 0\nidle-timeout = 300\n[nod]\n")
    assert [problem.split(":")[0] for problem in found] == ["1", "3", "10", "18", "19", "20"]


def test_a_broken_section_is_not_blamed_on_those_that_refer_to_it(problems):
    assert problems(changed("certificate = pki/server.pem\n", "")) == [
        "5: [tls secure] certificate: found nothing, expected a path, absolute or relative to the directory of this "
        "file, such as certificate = pki/server.pem",
    ]


def test_a_section_given_twice_is_read_for_its_other_mistakes_too(problems):
    found = problems(MINIMAL + "[storage archive]\ndirectory = other\nfsync = maybe\n")
    assert [problem.split(":")[0] for problem in found] == ["15", "17"]


def test_ports_that_the_system_chooses_do_not_collide(read):
    text = changed("tls = secure", "port = 0\ntls = secure") + "[listener b]\nport = 0\ntls = secure\naes = DIMSETLS\n"
    assert [listener.port for listener in read(text).listeners] == [0, 0]


def test_the_same_port_on_two_addresses_is_two_places(read):
    assert len(read(MINIMAL + "[listener b]\ninterface = 127.0.0.2\ntls = secure\naes = DIMSETLS\n").listeners) == 2


def test_what_does_not_print_is_escaped(problems):
    (found,) = problems(MINIMAL + "x\u200by = 2")
    assert found.startswith(r"15: [storage archive] x\u200by: found 'x\u200by', ")


def test_nothing_to_listen_on(problems):
    assert problems("") == [" found no [listener NAME] section, expected at least one"]


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "no.ini")
    assert caught.value.problems == (f"{tmp_path}/no.ini: found no readable file (No such file or directory), "
                                     "expected a configuration; dimsetls init DIR writes one",)


@pytest.mark.parametrize("path", [".", "a\x00b", "x" * 5000])
def test_a_path_that_is_no_file(path):
    with pytest.raises(ConfigurationError, match="found no readable file"):
        load(path)


def test_not_utf_8(tmp_path):
    path = tmp_path / "latin.ini"
    path.write_bytes(b"[node]\n# caf\xe9\n")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert caught.value.problems == (f"{path}:2: found bytes that are not UTF-8, expected a text file in UTF-8",)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "bom.ini"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(path).listeners


LINES = st.one_of(
    st.builds("[{} {}]".format, st.sampled_from([*SECTIONS, "x"]), st.sampled_from(["", "a", "B", "any", "a,b", "é"])),
    st.builds(
        "{} = {}".format,
        st.sampled_from([option.name for kind in SECTIONS.values() for option in kind.options] + ["x"]),
        st.one_of(
            st.sampled_from([each.default or each.example for kind in SECTIONS.values() for each in kind.options]),
            st.sampled_from(["a", "B", "a, B", "a,", "", "none", "0", "1.2.3", "{", "::", "unix:/x"]),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        ),
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=25), whole=st.booleans())
def test_whatever_the_file_says_it_is_read_or_refused_in_sentences_of_one_line(tmp_path, lines, whole):
    path = tmp_path / "fuzz.ini"
    path.write_text((MINIMAL if whole else "") + "\n".join(lines), encoding="utf-8", newline="")
    problems = ()
    try:
        load(path)
    except ConfigurationError as error:
        problems = error.problems or ("",)
    assert all(problem.startswith(f"{path}:") and problem.isprintable() for problem in problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    path = tmp_path / "bytes.ini"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(path)
