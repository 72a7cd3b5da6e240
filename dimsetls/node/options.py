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
from . import choices, values
from .credentials import CREDENTIAL
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
    Option("workers", values.WORKERS, "1",
           "How many processes serve the listeners; auto is one for each processor. With more than 1 the process that "
           "was started listens, keeps what there is only one of, and restarts a worker that dies."),
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
    Option("profile", choices.PROFILE, "bcp195-rfc9325",
           "The TLS profile. bcp195-rfc9325 is PS3.15 B.12: TLS 1.2 and 1.3, forward secrecy and authenticated "
           "encryption only. tls13-only leaves out TLS 1.2, -modified is B.13, legacy- is for old peers."),
    Option("legacy-profile", values.UNLESS_IN_WORDS, "refuse",
           "Whether a profile whose name begins with legacy- may be used: it admits what RFC 9325 advises against."),
    Option("minimum-version", choices.TLS_VERSION, "", "Narrows the profile: the lowest TLS version.", "1.3"),
    Option("maximum-version", choices.TLS_VERSION, "", "Narrows the profile: the highest TLS version.", "1.3"),
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
    Option("client-certificate", choices.CLIENT_CERTIFICATE, "required",
           "Whether a peer must show a certificate, may, or is not asked for one. One that is shown is verified."),
    Option("revocation-check", choices.CRL_CHECK, "chain",
           "Which certificates of a peer must be found good in the revocation lists: all of its chain, or its own "
           "(leaf). The check can be waived, in words."),
    Option("revocation-lists", values.list_of(values.PATH, "files"), "",
           "Certificate revocation lists (CRL) of the authorities of peers, as PEM or DER; reload to renew them.",
           "pki/ca.crl"),
    Option("resumption", values.RESUMPTION, "no",
           "Whether a peer of TLS 1.3 may take an earlier session up again, where certificates are not shown anew, and "
           "for how long: 1m to 24h. So do we with peers that we call. It saves a good part of a handshake's work."),
    Option("transport", choices.TRANSPORT, "stream",
           "Which implementation carries TLS: that of dimsetls (stream), or Twisted's (memory), which is slower. Both "
           "do so over TCP, UNIX sockets, sockets from systemd and the PROXY protocol, and alike on the wire."),
    Option("development-certificates-outside-loopback",
           values.UNLESS_IN_WORDS, "refuse",
           "The certificates of dimsetls init serve on loopback addresses alone: the key of their authority lies "
           "beside them, and who has it can be any peer. Anywhere else they are refused, unless the risk is accepted "
           "in words."),
))

CERTIFICATE = SectionKind("certificate", values.NAME,
                          "One more certificate, for the option named-certificates of a [tls].", _KEYS)

SERVICES = ("verification", "storage", "query", "retrieve", "commitment", "worklist", "procedure-steps")

AE = SectionKind("ae", values.AE_TITLE, "An application entity of ours. TITLE is its AE title, letter by letter.", (
    Option("services", values.list_of(values.choice(SERVICES), ", ".join(SERVICES)), "verification, storage",
           "What it does for peers: answer C-ECHO (verification), keep what C-STORE sends (storage), answer C-FIND "
           "(query), send what is stored by C-MOVE and C-GET (retrieve), answer for what is stored (commitment), say "
           "what is scheduled (worklist), keep what devices tell of their work (procedure-steps)."),
    Option("storage", Reference("storage"), "",
           "Where instances go and are found. Needed for storage, query, retrieve and commitment; for the last three "
           "it must have an index.", "archive"),
    Option("commitment-timeout", values.duration("1m", "8760h"), "168h",
           "How long it is tried to tell a peer what became of its request for storage commitment. It is told on the "
           "association of its request, or on one to the host of the [peer] with its AE title."),
    Option("worklist", Reference("worklist"), "", "What is scheduled. Needed for the service worklist.", "today"),
    Option("procedure-steps", Reference("procedure-steps"), "",
           "Where performed procedure steps are kept. Needed for the service procedure-steps.", "performed"),
    Option("peers", Reference("peer", many=True, any_word="any"), "any",
           "Who may call. Anyone else is rejected (calling AE title not recognized)."),
    Option("identity", Reference("identity"), "",
           "What is made of the user identities that callers present.", "staff"),
    Option("rules", Reference("rule", many=True), "",
           "Who may do what here: what none of these rules permits is refused. Without it whoever may call may do "
           "everything.", "technicians"),
    Option("transfer-syntaxes", choices.TRANSFER_SYNTAXES, "all",
           "Transfer syntaxes, the preferred one first: of those that a presentation context offers, the first in this "
           "list is taken. all is every known one, Explicit VR Little Endian first, lossless before lossy."),
    Option("unknown-sop-classes", values.choice({"refuse": False, "accept": True}), "refuse",
           "Whether instances of private storage classes, or of classes newer than this program, are stored as well."),
    Option("maximum-length", values.integer(4096, 16777216), "131066",
           "The longest P-DATA PDU that peers may send, in bytes. The default fills whole TLS records."),
    Option("maximum-operations-invoked", values.integer(1, 65535), "1",
           "How many operations a peer may have outstanding at once, if it asks for more than one (asynchronous "
           "operations window)."),
    Option("maximum-operations-performed", values.integer(1, 65535), "1",
           "How many operations we may have outstanding at the peer, if it asks for more than one: instances of its "
           "C-GET on their way at once."),
))

PEER = SectionKind("peer", values.NAME,
                   "A remote application entity, for the option peers of an [ae]; with host also one that we call: a "
                   "destination of C-MOVE, of a [forward], or by its name on the command line.", (
    Option("ae-title", values.AE_TITLE, None, "Its AE title.", "CT1"),
    Option("host", values.HOST, "",
           "Where it is reached when we call it; its certificate has to be for this name or address. Without it we "
           "never do.", "ct1.hospital.example"),
    Option("port", values.integer(1, 65535), "2762", "The TCP port at host."),
    Option("tls", Reference("tls"), "",
           "How connections to host are secured, with the certificate of the section as ours. Needed with host.",
           "secure"),
    Option("presents", Reference("credential"), "",
           "Who we say that we are when we call it. Without this option we present no user identity.",
           "archive-at-pacs"),
    Option("connect-timeout", values.duration("100ms", "10m"), "30s",
           "How long a connection to host may take to come about; then its TLS handshake may take as long again."),
    Option("answer-timeout", values.duration("100ms", "1h"), "30s",
           "How long it may take to answer when we ask for an association, or for its release."),
    Option("response-timeout", values.duration("100ms", "24h"), "300s",
           "How long it may take to answer an operation, or to send the next of several responses."),
    Option("idle-timeout", values.duration("0s", "1h"), "10s",
           "How long we keep an association with it that is not used, for what comes next; with 0s it is released at "
           "once, as that of a C-MOVE always is."),
    Option("associations", values.integer(1, 1000), "4",
           "How many associations each AE of ours has with it at once; what is beyond waits for its turn."),
    Option("operations", values.integer(1, 1000), "1",
           "How many operations we ask to have outstanding on each of them (asynchronous operations window)."),
    Option("addresses", values.list_of(values.NETWORK, "addresses or networks"), "",
           "Where it calls from. Without this option the address is not looked at.", "10.1.2.3, fd00:1::/64"),
    Option("bearer-identity-type", values.integer(6, 255), "",
           "A User-Identity-Type value, reserved by the standard, with which bearer tokens are presented: by this "
           "peer, and to it.",
           "254"),
    Option("certificates", values.list_of(choices.CERTIFICATE_RULE, "conditions on certificates"), "",
           "The certificates that may use this AE title, at every AE, and that host may show, where they have to be "
           "for its name as well: dns:, uri: or ip: for a name in it, "
           "subject:CN=…, issuer:CN=… with serial:…, spki:… for the SHA-256 of its key; joined by and, alternatives "
           "separated by commas. Any other that claims the title is rejected and logged as a security alert.",
           "dns:ct1.hospital.example, issuer:CN=Hospital CA and serial:1F2E"),
))

STORAGE = SectionKind("storage", values.NAME, "A directory where instances are kept as DICOM files.", (
    Option("directory", values.PATH, None, "The directory. It must exist and be writable.", "store"),
    Option("layout", choices.LAYOUT, BY_SERIES, "Where in the directory an instance goes."),
    Option("duplicates", choices.DUPLICATES, "identical",
           "When an instance comes a second time: identical keeps the first, and refuses the second if it differs; "
           "replace takes the second; keep keeps the first and answers Success; refuse always refuses."),
    Option("fsync", choices.FSYNC, "full",
           "full answers Success when the file has reached the disk and survives a loss of power; none leaves that to "
           "the operating system."),
    Option("index", values.YES_OR_NO, "no",
           "Whether instances are indexed as they are stored, in the file .index.db of the directory, so that query "
           "and retrieve find them. What was stored before is found after `dimsetls index rebuild`."),
    Option("forward", Reference("forward", many=True), "",
           "What is sent on to peers as it is stored: Success is answered once it is queued on disk as well. Needs "
           "index = yes, for the queue is in the same file.", "to-pacs"),
))

FORWARD = SectionKind("forward", values.NAME,
                      "A rule for what is stored, for the option forward of a [storage]: it is sent on, tried again "
                      "until the peer has it, and kept as a dead letter where that is in vain. All conditions must "
                      "hold; each is met by any of its values.", (
    Option("peers", Reference("peer", many=True), None,
           "To whom. Each must have a host, and gets each instance once, however many rules name it.", "ct1"),
    Option("calling-ae-titles", values.list_of(values.AE_TITLE, "AE titles"), "",
           "Only what came from these calling AE titles.", "CT1"),
    Option("called-ae-titles", values.list_of(values.AE_TITLE, "AE titles"), "",
           "Only what was sent to these AEs of ours.", "DIMSETLS"),
    Option("modalities", values.list_of(values.MODALITY, "modalities"), "",
           "Only what has one of these values of Modality (0008,0060).", "CT, MR"),
    Option("sop-classes", values.list_of(values.UID, "SOP class UIDs"), "",
           "Only instances of these SOP classes.", "1.2.840.10008.5.1.4.1.1.2"),
    Option("ae-title", values.AE_TITLE, "",
           "As whom the peers are called. Without it: as the AE that the instance was sent to.", "GATEWAY"),
    Option("convert", values.YES_OR_NO, "no",
           "Whether pydicom converts what a peer does not accept in its transfer syntax. Otherwise that is a dead "
           "letter."),
    Option("first-delay", values.duration("100ms", "1h"), "30s",
           "After a failure, how long until the next try; each further delay is twice as long. It counts for an "
           "instance, or for the peer if that could not be reached or is out of resources."),
    Option("longest-delay", values.duration("100ms", "24h"), "1h", "The longest of these delays."),
    Option("attempts", values.integer(1, 1000), "5",
           "After so many answers with a failure that may pass an instance is a dead letter; after one that will not "
           "(0122H, A9xxH), or where the peer accepts no presentation context for it, at once."),
    Option("give-up-after", values.duration("1s", "87600h"), "168h",
           "After so long an instance is a dead letter, whatever stands in its way. See dimsetls queue for what to do "
           "with dead letters."),
))

WORKLIST = SectionKind("worklist", values.NAME, "What is scheduled, for the service worklist of an [ae].", (
    Option("directory", values.PATH, None,
           "A directory of worklist files as DCMTK's wlmscpfs has them: DICOM files whose names end in .wl, each with "
           "a Scheduled Procedure Step Sequence. They may come, change and go at any time.", "worklist"),
))

PROCEDURE_STEPS = SectionKind("procedure-steps", values.NAME,
                              "Where performed procedure steps are kept, for the service procedure-steps of an [ae].", (
    Option("directory", values.PATH, None,
           "The directory. It must exist and be writable. Each step is a file of DICOM JSON there, by its SOP Instance "
           "UID, written anew with each change.", "performed"),
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
    Option("response-timeout", values.duration("100ms", "24h"), "300s",
           "How long a peer may take to answer what we ask of it on its own association: to store an instance of its "
           "C-GET, for example."),
))

_KINDS = (NODE, LISTENER, AE, IDENTITY, RULE, *BACK_ENDS, STORAGE, FORWARD, WORKLIST, PROCEDURE_STEPS,
          PEER, CREDENTIAL, TLS, CERTIFICATE, LIMITS)
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
    yield from textwrap.wrap(draft.kind.doc, 116, initial_indent="# ", subsequent_indent="# ")
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
        Draft(CREDENTIAL, "archive-at-pacs", commented=True),
        Draft(STORAGE, "archive", {"directory": directory}),
        Draft(FORWARD, "to-pacs", commented=True),
        Draft(WORKLIST, "today", commented=True),
        Draft(PROCEDURE_STEPS, "performed", commented=True),
        Draft(LIMITS, "normal"),
    ]


if __name__ == "__main__":
    sys.stdout.write(sample())
