# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The writer beside a backup: starting it, ending it, and what it noticed while others were at work."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .compare import last_event
from .place import Place, WrongResultError, environment
from .stats import percentile

Span = tuple[float, float]  # begun and ended, seconds of the monotonic clock


@dataclass(frozen=True)
class Service:
    """What an application got in some spans of time, in seconds.

    commits, rate: done within the spans, and how many of them a second. p50, p99, worst: of the commits that were due
    then, from that moment until they were done, so that a stall counts for every commit that it delays. commit_p50,
    commit_p99: the commit alone. errors: commits that failed.
    """

    seconds: float
    commits: int
    rate: float
    p50: float
    p99: float
    worst: float
    commit_p50: float
    commit_p99: float
    errors: int


@dataclass(frozen=True)
class Diary:
    """What the writer did: (due, begun, done) of each commit, (moment, message) of each error."""

    commits: Sequence[tuple[float, float, float]]
    errors: Sequence[tuple[float, str]]

    def committed(self, moment: float) -> int:
        """How many commits were done then."""
        return sum(done <= moment for _due, _begun, done in self.commits)

    def begun(self, moment: float) -> int:
        """How many commits had begun then."""
        return sum(begun <= moment for _due, begun, _done in self.commits)

    def service(self, spans: Sequence[Span]) -> Service:
        """Sum up what happened within the spans."""
        due = [commit for commit in self.commits if _within(commit[0], spans)]
        count = sum(_within(done, spans) for _due, _begun, done in self.commits)
        seconds = sum(ended - begun for begun, ended in spans)
        delays = [done - due for due, _begun, done in due] or [seconds]
        alone = [done - begun for _due, begun, done in due] or [seconds]
        return Service(
            seconds=seconds,
            commits=count,
            rate=count / seconds,
            p50=percentile(delays, 50),
            p99=percentile(delays, 99),
            worst=max(delays),
            commit_p50=percentile(alone, 50),
            commit_p99=percentile(alone, 99),
            errors=sum(_within(moment, spans) for moment, _message in self.errors),
        )


def _within(moment: float, spans: Sequence[Span]) -> bool:
    return any(begun <= moment <= ended for begun, ended in spans)


class Load:
    """A running writer. first: the last event that was there before it."""

    def __init__(self, place: Place, rate: float) -> None:
        self.first = last_event(place.database)
        self._log = place.folder / "writer.json"
        self._output = place.log("writer")
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchlib.writer", str(place.database), str(rate), str(self._log)],
                cwd=place.folder,
                env=environment(place.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # control-C reaches it through ``end`` only
            )

    def wait(self, seconds: float) -> Span:
        """Let it run alone."""
        begun = time.monotonic()
        time.sleep(seconds)
        return begun, time.monotonic()

    def end(self) -> Diary:
        """Stop it and read what it did. WrongResultError when it has died."""
        died = self._process.poll() is not None
        self._process.terminate()
        if died or self._process.wait(timeout=60):
            raise WrongResultError(f"the writer died:\n{self._output.read_text(errors='replace')[-2000:]}")
        diary = json.loads(self._log.read_text())
        return Diary([tuple(commit) for commit in diary["commits"]], [tuple(error) for error in diary["errors"]])

    def kill(self) -> None:
        """Whatever happened: it does not stay."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def load(place: Place, rate: float) -> Iterator[Load]:
    """A writer that is gone at the end."""
    writer = Load(place, rate)
    try:
        yield writer
    finally:
        writer.kill()
