# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Several writers at once: starting them in step, ending them, and what they noticed together."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .load import Diary, Span
from .place import Place, WrongResultError, environment

START = 1.0  # seconds that all writers get to connect before the first commit is due
LIMIT = 60.0  # seconds that they get to finish the commit at hand


class Crew:
    """Running processes of the application; each writes a log when it is told to end."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, module: str, *words: object) -> None:
        """``python -m MODULE WORD...``; ``log_of(name)`` is among the words where the module wants it."""
        with open(self._place.log(name), "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, words)],
                cwd=self._place.folder,
                env=environment(self._place.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # control-C reaches it through ``end`` only
            )
        self._running.append((name, process))

    def log_of(self, name: str) -> Path:
        """Where the process of that name tells what it did."""
        return self._place.folder / f"{name}.json"

    def wait(self, seconds: float) -> Span:
        """Let it run."""
        begun = time.monotonic()
        time.sleep(seconds)
        return begun, time.monotonic()

    def end(self) -> dict[str, dict[str, Any]]:
        """Stop all, and read what they did, by name. WrongResultError when one has died, or does not end."""
        died = [name for name, process in self._running if process.poll() is not None]
        for _name, process in self._running:
            process.terminate()
        died += [name for name, process in self._running if not _ended_well(process) and name not in died]
        for name in died:
            told = self._place.log(name).read_text(errors="replace")[-2000:]
            raise WrongResultError(f"{name} died, or did not end:\n{told}")
        return {name: json.loads(self.log_of(name).read_text()) for name, _process in self._running}

    def kill(self) -> None:
        """Whatever happened: nobody stays."""
        for _name, process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()


def _ended_well(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(LIMIT) == 0
    except subprocess.TimeoutExpired:
        return False


@contextlib.contextmanager
def crew(place: Place) -> Iterator[Crew]:
    """An application that is gone at the end."""
    started = Crew(place)
    try:
        yield started
    finally:
        started.kill()


def start_writers(
    started: Crew, database: Path, *, rate: float, count: int, seed: int, module: str = "benchlib.archive_writer"
) -> None:
    """``count`` writers that together commit ``rate`` times a second, one after the other in turn."""
    begin = time.monotonic() + START
    for number in range(count):
        name = f"writer-{number + 1}"
        started.start(
            name, module, database, rate / count, started.log_of(name), seed * 1000 + number, begin + number / rate
        )


def merged(logs: Iterable[dict[str, Any]]) -> Diary:
    """What several writers did, as if it had been one."""
    told = [log for log in logs if "commits" in log]
    return Diary(_sorted(log["commits"] for log in told), _sorted(log["errors"] for log in told))


def _sorted(parts: Iterable[Sequence[Sequence[Any]]]) -> list[Any]:
    return sorted(tuple(item) for part in parts for item in part)
