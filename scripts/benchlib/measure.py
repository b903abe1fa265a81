# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one command and tell what it took, its children included."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.1  # seconds between two looks at a running process


@dataclass(frozen=True)
class Usage:
    """What a command and its children took.

    begun: seconds of the system's monotonic clock. load: the load average of the minute before. wall: seconds.
    cpu: user and system seconds. anonymous: the largest sum of RssAnon seen, bytes (mapped file pages do not count).
    resident: the largest VmHWM seen, bytes. max_rss: what wait4(2) calls so, bytes; never less than that of the
    process that started it. read: bytes read through system calls. None or 0 where /proc did not tell.
    """

    begun: float
    load: float
    wall: float
    cpu: float
    anonymous: int
    resident: int
    max_rss: int
    read: int | None
    exit_code: int
    timed_out: bool

    @property
    def ended(self) -> float:
        """Seconds of the system's monotonic clock."""
        return self.begun + self.wall


def run(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path, limit: float | None = None
) -> Usage:
    """Run a command in ``folder``, its output in the file ``log``; kill it after ``limit`` seconds."""
    load = os.getloadavg()[0]
    with open(log, "wb") as output, _started(words, folder, environment, output.fileno()) as process:
        watch = Watch(process.pid, limit)
        # WNOWAIT: its id must not be given to another process while somebody still watches it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        ended = time.monotonic()
        watch.close()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        begun=watch.begun,
        load=load,
        wall=ended - watch.begun,
        cpu=usage.ru_utime + usage.ru_stime,
        anonymous=watch.anonymous,
        resident=watch.resident,
        max_rss=usage.ru_maxrss * 1024,
        read=watch.read,
        exit_code=process.returncode,
        timed_out=watch.timed_out,
    )


@contextlib.contextmanager
def _started(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], output: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own, so that a shell is ended together with what it started."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Watch:
    """Looks at a process and its descendants every INTERVAL seconds, in a thread, until it is closed."""

    def __init__(self, pid: int, limit: float | None) -> None:
        self.begun = time.monotonic()
        self.anonymous = 0
        self.resident = 0
        self.read: int | None = None
        self.timed_out = False
        self._pid = pid
        self._limit = limit
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look a last time and stop."""
        self._closed.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._closed.wait(INTERVAL):
            self._look()
            if self._limit is not None and not self.timed_out and time.monotonic() - self.begun > self._limit:
                self.timed_out = True
                os.killpg(self._pid, signal.SIGKILL)

    def _look(self) -> None:
        states = [_status(pid) for pid in family(self._pid)]
        self.anonymous = max(self.anonymous, sum(field(state, "RssAnon") for state in states))
        self.resident = max(self.resident, max((field(state, "VmHWM") for state in states), default=0))
        with contextlib.suppress(OSError):
            self.read = field(Path(f"/proc/{self._pid}/io").read_text(), "rchar")


def family(pid: int) -> list[int]:
    """A process and all its living descendants. Without those where the kernel does not list children."""
    found = [pid]
    for parent in found:  # grows while it is read
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(map(int, children.read_text().split()))
    return found


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return ""


def field(text: str, name: str) -> int:
    """One number of a /proc file, in bytes where it stands in kB; 0 when it is absent."""
    match = re.search(rf"^{name}:\s*(\d+)( kB)?", text, re.MULTILINE)
    return int(match[1]) * (1024 if match[2] else 1) if match else 0
