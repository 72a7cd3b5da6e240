"""The table of every way a connection can end: code, name, class, and what to say of it to the operator.

::

    0 – 6          the reasons of PS3.8 Table 9-26, the only ones that go on the wire
    0x100 – 0x1FF  transport, without TLS
    0x200 + n      we found it and sent fatal alert n (RFC 8446 §6)
    0x300 + n      the peer sent alert n
    0x400 – 0x4FF  TLS without an alert; decisions of ours

Several conditions share an alert, so a row is known by its name. PS3.15 B.12 asks that both sides get an
A-P-ABORT with a documented reason when an integrity check fails; this table is that documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FaultClass(Enum):
    """What kind of failure it is; the classes have different readers: security officer, administrator, network."""

    INTEGRITY = "integrity"
    AUTHENTICATION = "authentication"
    NEGOTIATION = "negotiation"
    TRANSPORT = "transport"
    POLICY = "policy"
    PROTOCOL = "protocol"
    """The upper layer of PS3.8 itself; never a matter of TLS."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the table; its three texts make one sentence."""

    reason: int
    name: str
    fault_class: FaultClass
    meaning: str
    cause: str
    remedy: str

    @property
    def sentence(self) -> str:
        """What happened, why, and what to do."""
        return f"{self.meaning}: {self.cause}; {self.remedy}."


_I, _A, _N, _T, _P, _U = FaultClass

_INTERFERENCE = "a device between the two machines interferes, or somebody attacks"
_LOOK_BETWEEN = "find out what lies between them, and tell the security officer"
_BROKEN = "its TLS library is broken, or a device between alters the handshake"
_UPDATE = "update it, or connect without the device"

_LISTED = (
    Condition(0, "reason-not-specified", _U,
              "The upper layer aborted the association", "the provider that did so gives no reason",
              "see the log of that side"),
    Condition(1, "unrecognized-pdu", _U,
              "A PDU of unknown type came", "the sender speaks no DICOM, or lost its place in the stream",
              "see which program it is"),
    Condition(2, "unexpected-pdu", _U,
              "A PDU came that the state of the association does not allow", "the sender breaks PS3.8 Table 9-10",
              "report it to its maker with the log"),
    Condition(4, "unrecognized-pdu-parameter", _U,
              "A PDU holds a parameter that is not known", "the sender breaks PS3.8 §9.3",
              "report it to its maker with the log"),
    Condition(5, "unexpected-pdu-parameter", _U,
              "A PDU holds a parameter that has no place there", "the sender breaks PS3.8 §9.3 or PS3.7",
              "report it to its maker with the log"),
    Condition(6, "invalid-pdu-parameter-value", _U,
              "A parameter of a PDU has a value that is not allowed", "the sender breaks PS3.8 §9.3",
              "report it to its maker with the log"),

    Condition(0x101, "connect-failed", _T,
              "The peer could not be reached",
              "it is not running, its address or port is another, or a firewall is between",
              "check these in this order"),
    Condition(0x102, "connection-lost", _T,
              "The connection ended before the association was released", "the peer stopped, or the network failed",
              "see the peer's log, then the network"),
    Condition(0x103, "aborted-locally", _T,
              "This side broke off the connection without waiting for the peer",
              "a deadline passed or the user gave up", "see the lines before in this log"),
    Condition(0x104, "pending-limit", _P,
              "Too many connections had not yet come as far as an association",
              "this one had waited longest when the limit was reached",
              "raise the limit if the peers are good ones, or find out who floods this port"),

    Condition(0x20A, "unexpected-message", _I,
              "The peer sent a TLS record that has no place here", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x20A, "message-flood", _P,
              "The peer sent one TLS message without content after the other",
              "it wants to keep this side busy, or its TLS library is broken",
              "find out who it is, and block it if need be"),
    Condition(0x214, "record-mac", _I,
              "A TLS record failed its integrity check, so it was altered, replayed, reordered or forged on the way",
              _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x214, "record-malformed", _I,
              "An unprotected or stunted record came inside the protected session", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x216, "record-overflow", _I,
              "The peer sent a TLS record longer than the protocol allows", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x228, "handshake-failure", _N,
              "The two sides share no set of TLS parameters", "their TLS settings differ too much",
              "compare the peer's settings with our profile"),
    Condition(0x228, "no-shared-cipher", _N,
              "The two sides share no cipher suite",
              "the peer offers none of our profile or, in TLS 1.2, no group or kind of key that goes with it",
              "enable ECDHE with AES-GCM there"),
    Condition(0x228, "no-shared-group", _N,
              "The two sides share no key exchange group", "the peer offers none of our profile",
              "enable X25519, P-256 or P-384 there"),
    Condition(0x228, "no-shared-sigalg", _N,
              "The peer accepts no signature that our key can make", "its signature algorithms are too few or too old",
              "enable SHA-256 with ECDSA or RSA there, or use another kind of key here"),
    Condition(0x228, "no-secure-renegotiation", _N,
              "The peer does not know secure renegotiation (RFC 5746), which RFC 9325 §3.5 demands",
              "its TLS library is very old", "update it"),
    Condition(0x228, "no-client-certificate", _A,
              "The peer presented no certificate although one is required", "none is configured there",
              "install a client certificate there from an authority that we trust"),
    Condition(0x22A, "bad-certificate", _A,
              "The peer's certificate is not acceptable", "it is damaged or breaks RFC 5280",
              "examine it, and have a sound one issued"),
    Condition(0x22A, "certificate-not-yet-valid", _A,
              "The peer's certificate is not valid yet",
              "the clocks of both machines differ, or it was issued for later",
              "compare the clocks, then the certificate's dates"),
    Condition(0x22A, "certificate-key-too-small", _A,
              "A key in the peer's certificate chain is too small", "it was issued before RFC 9325",
              "have it issued anew with RSA of 2048 bits or more, P-256 or P-384"),
    Condition(0x22A, "certificate-weak-hash", _A,
              "The peer's certificate chain is signed with a weak hash", "it was issued with SHA-1 or MD5",
              "have it issued anew with SHA-256 or better"),
    Condition(0x22A, "certificate-name-mismatch", _A,
              "The server's certificate is for another name than the one we called",
              "the configured name is wrong, the certificate lacks it, or another machine answered",
              "correct the configured server name, or have the certificate issued with it in subjectAltName"),
    Condition(0x22A, "crl-not-yet-valid", _A,
              "The revocation list for the peer's issuer is not valid yet",
              "the clock here is behind that of the authority", "set the clock"),
    Condition(0x22B, "unsupported-certificate", _A,
              "The peer's certificate is not meant for this use",
              "its extended key usage does not name the peer's role in TLS",
              "have it issued anew for TLS client or server authentication"),
    Condition(0x22C, "certificate-revoked", _A,
              "The peer's certificate is revoked", "its authority withdrew it",
              "find out why, and have a new one issued"),
    Condition(0x22D, "certificate-expired", _A,
              "A certificate in the peer's chain is past its end", "it was not renewed, or the clock here is wrong",
              "have it renewed there"),
    Condition(0x22D, "crl-expired", _A,
              "The revocation list for the peer's issuer is past its next update", "it was not fetched in time",
              "provide the current one"),
    Condition(0x22E, "certificate-unknown", _A,
              "The peer's certificate cannot be judged", "something in it is not understood",
              "examine it, and have a sound one issued"),
    Condition(0x22F, "illegal-parameter", _N,
              "The peer sent a TLS parameter that contradicts the others", _BROKEN, _UPDATE),
    Condition(0x22F, "certificate-wrong-curve", _A,
              "The peer's certificate has a key on a curve that our profile does not admit", "it was issued with it",
              "have one issued with P-256, P-384 or RSA"),
    Condition(0x22F, "version-downgrade", _I,
              "The TLS version was lowered on the way although both sides speak a newer one", _INTERFERENCE,
              _LOOK_BETWEEN),
    Condition(0x230, "unknown-ca", _A,
              "The issuer of the peer's certificate is not among our trust roots",
              "it is another authority, or an intermediate certificate was not sent",
              "add the authority here if it deserves trust, or let the peer send its whole chain"),
    Condition(0x230, "self-signed", _A,
              "The peer's certificate chain ends in a self-signed certificate that is not among our trust roots",
              "the peer uses an authority of its own", "add it here if it deserves trust"),
    Condition(0x230, "chain-incomplete", _A,
              "A certificate between the peer's own and a root is missing",
              "the peer does not send it, or our trust roots hold an intermediate without its root",
              "let the peer send it, or add the root here"),
    Condition(0x230, "chain-invalid", _A,
              "A certificate in the peer's chain may not issue the one below it",
              "it is no authority's, or the chain is longer than an authority in it allows",
              "have the peer's certificate issued by a sound authority"),
    Condition(0x230, "crl-unavailable", _A,
              "The revocation list for the peer's issuer is missing", "none is configured for that authority",
              "provide it"),
    Condition(0x232, "decode-error", _I,
              "A TLS handshake message of the peer could not be decoded", _BROKEN, _UPDATE),
    Condition(0x233, "decrypt-error", _I,
              "A signature in the peer's handshake or certificate chain does not verify",
              "the handshake was altered on the way, or the peer's key does not belong to its certificate",
              "examine the peer's certificate files, then what lies between"),
    Condition(0x246, "protocol-version", _N,
              "The peer speaks no TLS version of our profile", "it is older or narrower than our profile",
              "enable TLS 1.2 or 1.3 there"),
    Condition(0x247, "insufficient-security", _N,
              "The peer's TLS parameters are weaker than our profile allows", "its settings are old",
              "strengthen its TLS settings"),
    Condition(0x250, "internal-error", _P,
              "The TLS library here gave up with an internal error", "see the detail", "report it if it comes again"),
    Condition(0x250, "verification-refused", _P,
              "A check of ours refused a certificate that is otherwise good", "see the detail for which check",
              "have the certificate issued anew, or correct the rule here"),
    Condition(0x256, "inappropriate-fallback", _N,
              "The peer fell back to an older TLS version than both sides speak",
              "a device between broke its first attempt", "find that device, and update the peer"),
    Condition(0x270, "server-name-unknown", _N,
              "The peer asked for a server name that is not ours", "it calls us by another name",
              "correct the name it calls, or add a certificate for that name here"),
    Condition(0x271, "bad-certificate-status", _A,
              "The revocation status that came with the server's certificate cannot be relied on",
              "the OCSP response is damaged, forged or for another certificate", "have OCSP stapling repaired there"),
    Condition(0x271, "certificate-status-stale", _A,
              "The revocation status that came with the server's certificate is not current",
              "the OCSP response was not refreshed in time, or a clock is wrong",
              "have it refreshed there, and compare the clocks"),
    Condition(0x271, "certificate-status-missing", _A,
              "No revocation status came with the server's certificate",
              "its certificate or our configuration demands an OCSP response, and the server staples none",
              "turn OCSP stapling on there"),
    Condition(0x274, "certificate-required", _A,
              "The peer presented no certificate although one is required, in TLS 1.3", "none is configured there",
              "install a client certificate there from an authority that we trust"),
    Condition(0x278, "no-application-protocol", _N,
              "The peer offers application protocols by ALPN, and dicom is not among them",
              "it is no DICOM peer, or wrongly set up", "correct the port it calls, or its ALPN setting"),

    Condition(0x30A, "peer-unexpected-message", _I,
              "The peer received from us a TLS record that has no place there", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x314, "peer-bad-record-mac", _I,
              "The peer reports that a record of ours failed its integrity check, so it was altered on the way",
              _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x315, "peer-decryption-failed", _I,
              "The peer reports that it could not decrypt a record of ours", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x316, "peer-record-overflow", _I,
              "The peer reports a record longer than the protocol allows", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x328, "peer-handshake-failure", _N,
              "The peer found no TLS parameters in common with us",
              "its settings differ too much or, in TLS 1.2, it misses our certificate",
              "compare its settings with our profile, and give us a certificate that it accepts"),
    Condition(0x32A, "peer-bad-certificate", _A,
              "The peer does not accept our certificate", "it dislikes its name, dates, key size or hash",
              "see its log for which"),
    Condition(0x32B, "peer-unsupported-certificate", _A,
              "The peer says our certificate is not meant for this use",
              "its extended key usage does not name our role in TLS",
              "have it issued anew for TLS server and client authentication"),
    Condition(0x32C, "peer-certificate-revoked", _A,
              "The peer says our certificate is revoked", "its authority withdrew it", "have a new one issued"),
    Condition(0x32D, "peer-certificate-expired", _A,
              "The peer says our certificate has expired",
              "it did, or the peer's clock or revocation list is out of date",
              "renew it, and compare the clocks of both machines"),
    Condition(0x32E, "peer-certificate-unknown", _A,
              "The peer does not accept our certificate", "it does not tell why", "see its log"),
    Condition(0x32F, "peer-illegal-parameter", _N,
              "The peer found a contradiction in our TLS parameters", "a device between alters the handshake",
              "connect without the device"),
    Condition(0x330, "peer-unknown-ca", _A,
              "The peer does not trust the issuer of our certificate", "our authority is not among its trust roots",
              "install our authority's certificate there"),
    Condition(0x331, "peer-access-denied", _A,
              "The peer accepts our certificate but denies access", "we have no permission there",
              "have us permitted there"),
    Condition(0x332, "peer-decode-error", _I,
              "The peer could not decode a handshake message of ours", "a device between alters the handshake",
              "connect without the device"),
    Condition(0x333, "peer-decrypt-error", _I,
              "The peer could not verify a signature of ours",
              "the handshake was altered on the way, or our key does not belong to our certificate",
              "examine our certificate files, then what lies between"),
    Condition(0x346, "peer-protocol-version", _N,
              "The peer accepts no TLS version of our profile", "it is older or narrower than our profile",
              "enable TLS 1.2 or 1.3 there"),
    Condition(0x347, "peer-insufficient-security", _N,
              "The peer wants stronger TLS parameters than we offered", "its profile is stricter than ours",
              "compare both profiles"),
    Condition(0x350, "peer-internal-error", _P,
              "The peer gave up with an internal error",
              "its TLS library failed, or it refuses our certificate in this way", "see its log"),
    Condition(0x356, "peer-inappropriate-fallback", _N,
              "The peer noticed a fallback to an older TLS version", "a device between broke the first attempt",
              "find that device"),
    Condition(0x364, "peer-no-renegotiation", _P,
              "The peer refuses to renegotiate TLS", "nothing here asks for that, so somebody interferes",
              _LOOK_BETWEEN),
    Condition(0x370, "peer-unrecognized-name", _N,
              "The peer does not serve the server name we asked for",
              "the configured name is wrong, or it has no certificate for it", "correct the configured server name"),
    Condition(0x371, "peer-bad-certificate-status", _A,
              "The peer does not accept the revocation status we sent with our certificate",
              "the OCSP response is stale or for another certificate", "refresh it"),
    Condition(0x374, "peer-certificate-required", _A,
              "The peer requires a certificate and we presented none", "none is configured for this peer",
              "give the certificate and key to use"),
    Condition(0x378, "peer-no-application-protocol", _N,
              "The peer does not know the application protocol dicom",
              "it is no DICOM port, or an ALPN setting there is wrong", "correct the port, or the setting"),

    Condition(0x401, "truncated", _I,
              "The connection was cut without TLS close_notify, so data may be missing",
              "the peer stopped, the network failed, or somebody cut it", "see the peer's log, then the network"),
    Condition(0x403, "transport-error", _T,
              "The operating system reports an error on the connection", "see the detail", "check the network"),
    Condition(0x404, "closed-unreleased", _T,
              "The peer closed TLS in order, but without releasing the association", "it gave up",
              "see its log for why"),
    Condition(0x405, "wrong-record-version", _I,
              "A TLS record came that bears another protocol version than those of TLS", _INTERFERENCE, _LOOK_BETWEEN),
    Condition(0x406, "closed-in-handshake", _T,
              "The peer closed the connection before the TLS handshake was complete",
              "it is a port check, or it dislikes our certificate without saying so", "see its log"),
    Condition(0x410, "alpn-absent", _P,
              "The peer does not offer the application protocol dicom by ALPN, and our policy requires it",
              "it is too old, or wrongly set up", "enable ALPN there, or do not require it here"),
    Condition(0x411, "renegotiation", _P,
              "The peer wanted to renegotiate TLS, which is never allowed here", "it is configured to",
              "turn renegotiation off there"),
    Condition(0x420, "plaintext-dicom", _N,
              "The peer speaks DICOM without TLS on a port for TLS", "TLS is off there", "turn it on"),
    Condition(0x421, "http", _N,
              "The peer speaks HTTP on a port for DICOM over TLS", "it is a browser, a scanner or a DICOMweb client",
              "correct the address or port it calls"),
    Condition(0x422, "not-tls", _N,
              "The peer sent something that is not TLS", "it speaks another protocol",
              "turn TLS on there, or correct the port it calls"),
    Condition(0x423, "plaintext-answer", _N,
              "The server answered without TLS", "its port is one for plain DICOM or something else",
              "call its TLS port, or turn TLS on there"),
    Condition(0x424, "tls-on-plaintext-port", _N,
              "The peer began a TLS handshake on a port for DICOM without TLS", "it calls the wrong port",
              "let it call our TLS port"),
    Condition(0x425, "alert-first", _N,
              "The first thing the peer sent is a TLS alert", "it gave up before it began", "see its log"),
    Condition(0x430, "handshake-timeout", _T,
              "The TLS handshake was not complete in time",
              "the peer is overloaded, the network slow, or it is no TLS peer", "try again, then see the peer"),
    Condition(0x431, "silent-peer", _T,
              "Not one byte came from the peer in time",
              "it is a port check, it hangs, or it waits for us to speak first", "see which program it is"),
    Condition(0x432, "idle-timeout", _T,
              "Nothing was heard from the peer for as long as an association may rest", "it hangs or forgot to release",
              "see its log"),
    Condition(0x433, "close-timeout", _T,
              "The peer did not answer the closing of TLS in time", "it hangs, or breaks RFC 8446 §6.1",
              "nothing is lost, so see only whether it hangs"),
    Condition(0x440, "below-policy", _P,
              "What TLS negotiated is weaker than our policy", "see the detail", "strengthen the peer's TLS settings"),
    Condition(0x441, "certificate-not-allowed", _P,
              "The peer's certificate is valid but does not permit what the peer asked for",
              "it belongs to another node", "correct the AE title there, or the rules here"),
    Condition(0x442, "token-certificate-mismatch", _A,
              "The peer's token is bound to another certificate than the one it presented",
              "it is not the token's owner, or uses the wrong certificate", "let it use its own"),
    Condition(0x443, "key-usage-limit", _P,
              "Nearly as many records went over the connection as one key may protect (RFC 9325 §4.4)",
              "the association lasted very long", "open a new one and go on"),
    Condition(0x450, "local-key-unusable", _P,
              "Our own certificate or key cannot be used", "see the detail",
              "correct the files named in the configuration"),
    Condition(0x4FF, "unclassified", _T,
              "The TLS library reports a failure that we have no name for", "see the detail", "report it"),
)

ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
    30: "decompression_failure", 40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
    43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
    60: "export_restriction", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
    110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
    116: "certificate_required", 120: "no_application_protocol",
}
"""Alert number to name (RFC 8446 §6, RFC 5246 §7.2, RFC 6066, RFC 7301)."""

CONDITIONS: dict[str, Condition] = {row.name: row for row in _LISTED}
"""Name to row. Closed: an alert without a row of its own above gets one here, sent and received."""

for _number, _alert in ALERTS.items():
    for _base, _prefix, _whose in ((0x200, "sent", "this side"), (0x300, "peer", "the peer")):
        if _number and all(row.reason != _base + _number for row in _LISTED):
            _name = f"{_prefix}-{_alert.replace('_', '-')}"
            CONDITIONS[_name] = Condition(
                _base + _number, _name, _N,
                f"TLS ended with the alert {_alert} of {_whose}", "what it stands for is said in RFC 8446 §6",
                "see the log of that side",
            )  # fmt: skip

BY_REASON: dict[int, Condition] = {row.reason: row for row in reversed(CONDITIONS.values())}
"""Code to row; of those that share a code, the first and most general."""
