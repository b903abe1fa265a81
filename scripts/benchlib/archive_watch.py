# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An archiver that runs beside the application, watched from outside until it is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .load import Span
from .measure import INTERVAL, family, field
from .place import Place, WrongResultError, environment

TICKS = os.sysconf("SC_CLK_TCK")
END_LIMIT = 60.0  # seconds that an archiver gets to capture the last commits


@dataclass(frozen=True)
class Look:
    """What was to be seen at a moment of the monotonic clock.

    own: RssAnon of the process, bytes. anonymous: the same with all its children. cpu: user and system seconds so far,
    children included. wal: size of the database's WAL file, bytes.
    """

    moment: float
    own: int
    anonymous: int
    cpu: float
    wal: int


@dataclass(frozen=True)
class Ended:
    """How it ended. cpu: user and system seconds of its life, with its children. seconds: from SIGTERM to the end."""

    exit_code: int
    cpu: float
    seconds: float


class Archiver:
    """A running archiver, and a thread that looks at it every INTERVAL seconds; its output goes to a log."""

    def __init__(self, place: Place, name: str, words: Sequence[str | Path], database: Path) -> None:
        self.looks: list[Look] = []
        self.output = place.log(name)
        self._name = name
        self._wal = Path(f"{database}-wal")
        with open(self.output, "wb") as output:
            self._process = subprocess.Popen(
                [str(word) for word in words],
                cwd=database.parent,
                env=environment(place.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def require_alive(self) -> None:
        """WrongResultError, with its last words, when it is gone."""
        # Not poll(): that would take the exit code, and with it the processor time, away from ``end``.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            raise WrongResultError(f"{self._name} ended by itself:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its output."""
        return self.output.read_text(errors="replace").strip()[-2000:]

    def end(self) -> Ended:
        """SIGTERM, and wait; a child that it leaves behind is killed.

        WrongResultError when it does not end in END_LIMIT seconds, or was gone before.
        """
        self.require_alive()
        self._stop_looking()
        begun = time.monotonic()
        os.kill(self._process.pid, signal.SIGTERM)
        while time.monotonic() - begun < END_LIMIT:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                seconds = time.monotonic() - begun
                self._kill_group()
                return Ended(self._process.returncode, usage.ru_utime + usage.ru_stime, seconds)
            time.sleep(0.01)
        raise WrongResultError(f"{self._name} did not end within {END_LIMIT:.0f} s:\n{self.last_words()}")

    def kill(self) -> None:
        """Whatever happened: neither it nor its children stay."""
        self._stop_looking()
        if self._process.returncode is None:
            self._kill_group()
            self._process.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _stop_looking(self) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(INTERVAL):
            self.looks.append(look(self._process.pid, self._wal))


@contextlib.contextmanager
def archiver(place: Place, name: str, words: Sequence[str | Path], database: Path) -> Iterator[Archiver]:
    """An archiver that is gone at the end."""
    started = Archiver(place, name, words, database)
    try:
        yield started
    finally:
        started.kill()


def look(pid: int, wal: Path) -> Look:
    """Look at a process with its children, and at a WAL file."""
    everyone = family(pid)
    memory = [field(_read(f"/proc/{one}/status"), "RssAnon") for one in everyone]
    processor = sum(cpu_seconds(_read(f"/proc/{one}/stat")) for one in everyone)
    return Look(time.monotonic(), memory[0], sum(memory), processor, file_size(wal))


def cpu_seconds(stat: str) -> float:
    """Of a process and the children that it has waited for, out of /proc/PID/stat; 0 when the process is gone."""
    # The name stands in brackets and may hold anything; the numbers come after it (proc_pid_stat(5)).
    numbers = stat.rpartition(")")[2].split()
    return sum(map(int, numbers[11:15])) / TICKS


def within(looks: Sequence[Look], span: Span) -> list[Look]:
    """Those of a span. WrongResultError when there are fewer than two: it was too short to see anything."""
    found = [one for one in looks if span[0] <= one.moment <= span[1]]
    if len(found) < 2:
        raise WrongResultError(f"only {len(found)} looks at the archiver in {span[1] - span[0]:.1f} s")
    return found


def wal_frames(shm: Path) -> tuple[int, int] | None:
    """Frames in use in the WAL, and how many of them are back in the database; None while that cannot be told.

    Only for a process that has no SQLite connection to that database: closing the file drops its locks.
    """
    try:
        with open(shm, "rb") as stream:
            index = stream.read(100)
    except FileNotFoundError:
        return None
    if len(index) < 100 or index[:48] != index[48:96]:
        return None
    return struct.unpack_from("=I", index, 16)[0], struct.unpack_from("=I", index, 96)[0]


def file_size(path: Path) -> int:
    """Bytes; 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def growing_size(folder: Path) -> int:
    """Bytes of all files below a directory in which somebody is at work; what goes away meanwhile does not count."""
    return sum(file_size(Path(where) / name) for where, _folders, names in os.walk(folder) for name in names)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
