"""What a [credential] presents: read anew each time, and never kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.identity.credentials import JSONWebToken, SAMLAssertion, Secret, Username, UsernameAndPasscode
from dimsetls.identity.gate import Requirement
from dimsetls.identity.presenting import Presentation
from dimsetls.node.credentials import CREDENTIAL, Credential
from dimsetls.node.presenting import Presents, presenter

from ..secrets import secret

FIRST, SECOND = (secret(each, "what is presented") for each in ("eyJhbGci0iJ9.first.sig", "eyJhbGci0iJ9.second.sig"))
ASSERTION = secret("<Assertion>\n  <SignatureValue>c2lnbmF0dXJlIG9mIG9uZQ==</SignatureValue>\n</Assertion>\n", "SAML")


def section(**given: Any) -> Credential:
    """A section as it is read, with these options."""
    options = {option.name.replace("-", "_"): option.type.parse(option.default) if option.default else None
               for option in CREDENTIAL.options}  # type: ignore[union-attr]
    return Credential("us", **options | given)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """A file that its owner alone may read; written again it is another."""
    def write(content: str) -> str:
        path = tmp_path / "secret"
        path.touch(0o600)
        path.write_text(content)
        return str(path)

    return write


def presentation(presents: Any) -> Presentation:
    """What is presented, of whoever need not wait for it."""
    coroutine = presents.presentation()
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    found = done.value.value
    assert isinstance(found, Presentation)
    return found


def test_a_name_alone() -> None:
    found = presentation(Presents(presenter(section(type="username", user="archive"))))
    assert (found.identity, found.requirement) == (Username("archive"), Requirement.REQUIRE)


def test_a_passcode_is_read_anew_each_time(file: Callable[[str], str]) -> None:
    presents = Presents(presenter(section(type="passcode", user="archive", passcode_file=file(f"{FIRST}\nrest"),
                                          answer=Requirement.PREFER)))
    assert presentation(presents).identity == UsernameAndPasscode("archive", Secret(FIRST.encode()))
    file(SECOND)
    found = presentation(presents)
    assert (found.identity, found.requirement) == (UsernameAndPasscode("archive", Secret(SECOND.encode())),
                                                   Requirement.PREFER)  # fmt: skip
    found.wipe()
    assert presentation(presents).identity == UsernameAndPasscode("archive", Secret(SECOND.encode()))
    assert FIRST not in repr(presents) + repr(presents.presenter.__dict__)


@pytest.mark.parametrize(("type_", "kind", "content", "octets"), [
    ("jwt", JSONWebToken, f"{FIRST}\n", FIRST), ("saml", SAMLAssertion, ASSERTION, ASSERTION),
])  # fmt: skip
def test_a_token_is_the_first_line_and_an_assertion_the_whole_file(
    file: Callable[[str], str], type_: str, kind: Any, content: str, octets: str
) -> None:
    found = presentation(Presents(presenter(section(type=type_, token_file=file(content)))))
    assert found.identity == kind(Secret(octets.encode()))
    found = presentation(Presents(presenter(section(type=type_, variable="TOKEN"), {"TOKEN": content.strip()})))
    assert found.identity == kind(Secret(content.strip().encode()))


def test_an_access_token_may_have_a_type_of_its_own_at_a_peer(file: Callable[[str], str]) -> None:
    made = presenter(section(type="bearer", token_file=file(FIRST)))
    for private_type in (None, 254):
        found = presentation(Presents(made, private_type))
        assert found.access_token is not None
        assert (found.access_token.token, found.private_type) == (Secret(FIRST.encode()), private_type)
    made = presenter(section(type="bearer", variable="TOKEN"), {"TOKEN": SECOND})
    assert presentation(Presents(made)).access_token.token == Secret(SECOND.encode())  # type: ignore[union-attr]


def test_what_is_gone_when_it_is_needed_is_said_then(file: Callable[[str], str], tmp_path: Path) -> None:
    environment = {"TOKEN": FIRST}
    presents = [Presents(presenter(section(type=type_, token_file=file(FIRST)))) for type_ in ("jwt", "bearer")]
    presents += [Presents(presenter(section(type=type_, variable="TOKEN"), environment)) for type_ in ("jwt", "bearer")]
    (tmp_path / "secret").unlink()
    del environment["TOKEN"]
    for each in presents:
        with pytest.raises(ConfigurationError, match=r"cannot be read|TOKEN"):
            each.presentation().send(None)


def test_a_token_that_the_peer_refused_is_not_presented_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dimsetls.identity.oauth.client_credentials import ClientCredentials

    forgotten = []
    monkeypatch.setattr(ClientCredentials, "__init__", lambda self, **options: forgotten.append(options))
    monkeypatch.setattr(ClientCredentials, "forget", lambda self: forgotten.append("forgotten"))
    presents = Presents(presenter(section(type="client-credentials", url="https://a", trust_roots=tmp_path,
                                          client_id="us", client_secret="x", scope="dicom.store")))
    presents.refused()
    options, what = forgotten
    assert (options["client_id"], options["scope"], options["request_deadline"], what) == (
        "us", "dicom.store", 5.0, "forgotten")  # fmt: skip
