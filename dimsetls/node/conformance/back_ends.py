"""What the statement says of each back end: whose identities it takes, in which form, how it verifies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...identity.kerberos.tokens import ChannelBinding, Form
from ...identity.oauth.claims import GROUPS, ROLES, SCOPES
from ...identity.saml.choices import Confirmation, Use
from ..identity.sections import BackEnd
from .text import Section, code, codes, facts, fair

_Facts = Iterator[tuple[str, str]]

_FORMS = {
    Form.AP_REQ: "AP-REQ as RFC 4120 has it (first byte 6EH), answered with AP-REP (6FH)",
    Form.GSS: "AP-REQ in the frame of GSS-API (60H, RFC 4121), answered with AP-REP in that frame",
    Form.SPNEGO: "the same in SPNEGO (60H, RFC 4178), Kerberos its first choice, answered with its response (A1H)",
}

_BINDINGS = {
    ChannelBinding.NONE: fair("not looked at"),
    ChannelBinding.OPTIONAL: "a token that is bound must be bound to this connection, by tls-exporter (RFC 9266)",
    ChannelBinding.REQUIRED: "every token must be bound to this connection, by tls-exporter (RFC 9266); "
                             "a bare AP-REQ cannot be",
}

_USES = {
    Use.ONCE: "once",
    Use.ONCE_PER_CERTIFICATE: "once, and then again with the certificate that came with it first",
    Use.AS_LONG_AS_VALID: fair("as long as it is valid"),
}

_CONFIRMATIONS = {
    Confirmation.BEARER: "bearer",
    Confirmation.HOLDER_OF_KEY: "holder-of-key, which is the certificate of the TLS connection",
}


def checked_by(back_end: BackEnd) -> Section:
    """One back end."""
    return Section(f"What {back_end} takes", (facts(_KINDS[back_end.kind](back_end, back_end.options)),))


def _users(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    yield "Verified by", "a file of the node's own, which has passcodes as hashes by scrypt (RFC 7914)"
    yield "User name", "letter by letter, Unicode form NFC"
    yield "Passcode", "not empty; in UTF-8 compared in Unicode form NFC, otherwise octet by octet"
    yield "Realm of its users", code(options["realm"] or back_end.name)


def _ldap(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    yield "Verified by", "simple bind to a directory (RFC 4513 §5.1), with TLS 1.2 or 1.3 alone"
    template = options["dn_template"]
    yield "A user's entry", f"has the name {code(template)}" if template else \
        f"is the only one that the filter {code(options['search_filter'])} finds"
    yield "User name", f"the one value of the attribute {code(options['name_attribute'])}, whatever was typed"
    yield "Passcode", "not empty, in UTF-8; one that has expired or must be changed is refused"
    if options["group_base"]:
        ways = [f"the attribute {code(options['group_attribute'])}"] if options["group_attribute"] else []
        ways += [f"the filter {code(options['group_filter'])}"] if options["group_filter"] else []
        yield "Groups", f"by {' and '.join(ways)}"
    else:
        yield "Groups", "none"
    yield "Group that is demanded", code(options["required_group"]) if options["required_group"] else "none"
    yield "Realm of its users", code(options["realm"] or back_end.name)


def _kerberos(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    binding = options["channel_binding"]
    forms = [form for form in Form if options["forms"] is None or form in options["forms"]]
    if binding is ChannelBinding.REQUIRED:
        forms = [form for form in forms if form is not Form.AP_REQ]
    yield "Service principal", code(options["service"]) if options["service"] else \
        f"the only one of the keytab that begins with {code('dicom/')}"
    yield "Accepted forms", "; ".join(_FORMS[form] for form in forms)
    yield "Not accepted", "a ticket without AP-REQ (61H), KRB-CRED (76H), NTLM, base64"
    yield "Mutual authentication", ("the positive response is AP-REP; in the frame of GSS-API it is empty if the "
                                    "token asks for none")
    yield "Channel binding", _BINDINGS[binding]
    yield "Realms of users", codes(options["realms"]) if options["realms"] else "that of the service"
    yield "User name", "the principal with its realm" if not options["strip_realms"] else \
        f"the principal, without its realm where that is {codes(options['strip_realms'], ' or ')}"
    yield "Principals with an instance (/)", "accepted" if options["allow_service_principals"] else "refused"
    yield "Use", "a token is good once, in whatever form"


def _saml(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    yield "Issuer", code(options["issuer"])
    yield "Audience", (f"{codes(options['audience'], ' or ')}; one must be in every audience restriction, and there "
                       "must be a restriction")
    yield "Form", "XML in UTF-8, its root the assertion of SAML 2.0" + (
        "; the same in base64url without padding" if options["base64url"] else "")
    yield "Signature", ("of the assertion itself, enveloped, exclusive canonicalization, by RSA or ECDSA with SHA-256, "
                        "SHA-384 or SHA-512; verified with certificates that the configuration names")
    yield "Not accepted", "a response, encryption, DTD, entities, comments"
    confirmations = [_CONFIRMATIONS[each] for each in Confirmation if each in options["confirmation"]]
    yield "Subject confirmation", " or ".join(confirmations)
    yield "Recipient", code(options["recipient"]) if options["recipient"] else "where there is one, an audience"
    yield "Use", _USES[options["use"]]
    yield "Longest validity", f"{options['maximum_lifetime']:g} s"
    yield "Clocks may differ by", f"{options['clock_skew']:g} s"
    name = options["name_attribute"]
    yield "User name", f"the attribute {code(name)}" if name else "the NameID"
    yield "Groups", codes(options["group_attributes"] or ()) or "none"
    yield "Roles", codes(options["role_attributes"] or ()) or "none"


def _jwt(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    from ...identity.oauth.jwks import SYMMETRIC  # here: it needs the extra jwt, as who configures this has
    from ...identity.oauth.jwt import ALGORITHMS, TYPES

    secret = options["shared_secret"]
    yield "Issuer", f"{code(options['issuer'])}, letter by letter the claim {code('iss')}"
    yield "Audience", f"{codes(options['audience'], ' or ')}, which must be in {code('aud')}"
    yield "Form", "JWS in compact serialization; no JWE"
    yield "Algorithms", codes(options["algorithms"] or (ALGORITHMS if secret is None else SYMMETRIC[:1]))
    keys = [f"the issuer's key set, asked for over TLS and kept {options['keys_fresh']:g} s; if the issuer does not "
            f"answer, {options['keys_stale']:g} s"] if options["jwks_url"] else []
    keys += ["a key set in a file"] if options["jwks_file"] else []
    keys += ["a shared secret"] if secret else []
    yield "Keys", f"{' and '.join(keys)}; nothing in a token leads to a key"
    yield f"Type ({code('typ')})", codes(options["types"] or TYPES, " or ")
    yield "ID tokens", fair("accepted") if options["id_tokens"] else "refused"
    yield "Claims that must be there", codes(dict.fromkeys((
        "iss", "aud", "exp", options["subject_claim"], *(options["require_claims"] or ("iat",)))))
    yield from _claims(options)


def _introspection(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    proofs = ["a secret"] if options["client_secret"] else []
    proofs += ["a certificate (RFC 8705)"] if options["certificate"] else []
    yield "Issuer", code(options["issuer"])
    yield "Audience", f"{codes(options['audience'], ' or ')}, which must be in {code('aud')} of the answer"
    yield "Verified by", (f"token introspection (RFC 7662) over TLS, as the client {code(options['client_id'])} with "
                          f"{' and '.join(proofs) or 'no proof'}")
    yield "Form", f"any {code('b64token')} (RFC 6750 §2.1)"
    yield "Members that must be there", codes(dict.fromkeys((
        "active", "aud", options["subject_claim"], *(options["require_claims"] or ()))))
    remember = options["remember"]
    yield "An answer is remembered", f"{remember:g} s, not beyond the token's term" if remember else "no"
    yield from _claims(options)


def _claims(options: Mapping[str, Any]) -> _Facts:
    yield f"Binding to a certificate ({code('cnf')}, {code('x5t#S256')}, RFC 8705)", (
        "every token must be bound, to the certificate of this connection" if options["require_binding"]
        else "a token that is bound is good with that certificate alone; others need not be")
    yield "Any other binding, as with DPoP", "refused"
    yield "Clocks may differ by", f"{options['leeway']:g} s"
    yield "User name", code(options["subject_claim"])
    yield "Groups", codes(options["group_claims"] or GROUPS)
    yield "Roles", codes(options["role_claims"] or ROLES)
    yield "Scopes", codes(options["scope_claims"] or SCOPES)


def _certificate(back_end: BackEnd, options: Mapping[str, Any]) -> _Facts:
    yield "Certificates", codes(map(str, options["certificates"]), " or ")
    yield "User name", f"from {code(options['name_from'])}; exactly one must be there"
    yield "Groups", codes(options["groups"] or ()) or "none"
    yield "Roles", codes(options["roles"] or ()) or "none"
    yield "Realm of its users", code(options["realm"]) if options["realm"] else "the issuer of the certificate"


_KINDS: Mapping[str, Callable[[BackEnd, Mapping[str, Any]], _Facts]] = {
    "users": _users, "ldap": _ldap, "kerberos": _kerberos, "saml": _saml, "jwt": _jwt,
    "introspection": _introspection, "certificate-identity": _certificate,
}
