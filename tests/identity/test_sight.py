"""What a view is for whom, in values and in words."""

from __future__ import annotations

import pytest

from dimsetls.identity.sight import EVERYTHING, View


def test_a_view_without_conditions_is_everything() -> None:
    assert View().is_everything
    assert (View(),) == EVERYTHING
    assert not View(days=0).is_everything
    assert not View(modalities=frozenset()).is_everything
    assert str(View()) == "everything"


@pytest.mark.parametrize(("names", "user", "seen"), [
    ({"{user}"}, "smith", {"smith"}),
    ({"{user}^MD", "Doe^Jane"}, "smith", {"smith^MD", "Doe^Jane"}),
    ({"{user}", "Doe^Jane"}, None, {"Doe^Jane"}),
    ({"{user}", "Doe^Jane"}, "", {"Doe^Jane"}),
    ({"{user}"}, None, set()),
    ({"{user}"}, "{user}", {"{user}"}),
])  # fmt: skip
def test_the_user_stands_for_the_one_who_asks(names: set[str], user: str | None, seen: set[str]) -> None:
    view = View(referring_physicians=frozenset(names))
    assert view.names_user
    assert view.for_user(user) == View(referring_physicians=frozenset(seen))


def test_who_the_user_is_changes_no_other_view() -> None:
    view = View(modalities=frozenset({"CT"}))
    assert not view.names_user
    assert view.for_user("smith") is view


def test_in_words() -> None:
    view = View(
        frozenset({"MR", "CT"}), frozenset({"General, North"}), frozenset({"HOSPITAL"}), frozenset(),
        frozenset({"CT1"}), 90,
    )  # fmt: skip
    assert str(view) == (
        "instances with modality CT or MR and institution General, North and issuer of patient ID HOSPITAL and "
        "referring physician nobody and stored by CT1 and study date up to 90 days ago"
    )
