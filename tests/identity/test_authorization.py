"""Rules as tables: who, what, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dimsetls.codes import CommandField
from dimsetls.errors import ConfigurationError
from dimsetls.identity.authorization import Activity, Authorization, NotAuthorized, Permission, Rule
from dimsetls.identity.credentials import Method
from dimsetls.identity.gate import Expiry
from dimsetls.identity.interfaces import Presenter
from dimsetls.identity.principal import Principal
from dimsetls.identity.sight import EVERYTHING, Sight, View
from dimsetls.tls.authority import DevelopmentAuthority
from dimsetls.tls.rules import CertificateRule
from dimsetls.tls.session import PeerCertificate
from dimsetls.uids import BEARER_TOKEN, VERIFICATION
from dimsetls.ul.negotiation import AcceptorPolicy, Refused, Support, answer_request
from dimsetls.ul.pdus import AssociateRQ, PresentationContextRQ, RoleSelection, UserInformation

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
UPS_PULL, MPPS = "1.2.840.10008.5.1.4.34.6.3", "1.2.840.10008.3.1.2.3.3"
IMPLICIT = "1.2.840.10008.1.2"
ALL = frozenset(Activity)

ALICE = Principal(
    "alice", "HOSPITAL", (Method.PASSCODE,), ("ldap hospital",), frozenset({"radiology", "staff"}),
    frozenset({"physician"}), None, datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 8, tzinfo=UTC),
)  # fmt: skip
ALICE_LIMITED = replace(ALICE, scopes=frozenset({"dicom.query"}), methods=(Method.BEARER,))
ALICE_WITHOUT_SCOPES = replace(ALICE, scopes=frozenset())
NOBODY = None


@pytest.fixture(scope="module")
def ct1() -> PeerCertificate:
    return PeerCertificate.of(DevelopmentAuthority().issue_client("CT1", names=["ct1.example"]).certificate)


PLAIN = Presenter("192.0.2.1", "CT1", "ARCHIVE")


def rule(may: str | Iterable[Activity] = ALL, **conditions: Any) -> Rule:
    activities = {Activity(word) for word in may.split()} if isinstance(may, str) else may
    made = {name: frozenset(value.split()) if isinstance(value, str) else value for name, value in conditions.items()}
    return Rule("r", frozenset(activities), **made)


def permits(one: Rule, principal: Principal | None, presenter: Presenter = PLAIN, activity: Activity = Activity.STORE,
            uid: str = CT) -> bool:  # fmt: skip
    return Authorization([one]).permits(principal, presenter, activity, uid)


@pytest.mark.parametrize(("conditions", "alice", "nobody"), [
    ({}, True, False),
    ({"users": "alice bob"}, True, False),
    ({"users": "bob"}, False, False),
    ({"users": "Alice"}, False, False),
    ({"groups": "radiology"}, True, False),
    ({"groups": "surgery radiology"}, True, False),
    ({"groups": "surgery"}, False, False),
    ({"roles": "physician"}, True, False),
    ({"roles": "radiology"}, False, False),
    ({"realms": "HOSPITAL"}, True, False),
    ({"realms": "ELSEWHERE"}, False, False),
    ({"users": "alice", "realms": "ELSEWHERE"}, False, False),
    ({"groups": "staff", "roles": "physician", "realms": "HOSPITAL", "users": "alice"}, True, False),
    ({"scopes": "dicom.store"}, False, False),
    ({"calling_ae_titles": "CT1"}, True, False),
    ({"calling_ae_titles": "CT2"}, False, False),
    ({"calling_ae_titles": "CT1", "unidentified": True}, True, True),
    ({"calling_ae_titles": "CT2", "unidentified": True}, False, False),
    ({"unidentified": True}, True, True),
])  # fmt: skip
def test_who_may(conditions: dict[str, Any], alice: bool, nobody: bool) -> None:
    assert permits(rule(**conditions), ALICE) is alice
    assert permits(rule(**conditions), NOBODY) is nobody


@pytest.mark.parametrize(("conditions", "limited", "without"), [
    ({"scopes": "dicom.query"}, True, False),
    ({"scopes": "dicom.query dicom.store"}, True, False),
    ({"scopes": "dicom.store"}, False, False),
    ({"scopes": "dicom.query", "groups": "radiology"}, True, False),
    ({"scopes": "dicom.query", "groups": "surgery"}, False, False),
    ({"users": "alice"}, False, False),
    ({"groups": "radiology"}, False, False),
    ({"roles": "physician"}, False, False),
    ({}, False, False),
    ({"calling_ae_titles": "CT1"}, False, False),
    ({"unidentified": True}, True, True),
])  # fmt: skip
def test_the_scopes_of_a_token_come_before_everything_its_user_has(
    conditions: dict[str, Any], limited: bool, without: bool
) -> None:
    assert permits(rule(**conditions), ALICE_LIMITED) is limited
    assert permits(rule(**conditions), ALICE_WITHOUT_SCOPES) is without


def test_certificates_are_those_of_the_connection(ct1: PeerCertificate) -> None:
    this, other = CertificateRule.parse("dns:ct1.example"), CertificateRule.parse("dns:ct2.example")
    shown = replace(PLAIN, certificate=ct1)
    for rules, presenter, expected in [
        ((this,), shown, True), ((other, this), shown, True), ((other,), shown, False), ((this,), PLAIN, False),
    ]:  # fmt: skip
        assert permits(rule(certificates=rules, unidentified=True), NOBODY, presenter) is expected
        assert permits(rule(certificates=rules), ALICE, presenter) is expected
        assert permits(rule(certificates=rules), NOBODY, presenter) is False


@pytest.mark.parametrize(("conditions", "activity", "uid", "expected"), [
    ({"may": "store query"}, Activity.QUERY, STUDY_FIND, True),
    ({"may": "store query"}, Activity.RETRIEVE, STUDY_GET, False),
    ({"sop_classes": CT}, Activity.STORE, CT, True),
    ({"sop_classes": CT}, Activity.STORE, MR, False),
    ({"sop_classes": f"{CT} {MR}"}, Activity.RETRIEVE, MR, True),
    ({"sop_classes": CT}, Activity.VERIFICATION, VERIFICATION, True),
    ({"sop_classes": CT, "may": "store"}, Activity.VERIFICATION, VERIFICATION, False),
    ({"called_ae_titles": "ARCHIVE"}, Activity.STORE, CT, True),
    ({"called_ae_titles": "OTHER"}, Activity.STORE, CT, False),
])  # fmt: skip
def test_what_is_permitted(conditions: dict[str, Any], activity: Activity, uid: str, expected: bool) -> None:
    assert permits(rule(**conditions), ALICE, activity=activity, uid=uid) is expected


def test_it_is_closed_and_rules_add_up() -> None:
    assert not Authorization([]).permits(ALICE, PLAIN, Activity.VERIFICATION, VERIFICATION)
    both = Authorization([rule("query"), rule("store", groups="surgery"), rule("store", groups="radiology")])
    found = {activity: both.permits(ALICE, PLAIN, activity, CT) for activity in Activity}
    assert [activity.value for activity, permitted in found.items() if permitted] == ["store", "query"]


@pytest.mark.parametrize(("conditions", "told"), [
    ({"may": ""}, ["[rule r] permits nothing, expected one or more of verification, store, query"]),
    ({"unidentified": True, "users": "a", "scopes": "b"},
     ["[rule r] is for the unidentified and asks for users and scopes, which only a verified user has"]),
    ({"may": "", "unidentified": True, "groups": "a"}, ["permits nothing", "asks for groups"]),
    ({"unidentified": True, "sees": View(referring_physicians=frozenset({"Dr {user}"}))},
     ["[rule r] is for the unidentified and lets them see what has {user} in it, who is a verified user"]),
    ({"may": "store", "sees": View(days=1)},
     ["[rule r] says what one sees, expected that it permits query or retrieve"]),
])  # fmt: skip
def test_a_rule_that_contradicts_itself_is_no_rule(conditions: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rule(**conditions)
    assert len(caught.value.problems) == len(told)
    assert all(part in problem for part, problem in zip(told, caught.value.problems, strict=True))


CT_ONLY, OWN = View(frozenset({"CT"})), View(referring_physicians=frozenset({"{user}"}))


@pytest.mark.parametrize(("rules", "alice", "nobody"), [
    ([], (), ()),
    ([rule("query")], EVERYTHING, ()),
    ([rule("query", unidentified=True)], EVERYTHING, EVERYTHING),
    ([rule("retrieve"), rule("store query", groups="surgery")], (), ()),
    ([rule("query", sees=CT_ONLY, unidentified=True)], (CT_ONLY,), (CT_ONLY,)),
    ([rule("query", sees=CT_ONLY, unidentified=True), rule("query", sees=OWN)],
     (CT_ONLY, View(referring_physicians=frozenset({"alice"}))), (CT_ONLY,)),
    ([rule("query", sees=CT_ONLY), rule("query", groups="radiology")], (CT_ONLY, View()), ()),
    ([rule("query", sees=CT_ONLY), rule("query", groups="surgery")], (CT_ONLY,), ()),
    ([rule("query", sees=CT_ONLY), rule("retrieve", sees=View(days=1))], (CT_ONLY,), ()),
    ([rule("query", sop_classes=STUDY_GET, sees=CT_ONLY), rule("query", sees=View(days=1))], (View(days=1),), ()),
])  # fmt: skip
def test_what_may_be_seen_is_what_any_rule_that_permits_it_shows(
    rules: list[Rule], alice: Sight, nobody: Sight
) -> None:
    for principal, expected in ((ALICE, alice), (NOBODY, nobody)):
        permission = Permission(Authorization(rules), principal, PLAIN)
        assert permission.sight(CommandField.C_FIND_RQ, STUDY_FIND) == expected
        assert permission.sight(0x0999, STUDY_FIND) == ()


def test_without_rules_everything_is_seen() -> None:
    assert Permission(None, NOBODY, PLAIN).sight(CommandField.C_FIND_RQ, STUDY_FIND) == EVERYTHING


SCU, SCP, BOTH = (True, False), (False, True), (True, True)


@pytest.mark.parametrize(("may", "uid", "role", "expected"), [
    ("verification", VERIFICATION, None, True),
    ("store", VERIFICATION, None, False),
    ("store", CT, None, True),
    ("store", CT, SCU, True),
    ("store", CT, SCP, False),
    ("retrieve", CT, None, False),
    ("retrieve", CT, SCU, False),
    ("retrieve", CT, SCP, True),
    ("retrieve", CT, BOTH, True),
    ("store", CT, BOTH, True),
    ("query normalized", CT, BOTH, False),
    ("query", STUDY_FIND, None, True),
    ("retrieve", STUDY_FIND, None, False),
    ("retrieve", STUDY_GET, None, True),
    ("query", UPS_PULL, None, True),
    ("normalized", UPS_PULL, None, True),
    ("store retrieve", UPS_PULL, None, False),
    ("normalized", MPPS, None, True),
    ("store", MPPS, None, False),
    ("query", BEARER_TOKEN, None, True),
])  # fmt: skip
def test_a_context_is_permitted_where_any_use_of_it_is(
    may: str, uid: str, role: tuple[bool, bool] | None, expected: bool
) -> None:
    authorization = Authorization([rule(may)])
    selection = RoleSelection(uid, *role) if role else None
    assert authorization.context_permitted(ALICE, PLAIN, uid, selection) is expected


def test_a_refusal_names_who_what_and_what_each_rule_says(ct1: PeerCertificate) -> None:
    authorization = Authorization([
        Rule("techs", frozenset({Activity.STORE}), groups=frozenset({"technicians", "interns"})),
        Rule("echo", frozenset({Activity.VERIFICATION}), unidentified=True),
        Rule("gateway", ALL, certificates=(CertificateRule.parse("dns:gateway.example"),)),
        Rule("apps", ALL, scopes=frozenset({"dicom.store"})),
    ])
    shown = replace(PLAIN, certificate=ct1)
    assert authorization.sentence(ALICE, shown, [Activity.STORE], CT) == (
        "alice of HOSPITAL by passcode at 'CT1' (CN=CT1,O=dimsetls DEVELOPMENT - not for clinical use) has no "
        f"permission for store of SOP class {CT} at 'ARCHIVE': [rule techs] asks for the group interns or technicians; "
        "[rule echo] is not for store; [rule gateway] asks for another certificate; "
        "[rule apps] asks for the scope dicom.store"
    )
    assert authorization.sentence(NOBODY, PLAIN, {Activity.RETRIEVE, Activity.STORE}, CT) == (
        f"a user without identity at 'CT1' (no certificate) has no permission for store or retrieve of SOP class {CT} "
        "at 'ARCHIVE': [rule techs] asks for a verified user and is not for retrieve; "
        "[rule echo] is not for store and is not for retrieve; [rule gateway] asks for a certificate; "
        "[rule apps] asks for a verified user"
    )
    assert "[rule gateway] names no scopes, and the access token" not in authorization.sentence(
        ALICE_LIMITED, shown, [Activity.STORE], CT
    )
    assert "[rule techs] names no scopes, and the access token is limited to its own" in authorization.sentence(
        ALICE_LIMITED, shown, [Activity.STORE], CT
    )
    assert Authorization([]).sentence(ALICE, PLAIN, [Activity.QUERY], STUDY_FIND).endswith("there is no rule")


FULL = Support((IMPLICIT,), requestor_may_be_scu=True, requestor_may_be_scp=True)
SCU_ONLY = Support((IMPLICIT,))


@pytest.mark.parametrize(("may", "support", "role", "left"), [
    ("store", FULL, None, SCU),
    ("store", FULL, SCU, SCU),
    ("store", FULL, BOTH, SCU),
    ("store", FULL, SCP, None),
    ("retrieve", FULL, None, None),
    ("retrieve", FULL, SCU, None),
    ("retrieve", FULL, BOTH, SCP),
    ("retrieve", FULL, SCP, SCP),
    ("store retrieve", FULL, BOTH, BOTH),
    ("retrieve", SCU_ONLY, BOTH, None),
    ("store", SCU_ONLY, BOTH, SCU),
    ("store", SCU_ONLY, SCP, (False, False)),  # not for want of permission: the service has no such role
    ("query", FULL, BOTH, None),
])  # fmt: skip
def test_support_is_cut_down_to_the_roles_that_are_permitted(
    may: str, support: Support, role: tuple[bool, bool] | None, left: tuple[bool, bool] | None
) -> None:
    permission = Permission(Authorization([rule(may)]), ALICE, PLAIN)
    found = permission.restrict(support, CT, RoleSelection(CT, *role) if role else None)
    if left is None:
        assert isinstance(found, Refused)
        assert found.sentence.startswith("alice of HOSPITAL by passcode")
        assert CT in found.sentence
    else:
        assert found == Support((IMPLICIT,), *left)


def test_what_is_not_supported_and_what_needs_no_rules_is_left_as_it_is() -> None:
    strict = Permission(Authorization([]), ALICE, PLAIN)
    assert strict.restrict(None, CT, None) is None
    assert isinstance(strict.restrict(FULL, BEARER_TOKEN, None), Support)
    assert Permission(None, NOBODY, PLAIN).restrict(FULL, CT, RoleSelection(CT, True, True)) == FULL


def test_contexts_that_are_not_permitted_are_answered_with_user_rejection() -> None:
    permission = Permission(Authorization([rule("verification retrieve")]), ALICE, PLAIN)
    roles = {CT: RoleSelection(CT, True, True), MR: RoleSelection(MR, True, False)}
    supports = {VERIFICATION: FULL, STUDY_FIND: FULL, STUDY_GET: FULL, CT: FULL, MR: FULL}
    policy = AcceptorPolicy(lambda uid, common: permission.restrict(supports.get(uid), uid, roles.get(uid)))
    uids = (VERIFICATION, STUDY_FIND, STUDY_GET, CT, MR, "1.2.3")
    contexts = tuple(PresentationContextRQ(2 * n + 1, uid, (IMPLICIT,)) for n, uid in enumerate(uids))
    offered = UserInformation(16384, "1.2.3", role_selections=tuple(roles.values()))
    answer, agreement = answer_request(AssociateRQ("ARCHIVE", "CT1", "1.2", contexts, offered), policy)
    assert [context.result for context in answer.presentation_contexts] == [0, 1, 0, 0, 1, 3]
    assert answer.user_information.role_selections == (RoleSelection(CT, False, True),)
    assert (agreement.contexts[7].requestor_is_scu, agreement.contexts[7].requestor_is_scp) == (False, True)


@pytest.mark.parametrize(("may", "field", "uid", "expected"), [
    ("verification", CommandField.C_ECHO_RQ, VERIFICATION, True),
    ("store", CommandField.C_ECHO_RQ, VERIFICATION, False),
    ("store", CommandField.C_STORE_RQ, CT, True),
    ("query", CommandField.C_FIND_RQ, UPS_PULL, True),
    ("query", CommandField.N_GET_RQ, UPS_PULL, False),
    ("normalized", CommandField.N_SET_RQ, UPS_PULL, True),
    ("retrieve", CommandField.C_MOVE_RQ, STUDY_GET, True),
    ("retrieve", CommandField.C_GET_RQ, STUDY_GET, True),
    ("retrieve", CommandField.C_STORE_RQ, CT, False),
])  # fmt: skip
def test_each_operation_is_judged_by_itself(may: str, field: int, uid: str, expected: bool) -> None:
    found = Permission(Authorization([rule(may)]), ALICE, PLAIN, now=lambda: 0.0).judge(field, uid)
    assert (found is None) is expected
    if found is not None:
        assert not found.ends_association
        assert uid in found.sentence


def test_an_operation_that_no_rule_can_know_is_refused_where_there_are_rules() -> None:
    found = Permission(Authorization([rule()]), ALICE, PLAIN, now=lambda: 0.0).judge(0x0999, CT)
    assert found == NotAuthorized("operation 0999H came, which PS3.7 does not have and no rule can permit")
    assert Permission(None, ALICE, PLAIN, now=lambda: 0.0).judge(0x0999, CT) is None


UNTIL = datetime(2030, 1, 1, 8, tzinfo=UTC).timestamp()
EXPIRED = "the identity of alice of HOSPITAL by passcode was valid until 2030-01-01 08:00:00 UTC"


@pytest.mark.parametrize(("expiry", "now", "expected"), [
    (Expiry.IGNORE, UNTIL + 1, None),
    (Expiry.REFUSE, UNTIL - 1, None),
    (Expiry.REFUSE, UNTIL, NotAuthorized(EXPIRED)),
    (Expiry.ABORT, UNTIL - 1, None),
    (Expiry.ABORT, UNTIL, NotAuthorized(EXPIRED, ends_association=True)),
])  # fmt: skip
@pytest.mark.parametrize("authorization", [None, Authorization([rule()])], ids=["open", "rules"])
def test_an_identity_that_expires(
    authorization: Authorization | None, expiry: Expiry, now: float, expected: NotAuthorized | None
) -> None:
    assert Permission(authorization, ALICE, PLAIN, expiry, lambda: now).judge(CommandField.C_STORE_RQ, CT) == expected


@pytest.mark.parametrize("principal", [NOBODY, replace(ALICE, until=None)], ids=["nobody", "without a term"])
@pytest.mark.parametrize("expiry", Expiry)
def test_what_has_no_term_does_not_expire(principal: Principal | None, expiry: Expiry) -> None:
    permission = Permission(None, principal, PLAIN, expiry, lambda: 1e12)
    assert permission.judge(CommandField.C_STORE_RQ, CT) is None
    assert permission.seconds_to_abort() is None


@pytest.mark.parametrize(("expiry", "now", "seconds"), [
    (Expiry.IGNORE, UNTIL - 60, None), (Expiry.REFUSE, UNTIL - 60, None),
    (Expiry.ABORT, UNTIL - 60, 60.0), (Expiry.ABORT, UNTIL + 60, 0.0),
])  # fmt: skip
def test_the_term_after_which_the_association_is_to_be_aborted(
    expiry: Expiry, now: float, seconds: float | None
) -> None:
    assert Permission(None, ALICE, PLAIN, expiry, lambda: now).seconds_to_abort() == seconds
