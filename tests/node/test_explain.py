from __future__ import annotations

import pytest

from dimsetls.codes import REJECT_REASONS, ProviderReason
from dimsetls.errors import ConfigurationError
from dimsetls.node.cli import main
from dimsetls.node.explain import explain, hexadecimal, overview
from dimsetls.tls.conditions import CONDITIONS


@pytest.mark.parametrize("word", ["0x214", "0X214", "214H", "214h", "532", " 0x214 "])
def test_a_code_in_any_notation_leads_to_all_its_rows_the_general_one_first(word):
    assert [each.name for each in explain(word)] == ["record-mac", "record-malformed"]


@pytest.mark.parametrize("word", ["no-shared-cipher", "No_Shared_Cipher"])
def test_a_name_leads_to_its_row_alone(word):
    [each] = explain(word)
    row = CONDITIONS["no-shared-cipher"]
    assert (each.code, each.name, each.kind) == ("228H", row.name, "negotiation")
    assert (each.meaning, each.cause, each.remedy) == (row.meaning, row.cause, row.remedy)


def test_every_row_can_be_asked_for_by_code_and_by_name():
    for row in CONDITIONS.values():
        assert row.name in [each.name for each in explain(hexadecimal(row.reason))]
        assert [each.name for each in explain(row.name)] == [row.name]


def test_every_rejection_is_explained():
    for source, reason in REJECT_REASONS:
        for result, kind in ((1, "permanent"), (2, "transient")):
            [each] = explain(f"({result}, {source}, {reason})")
            assert (each.code, each.kind) == (f"{result},{source},{reason}", kind)
            assert REJECT_REASONS[source, reason] in each.meaning


def test_an_abort_is_explained_by_source_and_reason():
    for reason in ProviderReason:
        [each] = explain(f"2,{int(reason)}")
        assert each.meaning == explain(str(int(reason)))[0].meaning
    assert explain("0,0")[0].kind == "user"


@pytest.mark.parametrize(("word", "advice"), [
    ("record-mak", "did you mean record-mac? "),
    ("214", "did you mean 214H, record-mac? "),
    ("0x999", "; expected a code"),
    ("1,1,9", "; expected a code"),
    ("3,1,1", "; expected a code"),
    ("1,0", "; expected a code"),
    ("2,3", "; expected a code"),
    ("", "; expected a code"),
])  # fmt: skip
def test_what_is_unknown_leads_to_what_is_near(word, advice):
    with pytest.raises(ConfigurationError) as caught:
        explain(word)
    assert str(caught.value).startswith(f"nothing is known of {word!r}")
    assert advice in str(caught.value)


def test_the_command_prints_meaning_class_cause_and_remedy(capsys):
    assert main(["explain", "closed-unreleased"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "404H  closed-unreleased"
    assert [line.split()[0] for line in lines[1:]] == ["meaning", "class", "cause", "remedy"]


def test_the_command_without_a_code_lists_all_in_order(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [*overview()]
    assert len(lines) == len(CONDITIONS) + 2 * len(REJECT_REASONS)
    codes = [int(line.split()[0].removesuffix("H"), 16) for line in lines[:len(CONDITIONS)]]
    assert codes == sorted(codes)


def test_the_command_fails_in_one_sentence(capsys):
    assert main(["explain", "nonsense"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
