"""The language of the INI file as data: every section and option, its type, default and meaning.

Nothing else knows an option's name, default or text: the configuration, the sample file and the file that
`dimsetls init` writes all come from here. `python -m dimsetls.node.options` prints the sample, etc/dimsetls.ini.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..services.layout import BY_SERIES
from . import values
from .identity.options import BACK_ENDS, IDENTITY, RULE
from .language import Option, SectionKind
from .values import Reference

NODE = SectionKind("node", None, "The process as a whole.", (
    Option("log-format", values.choice(["text", "json"]), "text",
           "How the log is written: lines of text, or one JSON object a line."),
    Option("log-level", values.choice(["debug", "info", "warn", "error", "critical"]), "info",
           "The least serious message that is logged."),
    Option("drain-timeout", values.duration("0s", "1h"), "30s",
           "On SIGTERM no association is accepted any more; those that run may finish for this long and are then "
           "aborted."),
))

LISTENER = SectionKind("listener", values.NAME, "A place where associations are accepted, over TLS as a rule.", (
    Option("port", values.PORT, "2762",
           "TCP port. 2762 is registered as dicom-tls; 0 takes any free port."),
    Option("interface", values.ADDRESS, "127.0.0.1",
           "Address to listen on: 127.0.0.1 is this machine alone, 0.0.0.0 every IPv4 address, :: every address."),
    Option("endpoint", values.ENDPOINT, "",
           "In place of port, interface and backlog: the transport below TLS, for a socket from systemd, a UNIX "
           "socket, or a proxy in front that speaks the PROXY protocol (haproxy:tcp:2762).",
           "systemd:domain=INET:index=0"),
    Option("backlog", values.integer(1, 65535), "1024",
           "Connections that the system holds ready until they are accepted."),
    Option("tls", Reference("tls"), "", "How connections are secured. Needed unless plain is given.", "secure"),
    Option("plain", values.UNLESS_IN_WORDS, "refuse",
           "Whether this listener speaks DICOM without TLS, so that who can see the network reads what is sent and "
           "anyone may claim any AE title. Only instead of tls, never on port 2762, and only in words."),
    Option("aes", Reference("ae", many=True), None,
           "The application entities that are reached here, by AE title.", "DIMSETLS"),
    Option("identity", Reference("identity"), "",
           "What is made of user identities at the AEs here that say nothing of it themselves. Without it they are "
           "ignored.", "staff"),
    Option("limits", Reference("limits"), "",
           "What limits hold here; without this option the defaults of a [limits] section.", "normal"),
))

_KEYS = (
    Option("certificate", values.PATH, None,
           "The node's certificate as PEM, followed by the chain up to but without the root.", "pki/server.pem"),
    Option("private-key", values.PATH, None,
           "The key of the certificate as PEM, in a file that its owner alone may read (chmod 600).",
           "pki/server.key"),
    Option("private-key-passphrase", values.PASSPHRASE, "",
           "Where the passphrase of an encrypted key is: a file whose first line it is (chmod 600), or credential:NAME "
           "for one that systemd passes on.", "credential:dimsetls-key"),
    Option("ocsp-response", values.PATH, "",
           "A file with the OCSP response for the certificate as DER, which something else renews; it is stapled.",
           "pki/server.ocsp"),
    Option("ocsp-responder", values.OCSP_RESPONDER, "",
           "In place of ocsp-response: where to fetch it, and renew it in time; certificate for the URL in there.",
           "certificate"),
)
"""Who the node is on a connection."""

TLS = SectionKind("tls", values.NAME, "How connections are secured: a profile of PS3.15 and the keys.", (
    Option("profile", values.PROFILE, "bcp195-rfc9325",
           "The TLS profile. bcp195-rfc9325 is PS3.15 B.12: TLS 1.2 and 1.3, forward secrecy and authenticated "
           "encryption only. tls13-only leaves out TLS 1.2, -modified is B.13, legacy- is for old peers."),
    Option("legacy-profile", values.UNLESS_IN_WORDS, "refuse",
           "Whether a profile whose name begins with legacy- may be used: it admits what RFC 9325 advises against."),
    Option("minimum-version", values.TLS_VERSION, "", "Narrows the profile: the lowest TLS version.", "1.3"),
    Option("maximum-version", values.TLS_VERSION, "", "Narrows the profile: the highest TLS version.", "1.3"),
    Option("cipher-suites", values.list_of(values.WORD, "cipher suites"), "",
           "Narrows the profile: the cipher suites of TLS 1.2, as OpenSSL names them, the preferred one first.",
           "ECDHE-ECDSA-AES256-GCM-SHA384"),
    Option("tls13-cipher-suites", values.list_of(values.WORD, "cipher suites"), "",
           "Narrows the profile: the cipher suites of TLS 1.3, the preferred one first.", "TLS_AES_256_GCM_SHA384"),
    Option("groups", values.list_of(values.WORD, "key exchange groups"), "",
           "Narrows the profile: the key exchange groups, the preferred one first.", "P-256"),
    *_KEYS,
    Option("named-certificates", Reference("certificate", many=True), "",
           "More certificates, for clients that ask for another name (SNI); the one above is for everyone else.",
           "other"),
    Option("strict-server-names", values.YES_OR_NO, "no",
           "Whether a client that asks for a name in none of the certificates is refused (alert 112)."),
    Option("require-alpn", values.YES_OR_NO, "no",
           "Whether a client that does not offer dicom by ALPN is refused; DCMTK before 3.6.8 and many others do not. "
           "One that offers other protocols only is refused anyway (alert 120)."),
    Option("trust-roots", values.PATH, "",
           "The authorities that peers' certificates come from, as PEM, with those between where their revocation "
           "lists are checked. Needed unless client-certificate is none.",
           "pki/ca.pem"),
    Option("client-certificate", values.CLIENT_CERTIFICATE, "required",
           "Whether a peer must show a certificate, may, or is not asked for one. One that is shown is verified."),
    Option("revocation-check", values.CRL_CHECK, "chain",
           "Which certificates of a peer must be found good in the revocation lists: all of its chain, or its own "
           "(leaf). The check can be waived, in words."),
    Option("revocation-lists", values.list_of(values.PATH, "files"), "",
           "Certificate revocation lists (CRL) of the authorities of peers, as PEM or DER; reload to renew them.",
           "pki/ca.crl"),
    Option("development-certificates-outside-loopback",
           values.UNLESS_IN_WORDS, "refuse",
           "The certificates of dimsetls init serve on loopback addresses alone: the key of their authority lies "
           "beside them, and who has it can be any peer. Anywhere else they are refused, unless the risk is accepted "
           "in words."),
))

CERTIFICATE = SectionKind("certificate", values.NAME,
                          "One more certificate, for the option named-certificates of a [tls].", _KEYS)

SERVICES = ("verification", "storage", "query", "retrieve")

AE = SectionKind("ae", values.AE_TITLE, "An application entity of ours. TITLE is its AE title, letter by letter.", (
    Option("services", values.list_of(values.choice(SERVICES), ", ".join(SERVICES)), "verification, storage",
           "What it does for peers: answer C-ECHO (verification), keep what C-STORE sends (storage), answer C-FIND "
           "(query), send what is stored by C-MOVE and C-GET (retrieve)."),
    Option("storage", Reference("storage"), "",
           "Where instances go and are found. Needed for all services but verification; for query and retrieve it "
           "must have an index.", "archive"),
    Option("peers", Reference("peer", many=True, any_word="any"), "any",
           "Who may call. Anyone else is rejected (calling AE title not recognized)."),
    Option("identity", Reference("identity"), "",
           "What is made of the user identities that callers present.", "staff"),
    Option("rules", Reference("rule", many=True), "",
           "Who may do what here: what none of these rules permits is refused. Without it whoever may call may do "
           "everything.", "technicians"),
    Option("transfer-syntaxes", values.TRANSFER_SYNTAXES, "all",
           "Transfer syntaxes, the preferred one first: of those that a presentation context offers, the first in this "
           "list is taken. all is every known one, Explicit VR Little Endian first, lossless before lossy."),
    Option("unknown-sop-classes", values.choice({"refuse": False, "accept": True}), "refuse",
           "Whether instances of private storage classes, or of classes newer than this program, are stored as well."),
    Option("maximum-length", values.integer(4096, 16777216), "131066",
           "The longest P-DATA PDU that peers may send, in bytes. The default fills whole TLS records."),
    Option("maximum-operations-invoked", values.integer(1, 65535), "1",
           "How many operations a peer may have outstanding at once, if it asks for more than one (asynchronous "
           "operations window)."),
))

PEER = SectionKind("peer", values.NAME,
                   "A remote application entity, for the option peers of an [ae]; with host also a destination of "
                   "C-MOVE.", (
    Option("ae-title", values.AE_TITLE, None, "Its AE title.", "CT1"),
    Option("host", values.HOST, "",
           "Where it is reached when a C-MOVE names its AE title as the destination; its certificate has to be for "
           "this name or address. Without it nothing is sent there.", "ct1.hospital.example"),
    Option("port", values.integer(1, 65535), "2762", "The TCP port at host."),
    Option("tls", Reference("tls"), "",
           "How connections to host are secured, with the certificate of the section as ours. Needed with host.",
           "secure"),
    Option("addresses", values.list_of(values.NETWORK, "addresses or networks"), "",
           "Where it calls from. Without this option the address is not looked at.", "10.1.2.3, fd00:1::/64"),
    Option("bearer-identity-type", values.integer(6, 255), "",
           "A User-Identity-Type value, reserved by the standard, with which this peer presents bearer tokens.",
           "254"),
    Option("certificates", values.list_of(values.CERTIFICATE_RULE, "conditions on certificates"), "",
           "The certificates that may use this AE title, at every AE: dns:, uri: or ip: for a name in it, "
           "subject:CN=…, issuer:CN=… with serial:…, spki:… for the SHA-256 of its key; joined by and, alternatives "
           "separated by commas. Any other that claims the title is rejected and logged as a security alert.",
           "dns:ct1.hospital.example, issuer:CN=Hospital CA and serial:1F2E"),
))

STORAGE = SectionKind("storage", values.NAME, "A directory where instances are kept as DICOM files.", (
    Option("directory", values.PATH, None, "The directory. It must exist and be writable.", "store"),
    Option("layout", values.LAYOUT, BY_SERIES, "Where in the directory an instance goes."),
    Option("duplicates", values.DUPLICATES, "identical",
           "When an instance comes a second time: identical keeps the first, and refuses the second if it differs; "
           "replace takes the second; keep keeps the first and answers Success; refuse always refuses."),
    Option("fsync", values.FSYNC, "full",
           "full answers Success when the file has reached the disk and survives a loss of power; none leaves that to "
           "the operating system."),
    Option("index", values.YES_OR_NO, "no",
           "Whether instances are indexed as they are stored, in the file .index.db of the directory, so that query "
           "and retrieve find them. What was stored before is found after `dimsetls index rebuild`."),
))

LIMITS = SectionKind("limits", values.NAME, "How much one listener takes on, and how long it waits. "
                     "A time counts from the start of its phase.", (
    Option("associations", values.integer(1, 100000), "200",
           "Associations at once. One more is rejected (local limit exceeded)."),
    Option("associations-per-address", values.integer(1, 100000), "50", "Of these, from one address."),
    Option("associations-per-calling-ae", values.integer(1, 100000), "50", "Of these, from one calling AE title."),
    Option("pending-connections", values.integer(1, 100000), "1000",
           "Connections at once that are in the TLS handshake or have not asked for an association yet. With one more, "
           "the oldest of them is closed."),
    Option("associate-pdu-length", values.size("4KiB", "16MiB"), "256KiB", "The longest A-ASSOCIATE PDU that is read."),
    Option("tls-handshake-timeout", values.duration("100ms", "1h"), "10s",
           "From connection to the end of the TLS handshake."),
    Option("artim-timeout", values.duration("100ms", "1h"), "30s",
           "From the end of the handshake to a complete A-ASSOCIATE-RQ, and from our last PDU until the peer closes "
           "(ARTIM, PS3.8)."),
    Option("idle-timeout", values.duration("100ms", "24h"), "300s",
           "How long an association may stand without a message."),
    Option("pdu-timeout", values.duration("100ms", "1h"), "60s", "From the first byte of a PDU to its last."),
    Option("write-timeout", values.duration("100ms", "1h"), "60s", "How long a peer may take nothing of what we send."),
))

_KINDS = (NODE, LISTENER, AE, IDENTITY, RULE, *BACK_ENDS, PEER, TLS, CERTIFICATE, STORAGE, LIMITS)
SECTIONS: dict[str, SectionKind] = {kind.kind: kind for kind in _KINDS}
"""Every kind of section by name, in the order of the file. A section refers only to kinds that come after its own."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A section to be written, with the options to set; a `commented` one is shown but not in force."""

    kind: SectionKind
    name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    commented: bool = False


HEADING = """\
# dimsetls: DICOM associations over TLS.
#
# An option that is commented out shows its default, or an example where it has none.
# A comment begins with # or ; at the start of a line or after white space. A list that ends in a comma goes on in
# the next line. Relative paths begin at the directory of this file. `dimsetls check FILE` tells what is wrong.
"""


def render(drafts: Sequence[Draft]) -> str:
    """The text of a configuration file with these sections, every option of theirs in it and explained."""
    return "\n".join([HEADING, *(line for draft in drafts for line in _section(draft))])


def _section(draft: Draft) -> Iterator[str]:
    off = "#" if draft.commented else ""
    yield f"# {draft.kind.doc}"
    yield f"{off}[{draft.kind.kind}{' ' if draft.name else ''}{draft.name}]"
    for option in draft.kind.options:
        text = draft.settings.get(option.name)
        yield ""
        comment = f"{option.doc} Value: {option.type.expected}."
        yield from textwrap.wrap(comment, 116, initial_indent="# ", subsequent_indent="# ")
        yield f"{off if text else '#'}{option.name} = {text or option.default or option.example}"
    yield "\n"


def sample() -> str:
    """The sample file, for a node that runs as a system service."""
    return render(node_drafts(port=2762, interface="127.0.0.1", directory="/var/lib/dimsetls",
                               revocation={"revocation-lists": "pki/ca.crl"}))


def node_drafts(port: int, interface: str, directory: str, revocation: Mapping[str, str]) -> list[Draft]:
    """A node with one listener and one AE that verifies and stores, keys in pki/, instances in `directory`.

    `revocation` says in options of [tls] what is made of peers' certificates that were revoked.
    """
    return [
        Draft(NODE),
        Draft(LISTENER, "main", {
            "port": str(port), "interface": interface, "tls": "secure", "aes": "DIMSETLS", "limits": "normal",
        }),
        Draft(TLS, "secure", {
            "certificate": "pki/server.pem", "private-key": "pki/server.key", "trust-roots": "pki/ca.pem",
            **revocation,
        }),
        Draft(CERTIFICATE, "other", commented=True),
        Draft(AE, "DIMSETLS", {"storage": "archive"}),
        Draft(IDENTITY, "staff", commented=True),
        Draft(RULE, "technicians", commented=True),
        *(Draft(kind, "local" if kind.kind == "users" else "hospital", commented=True) for kind in BACK_ENDS),
        Draft(PEER, "ct1", commented=True),
        Draft(STORAGE, "archive", {"directory": directory}),
        Draft(LIMITS, "normal"),
    ]


if __name__ == "__main__":
    sys.stdout.write(sample())
