import pytest

from dimsetls.errors import ConfigurationError
from dimsetls.node.client.journal import Journal


def test_what_is_added_is_there_at_the_next_run(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.add("1.2.3")
    journal.add("1.2.4")
    journal.close()
    again = Journal(tmp_path / "journal")
    assert again.acknowledged == {"1.2.3", "1.2.4"}
    again.close()


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path):
    (tmp_path / "journal").write_text("1.2.3\n1.2.345")
    journal = Journal(tmp_path / "journal")
    assert journal.acknowledged == {"1.2.3"}
    journal.add("1.2.4")
    journal.close()
    assert (tmp_path / "journal").read_text() == "1.2.3\n1.2.4\n"


def test_two_runs_do_not_share_it(tmp_path):
    journal = Journal(tmp_path / "journal")
    with pytest.raises(ConfigurationError, match="is in use by another run"):
        Journal(tmp_path / "journal")
    journal.close()


def test_a_journal_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be opened: Is a directory"):
        Journal(tmp_path)


def test_a_journal_that_is_no_regular_file():
    with pytest.raises(ConfigurationError, match="is no regular file"):
        Journal("/dev/full")
