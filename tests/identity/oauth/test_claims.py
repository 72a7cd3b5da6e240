from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dimsetls.errors import ConfigurationError, IdentityDenied
from dimsetls.identity.base64url import encode
from dimsetls.identity.interfaces import Presenter, Verified
from dimsetls.identity.oauth.claims import ClaimRules, untraced
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.session import PeerCertificate

NOW = 1_800_000_000.0
RULES = ClaimRules("jwt test", "https://issuer.example", frozenset({"pacs", "urn:pacs"}), ("aud", "exp"), 30.0)
CLAIMS = {"sub": "alice", "aud": "pacs", "exp": NOW + 600}
CERTIFICATE = PeerCertificate.of(DevelopmentAuthority().issue_client().certificate)
THUMBPRINT = encode(bytes.fromhex(CERTIFICATE.sha256)).decode()
NOBODY = Presenter("192.0.2.1", "CT1", "PACS")
PEER = replace(NOBODY, certificate=CERTIFICATE)


def judge(rules: ClaimRules = RULES, presenter: Presenter = PEER, now: float = NOW, **claims: Any) -> Verified:
    """The verdict on good claims with these in their place; None takes one away."""
    merged = {name: claim for name, claim in (CLAIMS | claims).items() if claim is not None}
    return rules.judge(merged, presenter, now, untraced)


def denial(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(IdentityDenied) as caught:
        judge(*arguments, **keywords)
    assert str(caught.value).startswith("[jwt test] ")
    return str(caught.value)


def test_good_claims() -> None:
    assert judge() == Verified("alice", "https://issuer.example", until=NOW + 630)


def test_without_an_audience_nothing_works() -> None:
    with pytest.raises(ConfigurationError, match=r"^audience: found none"):
        replace(RULES, audiences=frozenset())


def test_required_claims() -> None:
    rules = replace(RULES, required=("exp", "jti", "client_id"))
    assert judge(rules, jti="1", client_id="modality").name == "alice"
    assert "no claim jti, client_id; expected exp, jti, client_id" in denial(rules)
    assert "no claim jti" in denial(rules, jti="", client_id="modality")


@pytest.mark.parametrize(("claims", "why"), [
    ({"exp": NOW - 30}, "expired at 2027-01-15 07:59:30 UTC; it is 2027-01-15 08:00:00 UTC"),
    ({"exp": 0}, "expired at 1970-01-01"),
    ({"nbf": NOW + 31}, "not valid before 2027-01-15 08:00:31 UTC"),
    ({"iat": NOW + 31}, "issued at 2027-01-15 08:00:31 UTC; it is 2027-01-15 08:00:00 UTC, compare the clocks"),
    ({"exp": "1800000600"}, "exp is not a time"),
    ({"exp": True}, "exp is not a time"),
    ({"exp": [NOW + 600]}, "exp is not a time"),
    ({"exp": (NOW + 600) * 1000}, "exp is not a time"),
    ({"exp": 10**400}, "exp is not a time"),
    ({"exp": -1}, "exp is not a time"),
    ({"nbf": "yesterday"}, "nbf is not a time"),
    ({"iat": {}}, "iat is not a time"),
])  # fmt: skip
def test_times_that_are_not_now(claims: dict[str, Any], why: str) -> None:
    assert why in denial(**claims)


def test_the_trace_says_where_the_end_of_an_identity_comes_from() -> None:
    steps: list[str] = []
    RULES.judge(CLAIMS, PEER, NOW, steps.append)
    assert steps[0] == "times: the token is valid now, until 2027-01-15 08:10:00 UTC and 30 s of leeway"


def test_times_within_the_leeway() -> None:
    assert judge(exp=NOW - 29.5).until == NOW + 0.5
    assert judge(nbf=NOW + 30, iat=NOW + 30).until == NOW + 630


def test_claims_may_have_no_end() -> None:
    assert judge(replace(RULES, required=()), exp=None).until is None


@pytest.mark.parametrize("audience", ["pacs", ["pacs"], ["other", "urn:pacs"], "urn:pacs"])
def test_our_audiences(audience: object) -> None:
    assert judge(aud=audience)


@pytest.mark.parametrize(("audience", "why"), [
    ("other", "is for 'other'; expected pacs or urn:pacs"),
    ("PACS", "is for 'PACS'"),
    (["a", "b"], "is for 'a', 'b'"),
    (["pac", "s"], "is for 'pac', 's'"),
    ([f"a{number:02}" for number in range(30)], "'a09', and 20 more; expected"),
    ([], "no claim aud"),
    ("", "no claim aud"),
    (None, "no claim aud"),
    (7, "not one text or a list"),
    ({"pacs": 1}, "not one text or a list"),
    (["pacs", 7], "not one text or a list"),
])  # fmt: skip
def test_other_audiences(audience: object, why: str) -> None:
    assert why in denial(aud=audience)


def test_a_token_bound_to_the_peers_certificate() -> None:
    assert judge(replace(RULES, require_binding=True), cnf={"x5t#S256": THUMBPRINT}).name == "alice"


@pytest.mark.parametrize(("presenter", "confirmation", "why"), [
    (PEER, {"x5t#S256": encode(bytes(32)).decode()}, "bound to another certificate than that of CN=dimsetls"),
    (NOBODY, {"x5t#S256": THUMBPRINT}, "bound to a certificate; the peer showed none"),
])  # fmt: skip
def test_a_token_bound_to_another_certificate_is_an_alert(
    presenter: Presenter, confirmation: object, why: str
) -> None:
    with pytest.raises(IdentityDenied, match=why) as caught:
        judge(presenter=presenter, cnf=confirmation)
    assert caught.value.is_security_alert


@pytest.mark.parametrize("confirmation", [
    {}, {"jkt": "x"}, {"x5t#S256": THUMBPRINT, "jkt": "x"}, {"x5t#S256": 7}, {"x5t": THUMBPRINT}, THUMBPRINT, [], False,
])  # fmt: skip
def test_a_token_bound_by_other_means(confirmation: object) -> None:
    assert "bound by other means than a certificate" in denial(cnf=confirmation)


def test_a_token_must_be_bound_if_configured() -> None:
    assert "bound to no certificate; expected cnf" in denial(replace(RULES, require_binding=True))


def test_the_subject() -> None:
    assert judge(replace(RULES, subject="preferred_username"), preferred_username="Zoé").name == "Zoé"
    assert judge(replace(RULES, subject="user.login"), user={"login": "bob"}).name == "bob"
    assert judge(sub="Zoe\N{COMBINING ACUTE ACCENT}").name == "Zoé"


@pytest.mark.parametrize(("subject", "why"), [
    (None, "no claim sub that is a text"),
    (7, "no claim sub that is a text"),
    (["alice"], "no claim sub that is a text"),
    ("", "no name: the username field has 0 octets"),
    ("x" * 256, "no name: the username field has 256 octets"),
    ("alice\n[forged] line", "no name: the user name has control"),
    (" alice", "no name: the user name has control"),
    ("al\N{ZERO WIDTH SPACE}ice", "no name: the user name has control"),
])  # fmt: skip
def test_what_is_no_subject(subject: object, why: str) -> None:
    assert why in denial(sub=subject)


def test_groups_roles_and_scopes() -> None:
    found = judge(
        groups=["radiology", {"value": "cardiology", "display": "Heart"}],
        roles="technician",
        extensions={"ihe_iua": {"subject_role": [{"system": "urn:oid:2.16.840.1.113883.6.96", "code": "46255001"}]}},
        scope="system/ImagingStudy.rs dicom.store",
    )
    assert found.groups == {"radiology", "cardiology"}
    assert found.roles == {"technician", "46255001"}
    assert found.scopes == {"system/ImagingStudy.rs", "dicom.store"}


@pytest.mark.parametrize(("claims", "scopes"), [
    ({}, None),
    ({"scope": ""}, frozenset()),
    ({"scope": []}, frozenset()),
    ({"scope": ["a", "b"]}, {"a", "b"}),
    ({"scope": "a", "scp": ["b"]}, {"a", "b"}),
    ({"scp": ["b"]}, {"b"}),
])  # fmt: skip
def test_a_token_without_scopes_is_not_one_with_none(claims: dict[str, Any], scopes: object) -> None:
    assert judge(replace(RULES, scopes=("scope", "scp")), **claims).scopes == scopes


def test_claims_within_others_and_claims_with_dots() -> None:
    rules = replace(RULES, roles=("realm_access.roles",), groups=("https://site.example/groups",))
    found = judge(rules, **{"realm_access": {"roles": ["a"]}, "https://site.example/groups": ["b"]})
    assert (found.roles, found.groups) == ({"a"}, {"b"})
    assert judge(rules, **{"realm_access.roles": ["c"], "realm_access": {"roles": ["a"]}}).roles == {"c"}
    assert judge(rules, realm_access=["roles"]).roles == set()


@pytest.mark.parametrize("groups", [7, [7], [["a"]], [""], "", ["a\nb"], [{"display": "x"}], {"a": "b"}, ["x" * 256]])
def test_words_that_are_none(groups: object) -> None:
    assert "the claim groups does not list words" in denial(groups=groups)


def test_each_step_is_told() -> None:
    told: list[str] = []
    RULES.judge(CLAIMS | {"scope": "a", "groups": ["g"]}, PEER, NOW, told.append)
    assert [sentence.partition(":")[0] for sentence in told] == ["times", "audience", "confirmation", "subject"]
    assert told[-1] == "subject: alice; groups: 'g'; roles: none; scopes: 'a'"
