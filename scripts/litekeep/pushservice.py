# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The push service: sends what is new to every remote, for as long as it runs.

It has no part in archiving: a remote that is slow, full or gone costs the application and the local archive nothing.
Backups and archive travel side by side, so that a large full backup does not keep the last commits waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .config import Database, Remote
from .errors import LitekeepError
from .notify import Notifier, Stop
from .progress import Progress
from .push import Archive, Backups, Pushed
from .remote import Store
from .repository import Repository

Say = Callable[[str], None]

# Seconds: the longest pause after failures; how long the last pass may go on, and may stand still, once the service is
# to stop; and what may then still be ended.
_LONGEST = 300.0
_LAST_PASS = 20.0
_STANDSTILL = 5.0
_FAREWELL = 10.0
_TURN = 1.0


@dataclass
class _Lane:
    """One kind of files on its way to one remote."""

    label: str
    work: Archive | Backups
    interval: float
    say: Say
    trouble: str = ""
    ended: bool = False

    def run(self, stop: threading.Event) -> None:
        """Until stopped; then once more, where all went well."""
        pause = self.interval
        while True:
            last = stop.is_set()
            try:
                self._tell(self.work.run())
                pause = self.interval
            except (LitekeepError, OSError) as problem:
                if self.work.store.ended:
                    break
                pause = self._fail(problem, pause)
            if last or (stop.wait(pause) and self.trouble):
                break
        self.ended = True

    def _tell(self, done: Pushed) -> None:
        for backup in done.backups:
            self.say(f"{self.label}: the backup {backup} has arrived")
        if self.trouble:
            self.say(f"{self.label}: all that waited has arrived")
        self.trouble = ""

    def _fail(self, problem: LitekeepError | OSError, pause: float) -> float:
        """How long to wait now."""
        self.work.memory.failed(problem)
        self.work.forget()
        pause = min(2 * pause, _LONGEST)
        trouble = str(problem.what if isinstance(problem, LitekeepError) else problem)
        if trouble != self.trouble:
            self.say(f"{self.label}: {problem}; again in {pause:.0f} s")
        self.trouble = trouble
        return pause


@dataclass
class Pusher:
    """Pushes one database to its remotes until ``stop`` is set. say: a line for the journal."""

    repository: Repository
    database: Database
    remotes: Sequence[Remote]
    say: Say
    stop: Stop = field(default_factory=Stop)
    notifier: Notifier = field(default_factory=Notifier)

    def run(self) -> None:
        """Work until stopped. Whatever fails is reported, remembered and tried again."""
        ending = threading.Event()
        stores = [Store(remote) for remote in self.remotes]
        lanes = [
            _Lane(f"{store.remote.name}, {label}", kind(self.repository, self.database.name, store, Progress()),
                  store.remote.interval, self.say)
            for store in stores
            for label, kind in (("archive", Archive), ("backups", Backups))
        ]  # fmt: skip
        threads = [threading.Thread(target=lane.run, args=(ending,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        self.notifier.ready()
        while not self.stop.wait(_TURN):
            self.notifier.alive()
            self.notifier.status(_summary(lanes))
        self.notifier.stopping()
        for store in stores:
            store.hurry(_STANDSTILL)
        ending.set()
        _join(threads, _LAST_PASS)
        for store in stores:
            store.end()
        _join(threads, _FAREWELL)


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    """Wait for all of them, together no longer than that."""
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _summary(lanes: Sequence[_Lane]) -> str:
    troubles = [f"{lane.label}: {lane.trouble}" for lane in lanes if lane.trouble]
    return "; ".join(troubles) or "all that is complete has arrived, or is on its way"
