import io

import pytest

from dimsetls.node.client.progress import Progress, size_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_tells_share_rate_and_what_remains():
    now = [0.0]
    output = Terminal()
    progress = Progress(4, 4000, output, clock=lambda: now[0])
    now[0] = 2.0
    progress.finish(1000, "stored a")
    progress.advance(1000)
    assert progress.line() == "[############............]  50%  1/4 files  1.0 kB/s  0:02 left"
    assert "stored a" not in output.getvalue()
    progress.note("b failed")
    assert "\r\x1b[Kb failed\n" in output.getvalue()


def test_elsewhere_each_file_is_a_line():
    output = io.StringIO()
    progress = Progress(2, 10, output)
    progress.advance(5)
    progress.finish(5, "stored a")
    progress.clear()
    assert output.getvalue() == "1/2 stored a\n"


def test_nothing_to_send_and_no_time_passed():
    assert Progress(0, 0, io.StringIO(), clock=lambda: 0.0).line().startswith("[########################] 100%")


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (1000, "1.0 kB"), (35_200_000, "35.2 MB"),
                                            (99_960_000, "100 MB"), (5e15, "5000.0 TB")])
def test_sizes(size, text):
    assert size_text(size) == text
