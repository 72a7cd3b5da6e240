"""The statement's chapter on user identities: what is asked for, who checks it, what is answered, who may do what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...identity.credentials import Method, Requirement
from ...identity.gate import Expiry
from ...identity.saml.choices import Answer
from ...uids import BEARER_TOKEN
from ..config import AE, Config
from ..identity.sections import BackEnd, Identity, Rule
from .back_ends import checked_by
from .text import Bullets, Section, code, codes, facts, fair, table

_TYPES = {
    Method.USERNAME: ("1 username", "zero length"),
    Method.PASSCODE: ("2 username and passcode", "zero length"),
    Method.KERBEROS: ("3 Kerberos service ticket, as AP-REQ", "AP-REP, in the same form"),
    Method.SAML: ("4 SAML 2.0 assertion, as XML in UTF-8", ""),
    Method.JWT: ("5 JSON Web Token, compact", "zero length"),
    Method.BEARER: ("bearer extension: sub-item 56H for the private SOP class " + code(BEARER_TOKEN),
                    "sub-item 56H with a result byte"),
    Method.CERTIFICATE: ("no sub-item: the certificate of the connection", "none"),
}

_SAML_RESPONSES = {
    Answer.EMPTY: "zero length",
    Answer.RESPONSE: "an unsigned SAML response with the status Success",
}

_PROFILES = {
    Method.USERNAME: "Basic User Identity Association Profile (PS3.15 B.4), from certificates that may assert names",
    Method.PASSCODE: "User Identity plus Passcode Association Profile (PS3.15 B.5)",
    Method.KERBEROS: "Kerberos Identity Negotiation Association Profile (PS3.15 B.6)",
    Method.SAML: "Generic SAML Assertion Identity Negotiation Association Profile (PS3.15 B.7)",
}

_REQUIREMENTS = {
    Requirement.REQUIRE: "a user identity is required",
    Requirement.PREFER: "a user identity may be presented, and must then be good",
    Requirement.IGNORE: fair("a user identity is neither looked at nor answered"),
}

_EXPIRY = {
    Expiry.IGNORE: "the association goes on",
    Expiry.REFUSE: "further operations are refused (0124H)",
    Expiry.ABORT: "the association is aborted",
}


def policies(config: Config) -> dict[AE, Identity | None]:
    """What each AE that can be called makes of user identities."""
    return {ae: ae.identity or listener.identity for listener in config.listeners for ae in listener.aes}


def user_identity(config: Config) -> Section:
    """All of it, as this configuration has it."""
    by_ae = policies(config)
    used = list(dict.fromkeys(identity for identity in by_ae.values() if identity is not None))
    if not used:
        return Section("User identity", (
            "No user identity is checked (User Identity Negotiation, PS3.7 D.3.3.7): an identity that a peer presents "
            "is neither verified nor answered, which the log notes, and no association is rejected for it or for want "
            "of it. None of the profiles PS3.15 B.4 to B.7 is claimed.",
            *_authorization(by_ae),
        ))
    ignoring = [ae.title for ae, identity in by_ae.items() if identity is None]
    return Section("User identity", (
        "User identities (User Identity Negotiation, PS3.7 D.3.3.7) are checked after the AE titles, certificates "
        "and limits. One that is not good is answered with A-ASSOCIATE-RJ (1,2,1), and where nobody can tell with "
        "(2,3,1); nothing finer is said to the peer. A positive response is sent if it is requested and the identity "
        "is verified. No credential is ever sent back.",
        *((f"No identity is checked by {codes(ignoring)}.",) if ignoring else ()),
        *(_policy(identity, [ae for ae, each in by_ae.items() if each is identity], config) for identity in used),
        *map(checked_by, _asked(used)),
        *_authorization(by_ae),
    ))


def _asked(identities: Iterable[Identity]) -> Iterable[BackEnd]:
    """Every back end that somebody asks, once."""
    return {str(each): each for identity in identities if identity.policy is not Requirement.IGNORE
            for back_ends in identity.back_ends.values() for each in back_ends}.values()


def _policy(identity: Identity, aes: list[AE], config: Config) -> Section:
    titles = [ae.title for ae in aes]
    if identity.policy is Requirement.IGNORE:
        return Section(f"Identity policy {identity.name}", (f"For {codes(titles)}: {_REQUIREMENTS[identity.policy]}.",))

    def rows() -> Iterator[tuple[str, ...]]:
        for method, back_ends in identity.back_ends.items():
            kind, response = _TYPES[method]
            if method is Method.SAML:
                response = " or ".join(dict.fromkeys(_SAML_RESPONSES[each.options["response"]] for each in back_ends))
            yield kind, codes(map(str, back_ends), ", then "), response

    lockout = identity.lockout
    profiles = [_PROFILES[method] for method in identity.back_ends if method in _PROFILES]
    others = [_TYPES[method][0] for method in identity.back_ends if method not in _PROFILES]
    callers = [peer for ae in aes for peer in (config.peers if ae.peers is None else ae.peers)]
    private = dict.fromkeys(f"{code(peer.ae_title)}: {peer.bearer_identity_type}" for peer in callers
                            if peer.bearer_identity_type and Method.BEARER in identity.back_ends)  # fmt: skip
    limits = ", ".join(
        f"{code(method.value)} {getattr(identity.caps, method.value)}" for method in Method
        if method is not Method.CERTIFICATE
    )
    return Section(f"Identity policy {identity.name}", (
        facts((
            ("For", codes(titles)),
            ("Policy", _REQUIREMENTS[identity.policy]),
            ("Identities are taken with", "any certificate" if not identity.certificates
             else f"certificates that match {codes(map(str, identity.certificates))}"),
            ("A name may be asserted by", codes(map(str, identity.asserting_certificates or ())) or "nobody"),
            ("When an identity expires", _EXPIRY[identity.when_expired]),
            ("A back end may take", f"{identity.deadline:g} s"),
            ("A success is remembered", f"{identity.remember_successes:g} s" if identity.remember_successes else "no"),
            ("Failures that lock out", f"{lockout.per_user} of a user, {lockout.per_address} from an address, "
             f"{lockout.per_certificate} with a certificate (0: no limit); for {lockout.lockout:g} s"),
            ("Longest fields in bytes", limits),
            ("Reserved User-Identity-Type values that carry a bearer token", ", ".join(private) or "none"),
        )),
        table("Presented | Checked by | Positive response", rows()),
        *(("Profiles claimed:", Bullets(tuple(profiles))) if profiles else ()),
        *(("In no profile of PS3.15:", Bullets(tuple(others))) if others else ()),
    ))


def _authorization(by_ae: dict[AE, Identity | None]) -> Iterator[Section]:
    """Who may do what, where there are rules."""
    for ae in by_ae:
        if ae.rules is not None:
            yield Section(f"What may be done at {ae.title}", (
                "What none of these rules permits is refused: a presentation context with result 1, an operation with "
                "status 0124H.",
                table("Rule | Permits | SOP classes | To | Of what is stored", (
                    (code(rule.name), codes(each.value for each in rule.may), codes(rule.sop_classes or ()) or "all",
                     _whom(rule), str(rule.view)) for rule in ae.rules
                )),
            ))


def _whom(rule: Rule) -> str:
    conditions = (
        ("users", rule.users), ("groups", rule.groups), ("roles", rule.roles), ("scopes", rule.scopes),
        ("realms", rule.realms), ("certificates", rule.certificates), ("calling AE titles", rule.calling_ae_titles),
    )
    named = [f"{what} {codes(map(str, values))}" for what, values in conditions if values]
    who = "everyone, also without a user identity" if rule.unidentified else "verified users"
    return f"{who}; {'; '.join(named)}" if named else who
