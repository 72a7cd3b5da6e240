"""The pages on bytes and mappings say what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dimsetls.association.admission import REJECT
from dimsetls.dimse.status import Status
from dimsetls.errors import IdentityDenied, IdentityUnavailable
from dimsetls.identity.bearer import BearerResult, read_result, read_token, write_result, write_token
from dimsetls.identity.credentials import (
    AccessToken,
    Caps,
    JSONWebToken,
    Presented,
    SAMLAssertion,
    Secret,
    UsernameAndPasscode,
)
from dimsetls.identity.http.mapping import AuthorizationField, HTTPPolicy, Reason, Refused, from_http, to_http
from dimsetls.identity.http.outcomes import (
    DENIED,
    REFUSALS,
    http_answer,
    http_status_of_operation,
    http_status_of_reject,
    reject_of,
    reject_of_http,
    status_of_http,
)
from dimsetls.uids import APPLICATION_CONTEXT, BEARER_TOKEN, IMPLICIT_VR_LITTLE_ENDIAN
from dimsetls.ul.pdus import (
    AssociateRJ,
    AssociateRQ,
    ExtendedNegotiation,
    PresentationContextRQ,
    UserIdentityRQ,
    UserInformation,
)
from dimsetls.ul.reader import read_pdu
from dimsetls.ul.writer import write_pdu

from .http.test_mapping import NOT_TO_HTTP

DOCS = Path(__file__).parents[2] / "docs"
EXTENSION = (DOCS / "reference" / "bearer-extension.md").read_text()
MAPPING = (DOCS / "explanation" / "identity-across-dimse-and-http.md").read_text()
TOKEN = AccessToken(Secret(b"mF_9.B5f-4.1JqM"))
CONTEXT = PresentationContextRQ(1, BEARER_TOKEN, (IMPLICIT_VR_LITTLE_ENDIAN,))


# The bearer extension -------------------------------------------------------------------------------------------------


def block(name: str) -> str:
    (found,) = re.findall(rf"^<!-- {name} -->\n```text\n(.*?)^```$", EXTENSION, re.DOTALL | re.MULTILINE)
    return found


def request(information: UserInformation) -> bytes:
    return write_pdu(AssociateRQ("PACS", "CT1", APPLICATION_CONTEXT, (CONTEXT,), information))


@pytest.mark.parametrize(("name", "item"), [
    ("request", write_token(TOKEN, True)), ("accepted", write_result(BearerResult.ACCEPTED)),
])  # fmt: skip
def test_the_bytes_of_an_item(name, item):
    octets = bytes.fromhex(block(name))
    assert octets in request(UserInformation(16384, "1.2.3", extended_negotiations=(item,)))
    assert len(octets) == 4 + int.from_bytes(octets[2:4])
    assert octets[6:52].decode() == BEARER_TOKEN == block("uid").strip()


def test_the_bytes_of_the_page_are_read_as_it_says():
    asked, answered = (bytes.fromhex(block(name)) for name in ("request", "accepted"))
    assert read_token([ExtendedNegotiation(BEARER_TOKEN, asked[52:])], Caps()) == (TOKEN, True)
    assert read_result([ExtendedNegotiation(BEARER_TOKEN, answered[52:])]) is BearerResult.ACCEPTED


def test_the_bytes_of_a_private_identity_type():
    octets = bytes.fromhex(block("private"))
    identity = UserIdentityRQ(0xF0, True, TOKEN.token.reveal())
    whole = request(UserInformation(16384, "1.2.3", user_identity=identity))
    assert octets in whole
    read = read_pdu(whole[0], whole[6:])
    assert isinstance(read, AssociateRQ)
    assert read.user_information.user_identity == identity


def test_every_result_is_on_the_page():
    (row,) = re.findall(r"^\| 54 \| result \| (.*) \|$", EXTENSION, re.MULTILINE)
    assert re.findall(r"([0-9A-F]{2})H", row) == [f"{result:02X}" for result in BearerResult]


# Programs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_what_programs_on_a_page_import_is_there(page):
    for program in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dimsetls"):
                module = import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


# The mapping ----------------------------------------------------------------------------------------------------------


def table(heading: str) -> Iterator[list[str]]:
    """The rows of the table whose first row begins so."""
    _, _, rest = MAPPING.partition(f"\n| {heading} |")
    assert rest, heading
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def written(reject: AssociateRJ | None) -> str:
    return f"({reject.result},{reject.source},{reject.reason})" if reject else "accepted"


def test_the_table_of_reasons():
    stops_an_association = {reason for _, _, reason in NOT_TO_HTTP} | {Reason.SEVERAL}
    expected = []
    for reason in Reason:
        refused, request = Refused(reason, "x"), "–"
        if reason in REFUSALS:
            answer = http_answer(refused)
            request = f"{answer.status} `{answer.error}`" if answer.error else str(answer.status)
        association = written(reject_of(refused)) if reason in stops_an_association else "–"
        expected.append([reason.value, association, request])
    assert [*table("reason")] == expected


def test_the_table_of_back_ends():
    denied, unavailable = table("the back end says")
    for row, error in ((denied, IdentityDenied("x")), (unavailable, IdentityUnavailable("x"))):
        answer = http_answer(error)
        assert row[1:] == [written(reject_of(error)), f"{answer.status} `{answer.error}`" if answer.error else "503"]


def test_the_table_of_rejections():
    named = {}
    for rejects, answer in table("A-ASSOCIATE-RJ"):
        for triple in re.findall(r"\((\d),(\d),(\d)\)", rejects):
            named[AssociateRJ(*map(int, triple))] = answer
    for reject, answer in named.items():
        assert answer.startswith(str(http_status_of_reject(reject))), reject
    assert "403 if no credential" in named[DENIED]
    assert http_status_of_reject(DENIED, another_may_help=False) == 403
    assert "else 502" in named[AssociateRJ(1, 1, 1)]
    assert http_status_of_reject(AssociateRJ(1, 1, 1), presented=False) == 502
    assert {AssociateRJ(*each) for each in REJECT.values()} <= named.keys()


def test_the_table_of_operations():
    rows = dict(table("status of an operation"))
    assert rows == {"0124H": str(http_status_of_operation(Status.NOT_AUTHORIZED)),
                    "A7xxH": str(http_status_of_operation(Status.OUT_OF_RESOURCES)), "any other": "not about the user"}
    assert http_status_of_operation(Status.PROCESSING_FAILURE) is None


def test_the_table_of_http_answers():
    for status, association, operation in table("status | before the A-ASSOCIATE-AC"):
        if status == "none in time":
            assert (association, operation) == (written(reject_of_http(None)), "–")
            continue
        for each in re.findall(r"\d\d\d|\dxx", status):
            number = int(each.replace("xx", "00"))
            assert written(reject_of_http(number)) == association
            found = status_of_http(number)
            assert (f"{found:04X}H" if found else "not about the user") == operation


def test_the_examples():
    policy = HTTPPolicy(utf8=True, bearer_extension=True)
    kinds = {"2": UsernameAndPasscode, "4": SAMLAssertion, "5": JSONWebToken, "bearer extension": AccessToken}
    count = 0
    for kind, primary, secondary, field in table("58H"):
        name, passcode, octets = (cell.strip("`") for cell in (primary, secondary, field))
        if kind == "2":
            credential = UsernameAndPasscode(name, Secret(passcode.encode()))
        else:
            credential = kinds[kind](Secret(name.encode()))
        is_token = isinstance(credential, AccessToken)
        found = to_http(Presented(access_token=credential) if is_token else Presented(credential), policy)
        assert isinstance(found, AuthorizationField)
        assert found.value == Secret(octets.encode())
        assert from_http([octets.encode()], policy) == credential
        count += 1
    assert count == 5
