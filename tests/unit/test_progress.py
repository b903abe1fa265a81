from __future__ import annotations

import io
import os
import pty

import pytest

from litekeep import progress
from litekeep.progress import JournalProgress, Progress, TerminalProgress


@pytest.mark.parametrize(
    ("done", "total", "words"), [(0, 10, 0), (1, 3, 33), (10, 10, 100), (11, 10, 100), (0, 0, 100), (5, 0, 100)]
)
def test_percent_never_passes_a_hundred(done: int, total: int, words: int) -> None:
    assert progress.percent(done, total) == words


def test_the_silent_one_takes_everything() -> None:
    silent = Progress()
    silent.step("x")
    silent.advance("copy", 1, 2)
    silent.close()


def test_a_terminal_gets_one_line_that_is_rewritten_and_then_cleared() -> None:
    stream = io.StringIO()
    line = TerminalProgress(stream)
    line.advance("copy", 500_000, 1_000_000)
    line.close()
    assert stream.getvalue() == "\r\x1b[2Kcopy 50 % of 1.0 MB\r\x1b[2K"


def test_a_terminal_is_not_flooded_and_shows_work_side_by_side() -> None:
    stream = io.StringIO()
    line = TerminalProgress(stream)
    for done in range(1000):
        line.advance("compress", done, 1000)
        line.advance("read back", done, 1000)
    assert stream.getvalue().count("\r") < 10
    line._next = 0
    line.advance("compress", 1000, 1000)
    assert stream.getvalue().endswith("compress 100 % of 1.0 kB · read back 99 % of 1.0 kB")


def test_a_step_that_is_done_leaves_the_terminals_line() -> None:
    stream = io.StringIO()
    line = TerminalProgress(stream)
    line.advance("copy", 1, 1)
    line.step("backup: copied")
    line._next = 0
    line.advance("compress", 0, 1)
    assert stream.getvalue().endswith("\r\x1b[2Kcompress 0 % of 1 B")


def test_short_work_leaves_no_line_in_the_journal() -> None:
    stream = io.StringIO()
    line = JournalProgress(stream)
    for done in range(100):
        line.advance("copy", done, 100)
    line.close()
    assert stream.getvalue() == ""


def test_long_work_leaves_a_line_now_and_then_for_each_label() -> None:
    stream = io.StringIO()
    line = JournalProgress(stream, every=0)
    line.advance("copy", 0, 200)
    line.advance("copy", 50, 200)
    line.advance("compress", 10, 20)
    assert stream.getvalue() == "copy: 0 % of 200 B\ncopy: 25 % of 200 B\ncompress: 50 % of 20 B\n"


def test_the_form_fits_where_the_words_go(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress.for_stream(io.StringIO()), JournalProgress)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress.for_stream(), JournalProgress)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert isinstance(progress.for_stream(terminal), TerminalProgress)
    os.close(master)
