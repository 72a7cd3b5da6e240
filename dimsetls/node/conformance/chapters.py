"""The DICOM conformance statement of one configuration, in the order of PS3.2, from what the node itself runs on.

Nothing is said twice: services, limits and policies come from the configuration and the objects that serve it, codes
and conditions from the tables of :mod:`.answers`, TLS from :mod:`.security`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from ipaddress import ip_address

from OpenSSL import SSL

from ... import __version__
from ...services.filesystem import Duplicates, Durability
from ...services.known import UIDS, storage_sop_classes
from ...services.models import MODELS
from ...uids import APPLICATION_CONTEXT, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, VERIFICATION
from ...ul.writer import LARGEST_PDU_LENGTH
from ..config import AE, Config, Listener, Peer, Storage
from ..ini import parse
from ..language import SectionKind
from ..options import SECTIONS
from ..prepare import Prepared
from .answers import (
    aborts,
    context_results,
    limits_of,
    provider_aborts,
    provider_reasons,
    rejections,
    statuses,
    timers,
)
from .calling import calling
from .forwarding import forwarding, forwards_to
from .offered import contexts, reached, searches
from .query_retrieve import moves_to, query_retrieve
from .requirements import requirements, tls_sections, versions
from .security import callers, plain_listeners, responders, security
from .text import Bullets, Contents, Document, Section, code, codes, facts, fair, poor, see, table
from .workflow import CLASSES, NAMES, activities, having, reports_to, workflow

_DUPLICATES = {
    Duplicates.IDENTICAL: "the first is kept; Success if the second has the same data set, else 0111H",
    Duplicates.REPLACE: "the second replaces the first; Success",
    Duplicates.KEEP: "the first is kept; Success, whatever the second holds",
    Duplicates.REFUSE: "the first is kept; 0111H",
}
_EXTENDED = {
    True: "relational queries, combined date and time, time zone adjustment; fuzzy matching is never agreed to",
    False: "relational retrieval",
}
_DURABILITY = {
    Durability.FULL: "Success is answered when the instance has reached the disk and survives a loss of power",
    Durability.NONE: "Success is answered when the operating system has the instance; a loss of power may take it",
}


def statement(config: Config, prepared: Prepared | None = None, printed: date | None = None) -> Document:
    """The statement; with `prepared` it also describes the certificates and this machine."""
    content = config.path.read_bytes()
    aes = reached(config)
    cover = [
        ("Product", f"dimsetls {__version__}"),
        ("Implementation Class UID", code(IMPLEMENTATION_CLASS_UID)),
        ("Implementation Version Name", code(IMPLEMENTATION_VERSION_NAME)),
        ("Application entities", codes(ae.title for ae in aes)),
        ("Configuration", f"{code(config.path.name)}, SHA-256 {code(sha256(content).hexdigest())}"),
    ]
    if prepared is not None:
        cover.append(("Runs on", f"Python {platform.python_version()}, Twisted {version('twisted')}, pyOpenSSL "
                                 f"{version('pyopenssl')}, {SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()}"))
    if printed is not None:
        cover.append(("Printed on", printed.isoformat()))
    material = prepared.key_material if prepared is not None else {}
    connections = prepared.connections if prepared is not None else {}
    return Document("DICOM conformance statement", tuple(cover), (
        _overview(config, aes),
        Section("Table of contents", (Contents(),)),
        _introduction(config, aes),
        _implementation_model(config, aes),
        _services(config, aes),
        _configuration(config, content.decode("utf-8-sig")),
        _network(config, aes),
        security(config, material, connections),
        Section("Information objects", (_sop_classes(aes), _transfer_syntaxes(aes)), is_annex=True),
        Section("Structured report content encoding", ("No structured report is made or read.",), is_annex=True),
        Section("Security details", (*requirements(config), provider_reasons()), is_annex=True),
    ))


def _stores(aes: tuple[AE, ...]) -> tuple[Storage, ...]:
    return tuple(dict.fromkeys(ae.storage for ae in aes if ae.storage is not None and "storage" in ae.services))


def _listeners_of(config: Config, ae: AE) -> list[Listener]:
    return [listener for listener in config.listeners if ae in listener.aes]


def _overview(config: Config, aes: tuple[AE, ...]) -> Section:
    verifying = [ae.title for ae in aes if VERIFICATION in contexts(ae)]
    storing = [ae.title for ae in aes if contexts(ae).keys() & storage_sop_classes()]
    finding = [ae.title for ae in aes if "query" in ae.services]
    sending = [ae.title for ae in aes if "retrieve" in ae.services]
    as_scu = [
        *([f"for {codes(sending)}, in sub-operations"] if sending else []),
        *([f"to forward what comes to {codes(titles)}"] if (titles := [ae.title for ae in aes if forwards_to((ae,))])
          else []),
    ]
    number = len({uid for ae in aes for uid in contexts(ae)} & storage_sop_classes())
    profiles = [f"{code(tls.policy.name)}: {tls.policy.title}; {versions(tls.policy)}; client certificate "
                f"{tls.client_certificate.value}" for tls in tls_sections(config)]
    if plain := plain_listeners(config):
        profiles.append(f"{poor('none')} on {codes(listener.name for listener in plain)}")
    return Section("Overview", (
        "dimsetls accepts DICOM associations over TLS, answers C-ECHO, keeps instances that peers send, bit for bit, "
        "as DICOM files, and can find and send them. This statement was printed from one configuration and holds for "
        "it alone.",
        table("Service | SOP classes | User (SCU) | Provider (SCP) | Application entities", (
            ("Verification", "1", "no", "yes" if verifying else "no", codes(verifying) or "none"),
            ("Storage", str(number), "; ".join(as_scu) or "no",
             "yes" if storing else "no", codes(storing) or "none"),
            *((f"Query/Retrieve, {what}", str(number), "no", "yes" if titles else "no", codes(titles) or "none")
              for what, number, titles in (("FIND", 3, finding), ("MOVE and GET", 6, sending))),
            *((name, str([*CLASSES.values()].count(service)), "no", "yes" if titles else "no", codes(titles) or "none")
              for service, name in NAMES.items() for titles in ([ae.title for ae in having(aes, service)],)),
        )),
        "No other network service, no media storage service and no web service is offered.",
        Section("Secure transport", (Bullets(tuple(profiles)),)),
    ))


def _introduction(config: Config, aes: tuple[AE, ...]) -> Section:
    reached_by_us = _called(config, aes)
    as_requestor = "this node only accepts" if not reached_by_us else "this node asks the destinations of C-MOVE alone"
    if reports_to(config, aes) or forwards_to(aes):
        as_requestor = f"this node asks peers alone that it calls, {see('Associations as requestor')}"
    as_client = "this node is the server" if not reached_by_us else "this node is the client towards those"
    return Section("Introduction", (
        Section("Audience and remarks", (
            "For those who buy, connect and secure systems that speak DICOM. The chapters follow the order of the "
            "template in PS3.2; its tables are not reproduced literally. That two statements fit each other does not "
            "prove that two products interoperate: test the connection, and compare the security chapters first.",
        )),
        Section("Terms", (facts((
            ("Requestor, acceptor", "who asks for an association, and who is asked; " + as_requestor),
            ("Client, server", "who opens the TLS connection, and who answers; " + as_client),
            ("(1,1,3)", "result, source and reason of an A-ASSOCIATE-RJ"),
            ("(2,6)", "source and reason of an A-ABORT"),
            ("20AH", "a hexadecimal number"),
        ), ("Term", "Meaning")),)),
        Section("References", (Bullets((
            "NEMA PS3 / ISO 12052, Digital Imaging and Communications in Medicine: PS3.2, PS3.4, PS3.5, PS3.7, PS3.8, "
            "PS3.10, PS3.15",
            "BCP 195: RFC 8996, Deprecating TLS 1.0 and TLS 1.1; RFC 9325, Recommendations for Secure Use of TLS",
            "RFC 8446, TLS 1.3; RFC 5246, TLS 1.2; RFC 7301, ALPN; RFC 5280, X.509 certificates",
        )),)),
    ))


def _implementation_model(config: Config, aes: tuple[AE, ...]) -> Section:
    def rows() -> Iterator[tuple[str, ...]]:
        for ae in aes:
            if VERIFICATION in contexts(ae):
                yield code(ae.title), "A peer verifies the connection", "C-ECHO is answered"
            if ae.storage is not None and "storage" in ae.services:
                yield code(ae.title), "A peer sends instances", f"C-STORE writes them to store {code(ae.storage.name)}"
            if called := forwards_to((ae,)):
                yield (code(ae.title), "The same, where a rule takes them",
                       f"C-STORE sends them on to {codes(peer.ae_title for peer in called)}")
            if ae.storage is not None and "query" in ae.services:
                yield code(ae.title), "A peer queries", f"C-FIND searches the index of store {code(ae.storage.name)}"
            if ae.storage is not None and "retrieve" in ae.services:
                yield (code(ae.title), "A peer retrieves", f"C-GET sends from store {code(ae.storage.name)}, on the "
                       "same association; C-MOVE to its destination, on one of its own")
            yield from ((code(ae.title), *activity) for activity in activities(ae))

    return Section("Implementation model", (
        Section("Application data flow", (
            "One process serves all application entities. What peers do is all that sets it to work:",
            table("Local AE | Real-world activity of the peer | What the AE does", rows()),
        )),
        Section("Functional definition of the application entities", (
            facts(((code(ae.title), f"reached at {codes(_listeners_of(config, ae))}; called by {callers(config, ae)}")
                   for ae in aes), ("AE", "")),
            "An AE waits for connections, judges the A-ASSOCIATE-RQ and performs the "
            "operations that come. It needs no other AE.",
        )),
        Section("Sequencing of real-world activities", ("None is required.",)),
    ))


def _services(config: Config, aes: tuple[AE, ...]) -> Section:
    stores = _stores(aes)
    parts = [Section("Verification service as SCP", (
        "C-ECHO is answered with Success (PS3.4 Annex A)."
        if any(VERIFICATION in contexts(ae) for ae in aes) else "Not offered.",
    ))]
    if stores:
        parts.append(Section("Storage service as SCP", (
            "Level 2 (full) of PS3.4 B.4.1: all attributes are kept, private ones too.",
            facts((
                ("Data set", "written to the file as it comes, bit for bit, in the transfer syntax of the presentation "
                 "context; neither decoded nor converted nor checked against its SOP class"),
                ("Coercion", "none; no element is changed, added or taken away"),
                ("Digital signatures", "stay valid, since data sets stay as they are; they are not verified"),
                ("File", f"DICOM file format (PS3.10): a preamble of zeros, file meta information with Implementation "
                 f"Class UID {code(IMPLEMENTATION_CLASS_UID)}, Sending and Receiving Application Entity Title"),
                ("Atomicity", "an instance appears under its name whole or not at all; an instance that fails leaves "
                 "nothing behind"),
                ("Access afterwards", "by file, and where an AE has these services by query and retrieve; nothing is "
                 "deleted. How long files are kept is the site's affair"),
            )),
            *(Section(f"Store {store.name}", (facts((
                ("Directory", code(store.directory)),
                ("Place of an instance", code(store.layout.template)),
                ("An instance that comes again", _DUPLICATES[store.duplicates]),
                ("Durability", _DURABILITY[store.fsync]),
                ("Used by", codes(ae.title for ae in aes if ae.storage == store)),
            )),)) for store in stores),
        )))
    if forwards_to(aes):
        parts.append(forwarding(aes))
    if any(searches(ae) for ae in aes):
        parts.append(query_retrieve(moves_to(config, aes)))
    parts += workflow(config, aes)
    missing = [name for service, name in NAMES.items() if not having(aes, service)]
    return Section("Services", (
        *parts,
        Section("Character sets", (
            "Data sets are kept as they come, in whatever specific character set. AE titles are of the default "
            "repertoire (ISO 646); Error Comment is ASCII. Queries are compared as Unicode, and answered in the "
            "character set of the query if it has all that is to be said, otherwise in UTF-8 (ISO_IR 192).",
        )),
        Section("Not supported", (Bullets((
            "Association requests but for the sub-operations of C-MOVE, for reports on storage commitment and to "
            "forward what is stored. The command line has more, with associations that an operator starts.",
            *(() if any(searches(ae) for ae in aes) else ("Query/Retrieve.",)),
            f"{', '.join((*missing, 'Print'))} and every other DIMSE-N service.",
            "Common Extended Negotiation, and SOP Class Extended Negotiation but for Query/Retrieve and for the bearer "
            "extension, where they are configured: items are read and not answered.",
            "The SCP role for a requestor (SCP/SCU Role Selection) but for storage with C-GET: refused if proposed.",
            "DICOMweb, media storage (file-sets), Application Hosting.",
        )),)),
    ))


def _configuration(config: Config, text: str) -> Section:
    written = {(section.kind, section.name): section.entries for section in parse(text)[0]}

    def rows(kind: SectionKind, name: str) -> Iterator[tuple[str, ...]]:
        entries = written.get((kind.kind, name), {})
        for option in kind.options:
            given = entries.get(option.name)
            value = given.text if given is not None else option.default
            origin = "set" if given is not None else "default"
            yield code(option.name), code(value) if value else "none", origin, option.doc

    names = [*written, *((kind, name) for kind, name in (("node", ""), ("limits", "default"))
                         if (kind, name) not in written and (kind == "node" or _has_default_limits(config)))]
    sections = [
        Section(f"[{kind.kind}{' ' if name else ''}{name}]", (
            kind.doc, table("Parameter | Value | Origin | Meaning", rows(kind, name)),
        ))
        for kind in SECTIONS.values() for section_kind, name in names if section_kind == kind.kind
    ]
    return Section("Configuration", (
        "One INI file configures the node. It is read at the start and again on SIGHUP, with the keys and certificates "
        "it names; what it then says holds for new connections. A file that cannot be used stops the start, or on "
        "SIGHUP leaves the one before in force. An AE title is mapped to an address by a listener; a remote AE, where "
        f"it matters who calls, by a {code('[peer]')} section.",
        *sections,
    ))


def _has_default_limits(config: Config) -> bool:
    return any(listener.limits not in config.limits for listener in config.listeners)


def _network(config: Config, aes: tuple[AE, ...]) -> Section:
    return Section("Network communication", (
        Section("General association parameters", (
            facts((
                ("Application context", code(APPLICATION_CONTEXT)),
                ("Implementation Class UID", code(IMPLEMENTATION_CLASS_UID)),
                ("Implementation Version Name", code(IMPLEMENTATION_VERSION_NAME)),
                ("Presentation contexts in one association", "up to 128, the most that PS3.8 allows"),
                ("PDU length sent", f"up to {LARGEST_PDU_LENGTH} bytes, or the peer's maximum if that is less; one "
                 "presentation data value in a PDU"),
                ("Associations as requestor", f"for {' and '.join(_purposes(config, aes))}, "
                 f"{see('Associations as requestor')}" if _called(config, aes) else "none"),
                ("Sub-items that are not known", "skipped (PS3.8 §9.3.1)"),
                *((f"Associations at {code(listener)}", limits_of(listener.limits)) for listener in config.listeners),
            )),
        )),
        *(_ae(config, ae) for ae in aes),
        *((calling(called),) if (called := _called(config, aes)) else ()),
        rejections(),
        context_results(),
        aborts(config),
        provider_aborts(),
        timers(config),
        statuses(aes),
        _interfaces(config),
    ))


def _ae(config: Config, ae: AE) -> Section:
    offered = contexts(ae)
    storage = [uid for uid in offered if uid in storage_sop_classes()]

    def rows() -> Iterator[tuple[str, ...]]:
        if VERIFICATION in offered:
            yield "Verification", code(VERIFICATION), codes(offered[VERIFICATION]), "SCP", "none"
        if storage:
            yield (f"Storage: {len(storage)} SOP classes, {see('Storage SOP classes')}", "",
                   f"{len(ae.transfer_syntaxes)}, {see('Transfer syntaxes')}",
                   "SCP; SCU too, if proposed, for C-GET" if "retrieve" in ae.services else "SCP", "none")
        elif "retrieve" in ae.services:
            yield (f"Storage, for C-GET: {len(storage_sop_classes())} SOP classes", "",
                   f"{len(ae.transfer_syntaxes)}, the list of the AE", "SCU, if proposed", "none")
        for uid in MODELS:
            if uid in offered:
                yield UIDS[uid][0], code(uid), codes(offered[uid]), "SCP", _EXTENDED[uid == MODELS[uid].find]
        yield from ((UIDS[uid][0], code(uid), codes(offered[uid]), "SCP", "none") for uid in CLASSES if uid in offered)
        if storage and ae.unknown_sop_classes:
            yield (fair("Any abstract syntax that is no known SOP class of another service"), "",
                   f"the same {len(ae.transfer_syntaxes)}", "SCP", "none")

    return Section(f"Application entity {ae.title}", (
        facts((
            ("Listeners", codes(listener.name for listener in _listeners_of(config, ae))),
            ("Called by", callers(config, ae)),
            ("PDU length received", f"up to {ae.maximum_length} bytes, as announced"),
            ("Asynchronous operations window", _window(ae.maximum_operations_invoked, ae.maximum_operations_performed)),
            ("Initiates associations", "; ".join((
                *(("for the sub-operations of C-MOVE, as storage SCU",) if moves_to(config, (ae,)) else ()),
                *(("to report on storage commitment, as its SCP",) if reports_to(config, (ae,)) else ()),
                *(("to forward what is stored, as storage SCU",) if forwards_to((ae,)) else ()),
            )) or "no"),
        )),
        "Presentation contexts accepted:",
        table("Abstract syntax | UID | Transfer syntaxes | Role | Extended negotiation", rows()),
    ))


def _purposes(config: Config, aes: tuple[AE, ...]) -> dict[str, tuple[Peer, ...]]:
    """What the AEs call peers for, and which."""
    peers = {"C-MOVE": moves_to(config, aes), "reports on storage commitment": reports_to(config, aes),
             "forwarding": forwards_to(aes)}
    return {purpose: called for purpose, called in peers.items() if called}


def _called(config: Config, aes: tuple[AE, ...]) -> tuple[Peer, ...]:
    return tuple(dict.fromkeys(peer for called in _purposes(config, aes).values() for peer in called))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _window(invoked: int, performed: int) -> str:
    if invoked == performed == 1:
        return "one operation at a time; if a peer proposes more, the answer is 1, 1"
    return (f"up to {invoked} operations invoked by the peer at a time, and up to {performed} performed by it, if it "
            "proposes a window")


def _interfaces(config: Config) -> Section:
    resolved = ["the name of an OCSP responder"] if responders(config) else []
    if any(peer.host is not None and not _is_address(peer.host) for peer in config.peers):
        resolved.append("the names of peers")

    def rows() -> Iterator[tuple[str, ...]]:
        for listener in config.listeners:
            where = "as the endpoint says" if listener.endpoint is not None else \
                "IPv6" if ":" in listener.interface else "IPv4"
            if listener.endpoint is None and listener.interface == "::":
                where = "IPv6, and IPv4 where the operating system maps it"
            backlog = "as the endpoint says" if listener.endpoint is not None else str(listener.backlog)
            yield code(listener.name), code(listener), where, backlog, codes(ae.title for ae in listener.aes)

    return Section("Network interfaces", (
        "TCP/IP as the operating system provides it (PS3.8 §10), over any physical medium. "
        + (f"Resolved by DNS: {' and '.join(resolved)}." if resolved
           else "Nothing is resolved by DNS."),
        table("Listener | Address | Internet protocol | Backlog | AEs", rows()),
    ))


def _sop_classes(aes: tuple[AE, ...]) -> Section:
    taken = {ae.title: contexts(ae).keys() & storage_sop_classes() for ae in aes}
    uids = [uid for uid in UIDS if any(uid in each for each in taken.values())]
    return Section("Storage SOP classes", (
        "Every SOP class of storage in the dictionary of this version, retired ones too." if uids else "None.",
        *((table("SOP class | UID | Retired | Application entities", (
            (UIDS[uid][0], code(uid), "yes" if UIDS[uid][3] else "",
             codes(title for title, each in taken.items() if uid in each)) for uid in uids
        )),) if uids else ()),
    ))


def _transfer_syntaxes(aes: tuple[AE, ...]) -> Section:
    storing = [ae for ae in aes if ae.storage is not None and "storage" in ae.services]

    def rows(ae: AE) -> Iterator[tuple[str, ...]]:
        for number, uid in enumerate(ae.transfer_syntaxes, 1):
            name, _, _, retired, _ = UIDS.get(uid, ("private", "", "", "", ""))
            yield str(number), name, code(uid), "yes" if retired else ""

    return Section("Transfer syntaxes", (
        "For storage, in order of preference. Compressed pixel data are kept as they come and never decoded."
        if storing else "No AE stores.",
        *(Section(f"Transfer syntaxes of {ae.title}", (
            table("Preference | Transfer syntax | UID | Retired", rows(ae)),
        )) for ae in storing),
    ))
