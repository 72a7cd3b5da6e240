"""The table of every way a connection can end: code, name, class, and a sentence for the operator.

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


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the table."""

    reason: int
    name: str
    fault_class: FaultClass
    sentence: str


_I, _A, _N, _T, _P = FaultClass

_LISTED = (
    Condition(0x101, "connect-failed", _T,
              "The peer could not be reached: check its address and port, that it is running, and the firewalls "
              "between."),
    Condition(0x102, "connection-lost", _T,
              "The connection ended before the association was released: the peer stopped, or the network failed."),
    Condition(0x103, "aborted-locally", _T,
              "This side broke off the connection without waiting for the peer."),
    Condition(0x104, "pending-limit", _P,
              "Too many connections had not yet come as far as an association, and this one had waited longest: raise "
              "the limit if the peers are good ones, or find out who floods this port."),

    Condition(0x20A, "unexpected-message", _I,
              "The peer sent a TLS record that has no place here, as injected or altered data would look: suspect a "
              "network device that interferes, or an attack."),
    Condition(0x214, "record-mac", _I,
              "A TLS record failed its integrity check, so it was altered, replayed or reordered on the way: suspect "
              "a network device that interferes, or an attack."),
    Condition(0x214, "record-malformed", _I,
              "An unprotected or stunted record came inside the protected session: suspect a network device that "
              "interferes, or an attack."),
    Condition(0x216, "record-overflow", _I,
              "The peer sent a TLS record longer than the protocol allows: suspect interference or a broken TLS "
              "library there."),
    Condition(0x228, "handshake-failure", _N,
              "The two sides share no set of TLS parameters: compare the peer's TLS settings with our profile."),
    Condition(0x228, "no-shared-cipher", _N,
              "The peer offers no cipher suite (or, in TLS 1.2, no group) of our profile: enable ECDHE with AES-GCM "
              "there."),
    Condition(0x228, "no-shared-group", _N,
              "The peer offers no key exchange group of our profile: enable X25519, P-256 or P-384 there."),
    Condition(0x228, "no-shared-sigalg", _N,
              "The peer accepts no signature that our key can make: enable SHA-256 with ECDSA or RSA there, or use "
              "another kind of key here."),
    Condition(0x228, "no-client-certificate", _A,
              "The peer presented no certificate although one is required: install a client certificate there from an "
              "authority that we trust."),
    Condition(0x22A, "bad-certificate", _A,
              "The peer's certificate is not acceptable: examine it, and have a sound one issued."),
    Condition(0x22A, "certificate-not-yet-valid", _A,
              "The peer's certificate is not valid yet: compare the clocks of both machines, then the certificate's "
              "dates."),
    Condition(0x22A, "certificate-key-too-small", _A,
              "A key in the peer's certificate chain is too small: expected RSA of 2048 bits or more, or P-256 or "
              "P-384."),
    Condition(0x22A, "certificate-weak-hash", _A,
              "The peer's certificate chain is signed with a weak hash: expected SHA-256 or better; have it issued "
              "anew."),
    Condition(0x22A, "certificate-name-mismatch", _A,
              "The server's certificate is for another name than the one we called: correct the configured server "
              "name, or have the certificate issued with it in subjectAltName."),
    Condition(0x22B, "unsupported-certificate", _A,
              "The peer's certificate is not meant for this use: its extended key usage must allow TLS in the peer's "
              "role."),
    Condition(0x22C, "certificate-revoked", _A,
              "The peer's certificate is revoked: find out why, and have a new one issued."),
    Condition(0x22D, "certificate-expired", _A,
              "A certificate in the peer's chain is past its end: have it renewed there."),
    Condition(0x22E, "certificate-unknown", _A,
              "The peer's certificate cannot be judged: examine it, and have a sound one issued."),
    Condition(0x22F, "illegal-parameter", _N,
              "The peer sent a TLS parameter that contradicts the others: suspect a broken TLS library there."),
    Condition(0x22F, "certificate-wrong-curve", _A,
              "The peer's certificate has a key on a curve that our profile does not admit: have one issued with "
              "P-256, P-384 or RSA."),
    Condition(0x230, "unknown-ca", _A,
              "The issuer of the peer's certificate is not among our trust roots: add its authority here if it "
              "deserves trust, or let the peer send its intermediate certificates."),
    Condition(0x230, "self-signed", _A,
              "The peer's certificate chain ends in a self-signed certificate that is not among our trust roots: add "
              "it here if it deserves trust."),
    Condition(0x230, "chain-incomplete", _A,
              "A certificate between the peer's own and our trust roots is missing: let the peer send its "
              "intermediate certificates."),
    Condition(0x230, "crl-unavailable", _A,
              "The revocation list for the peer's issuer is missing: provide it."),
    Condition(0x232, "decode-error", _I,
              "A TLS handshake message of the peer could not be decoded: suspect interference or a broken TLS library "
              "there."),
    Condition(0x233, "decrypt-error", _I,
              "A signature in the peer's handshake or certificate chain does not verify: suspect an attack, or a peer "
              "whose key does not belong to its certificate."),
    Condition(0x246, "protocol-version", _N,
              "The peer speaks no TLS version of our profile: enable TLS 1.2 or 1.3 there."),
    Condition(0x247, "insufficient-security", _N,
              "The peer's TLS parameters are weaker than our profile allows: strengthen its TLS settings."),
    Condition(0x250, "internal-error", _P,
              "The TLS library here gave up with an internal error: see the detail, and report it if it comes again."),
    Condition(0x250, "verification-refused", _P,
              "A check of ours refused a certificate that is otherwise good: see the detail for which."),
    Condition(0x256, "inappropriate-fallback", _N,
              "The peer fell back to an older TLS version than both sides speak: suspect a device that breaks its "
              "first attempt."),
    Condition(0x270, "server-name-unknown", _N,
              "The peer asked for a server name that is not ours: correct the name it calls."),
    Condition(0x274, "certificate-required", _A,
              "The peer presented no certificate although one is required: install a client certificate there from an "
              "authority that we trust."),
    Condition(0x278, "no-application-protocol", _N,
              "The peer offers application protocols by ALPN, and dicom is not among them: it is no DICOM peer, or "
              "wrongly set up."),

    Condition(0x30A, "peer-unexpected-message", _I,
              "The peer received from us a TLS record that has no place there: suspect a network device that "
              "interferes."),
    Condition(0x314, "peer-bad-record-mac", _I,
              "The peer reports that a record of ours failed its integrity check, so it was altered on the way: "
              "suspect a network device that interferes, or an attack."),
    Condition(0x315, "peer-decryption-failed", _I,
              "The peer reports that it could not decrypt a record of ours: suspect a network device that interferes."),
    Condition(0x316, "peer-record-overflow", _I,
              "The peer reports a record longer than the protocol allows: suspect a network device that interferes."),
    Condition(0x328, "peer-handshake-failure", _N,
              "The peer found no TLS parameters in common with us, or, in TLS 1.2, misses our certificate: compare "
              "its TLS settings with our profile, and give us a certificate it accepts."),
    Condition(0x32A, "peer-bad-certificate", _A,
              "The peer does not accept our certificate: its log says why; look for name, dates, key size and hash."),
    Condition(0x32B, "peer-unsupported-certificate", _A,
              "The peer says our certificate is not meant for this use: its extended key usage must allow TLS server "
              "or client authentication."),
    Condition(0x32C, "peer-certificate-revoked", _A,
              "The peer says our certificate is revoked: have a new one issued."),
    Condition(0x32D, "peer-certificate-expired", _A,
              "The peer says our certificate has expired: renew it, and compare the clocks of both machines."),
    Condition(0x32E, "peer-certificate-unknown", _A,
              "The peer does not accept our certificate for a reason it does not tell: see its log."),
    Condition(0x32F, "peer-illegal-parameter", _N,
              "The peer found a contradiction in our TLS parameters: suspect a device between that alters the "
              "handshake."),
    Condition(0x330, "peer-unknown-ca", _A,
              "The peer does not trust the issuer of our certificate: install our authority's certificate there."),
    Condition(0x331, "peer-access-denied", _A,
              "The peer accepts our certificate but denies access: have us permitted there."),
    Condition(0x332, "peer-decode-error", _I,
              "The peer could not decode a handshake message of ours: suspect a device between that alters the "
              "handshake."),
    Condition(0x333, "peer-decrypt-error", _I,
              "The peer could not verify a signature of ours: suspect an attack, or a key that does not belong to our "
              "certificate."),
    Condition(0x346, "peer-protocol-version", _N,
              "The peer accepts no TLS version of our profile: enable TLS 1.2 or 1.3 there."),
    Condition(0x347, "peer-insufficient-security", _N,
              "The peer wants stronger TLS parameters than we offered: compare both profiles."),
    Condition(0x350, "peer-internal-error", _P,
              "The peer gave up with an internal error, which is also how some refuse a certificate: see its log."),
    Condition(0x356, "peer-inappropriate-fallback", _N,
              "The peer noticed a fallback to an older TLS version: suspect a device that breaks the first attempt."),
    Condition(0x364, "peer-no-renegotiation", _P,
              "The peer refuses to renegotiate TLS: nothing here asks for that, so suspect interference."),
    Condition(0x370, "peer-unrecognized-name", _N,
              "The peer does not serve the server name we asked for: correct the configured server name."),
    Condition(0x371, "peer-bad-certificate-status", _A,
              "The peer does not accept the revocation status we sent with our certificate: refresh the OCSP "
              "response."),
    Condition(0x374, "peer-certificate-required", _A,
              "The peer requires a certificate and we presented none: configure certKey and privateKey for this peer."),
    Condition(0x378, "peer-no-application-protocol", _N,
              "The peer does not know the application protocol dicom: it is no DICOM port, or an ALPN setting there "
              "is wrong."),

    Condition(0x401, "truncated", _I,
              "The connection was cut without TLS close_notify, so data may be missing: the peer stopped, the network "
              "failed, or somebody cut it."),
    Condition(0x402, "truncated-record", _I,
              "The connection was cut inside a TLS record, so data is missing: the peer stopped, the network failed, "
              "or somebody cut it."),
    Condition(0x403, "transport-error", _T,
              "The operating system reports an error on the connection: see the detail, then the network."),
    Condition(0x404, "closed-unreleased", _T,
              "The peer closed TLS in order, but without releasing the association: see its log for why it gave up."),
    Condition(0x405, "wrong-record-version", _I,
              "A record of another protocol version came inside the protected session: suspect a network device that "
              "interferes, or an attack."),
    Condition(0x406, "closed-in-handshake", _T,
              "The peer closed the connection before the TLS handshake was complete, as a port check does or a peer "
              "that dislikes our certificate."),
    Condition(0x410, "alpn-absent", _P,
              "The peer does not offer the application protocol dicom by ALPN, and our policy requires it: enable it "
              "there."),
    Condition(0x411, "renegotiation", _P,
              "The peer wanted to renegotiate TLS, which is never allowed here: turn renegotiation off there."),
    Condition(0x420, "plaintext-dicom", _N,
              "The peer speaks DICOM without TLS on a port for TLS: turn TLS on there."),
    Condition(0x421, "http", _N,
              "The peer speaks HTTP on a port for DICOM over TLS: correct the address or port it calls."),
    Condition(0x422, "not-tls", _N,
              "The peer sent something that is not TLS: turn TLS on there, or correct the port it calls."),
    Condition(0x423, "plaintext-answer", _N,
              "The server answered without TLS: call its TLS port, or turn TLS on there."),
    Condition(0x424, "tls-on-plaintext-port", _N,
              "The peer began a TLS handshake on a port for DICOM without TLS: let it call our TLS port."),
    Condition(0x425, "alert-first", _N,
              "The first thing the peer sent is a TLS alert: it gave up before it began; see its log."),
    Condition(0x430, "handshake-timeout", _T,
              "The TLS handshake was not complete in time: the peer is overloaded, the network slow, or it is no TLS "
              "peer."),
    Condition(0x431, "silent-peer", _T,
              "Not one byte came from the peer in time: a port check, or a peer that hangs or waits for us to speak "
              "first."),
    Condition(0x432, "idle-timeout", _T,
              "Nothing was heard from the peer for as long as an association may rest: see whether the peer hangs."),
    Condition(0x433, "close-timeout", _T,
              "The peer did not answer the closing of TLS in time: nothing is lost; see whether the peer hangs."),
    Condition(0x440, "below-policy", _P,
              "What TLS negotiated is weaker than our policy: see the detail, and strengthen the peer's TLS settings."),
    Condition(0x441, "certificate-not-allowed", _P,
              "The peer's certificate is valid but does not permit what the peer asked for: correct the AE title "
              "there, or the rules here."),
    Condition(0x442, "token-certificate-mismatch", _A,
              "The peer's token is bound to another certificate than the one it presented: let it use its own."),
    Condition(0x443, "key-usage-limit", _P,
              "As many records were sent as one key may protect (RFC 9325 §4.4): open a new association."),
    Condition(0x450, "local-key-unusable", _P,
              "Our own certificate or key cannot be used: see the detail, and correct the files named in the "
              "configuration."),
    Condition(0x4FF, "unclassified", _T,
              "The TLS library reports a failure that we have no name for: see the detail, and report it."),
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
    for _base, _prefix, _sentence in (
        (0x200, "sent", "TLS ended with the alert {} of this side: see the detail for its cause."),
        (0x300, "peer", "TLS ended with the alert {} of the peer: see its log for the cause."),
    ):
        if _number and all(row.reason != _base + _number for row in _LISTED):
            _name = f"{_prefix}-{_alert.replace('_', '-')}"
            CONDITIONS[_name] = Condition(_base + _number, _name, _N, _sentence.format(_alert))

BY_REASON: dict[int, Condition] = {row.reason: row for row in reversed(CONDITIONS.values())}
"""Code to row; of those that share a code, the first and most general."""
