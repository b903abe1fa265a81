# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What long work says while it runs: named steps, and how far a step has come.

Steps are reached in a fixed order, and each of them is a point where a kill must do no harm: the fault
tests enumerate them.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from .timefmt import size_text


class Progress:
    """Says nothing; the base of those that do. Methods may be called from several threads."""

    def step(self, name: str) -> None:
        """The named step is done and its effect is on disk."""

    def advance(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes of the work called ``label`` are through."""

    def rows(self, label: str, done: int) -> None:
        """``done`` rows of that work are through; nobody knows how many there are."""

    def waiting(self, holder: str) -> None:
        """Nothing moves: another process, which ``holder`` names, is at it."""

    def close(self) -> None:
        """No more will be said."""


class TerminalProgress(Progress):
    """One line that is rewritten in place, at most ten times a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._parts: dict[str, str] = {}
        self._next = 0.0

    def step(self, name: str) -> None:
        with self._lock:
            self._parts.clear()

    def advance(self, label: str, done: int, total: int) -> None:
        self._show(label, f"{label} {percent(done, total)} % of {size_text(total)}")

    def rows(self, label: str, done: int) -> None:
        self._show(label, f"{label} {done:,} rows")

    def waiting(self, holder: str) -> None:
        self._show("waiting", f"waiting for: {holder}")

    def _show(self, label: str, words: str) -> None:
        with self._lock:
            self._parts[label] = words
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + 0.1
                self._stream.write("\r\x1b[2K" + " · ".join(self._parts.values()))
                self._stream.flush()

    def close(self) -> None:
        self._stream.write("\r\x1b[2K")
        self._stream.flush()


class JournalProgress(Progress):
    """A line every few seconds of long work, for the journal. Short work stays silent."""

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream = stream
        self._every = every
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def advance(self, label: str, done: int, total: int) -> None:
        self._tell(label, f"{label}: {percent(done, total)} % of {size_text(total)}")

    def rows(self, label: str, done: int) -> None:
        self._tell(label, f"{label}: {done:,} rows")

    def waiting(self, holder: str) -> None:
        self._tell("waiting", f"waiting for: {holder}")

    def _tell(self, label: str, words: str) -> None:
        with self._lock:
            moment = time.monotonic()
            if moment - self._last.setdefault(label, moment) >= self._every:
                self._last[label] = moment
                self._stream.write(f"{words}\n")
                self._stream.flush()


def percent(done: int, total: int) -> int:
    """Whole percent, never over 100; work of no size is done."""
    return min(100, done * 100 // total) if total else 100


def for_stream(stream: TextIO | None = None) -> Progress:
    """The right one for where the words go (default: standard error)."""
    stream = sys.stderr if stream is None else stream
    return TerminalProgress(stream) if stream.isatty() else JournalProgress(stream)
