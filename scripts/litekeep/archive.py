# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The archive service: keeps all that is committed to one database, for as long as it runs.

It looks at the wal-index many times a second. What is new goes into the open segment; segments are closed at every
interval. Where continuity cannot be proven, a new timeline begins, with a base backup of its own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import moments, sqlitefail, store
from .archivewriter import ArchiveWriter
from .basebackup import BaseBackup, Say
from .config import Database
from .errors import LitekeepError, SourceError
from .files import storage_errors
from .follow import Follower, why_not_resumed
from .hold import Hold, LostError
from .notify import Notifier, Stop
from .repository import Repository
from .rollover import Rollover
from .source import identify, is_wal
from .timefmt import now, size_text, to_id, to_text
from .walfile import wal_in_use

# Seconds between two looks. An application's own checkpoint may have to wait for the next one.
_POLL = 0.025
_POLL_ACTIVE = 0.01
_TEND_EVERY = 1.0
_PAUSES = (1.0, 60.0)
# Seconds after which a timeline that went well makes up for the trouble before it.
_GOOD = 60.0
_SAFE = "the database and the backups; nothing was changed"


@dataclass
class Archiver:
    """Archives one database until ``stop`` is set.

    start_backup: starts ``litekeep backup`` of this database in a process of its own. say: a line for the journal.
    """

    repository: Repository
    database: Database
    start_backup: Callable[[], subprocess.Popen[bytes]]
    say: Say
    stop: Stop = field(default_factory=Stop)
    notifier: Notifier = field(default_factory=Notifier)
    _directory_at_start: tuple[int, int] | None = None

    def run(self) -> None:
        """Work until stopped. Raises BusyError when another archiver runs, SourceError when there is no WAL to archive.

        A database that is not there is waited for; what happens later is survived and reported.
        """
        store.require_zstandard()
        self.notifier.ready()
        self._directory_at_start = self._directory()
        self._refuse_other_modes()
        name, safe = self.database.name, "the database and the backups; nothing was changed"
        with (
            storage_errors(f"Archive of {name}", self.repository.root, safe),
            self.repository.archiving(name) as folder,
        ):
            self._work(folder)
        self.notifier.stopping()

    def _directory(self) -> tuple[int, int] | None:
        try:
            found = os.stat(os.path.dirname(os.path.realpath(self.database.path)))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _refuse_other_modes(self) -> None:
        path = self.database.path
        if os.path.exists(path) and os.path.getsize(path) and not is_wal(identify(path).path):
            raise SourceError(
                f"{path} is not in WAL mode, so it cannot be archived",
                expected="journal mode wal",
                found="a rollback-journal mode",
                safe="nothing was changed; backups go on, each restores the moment at which it was taken",
                next_step=f"sqlite3 {path} 'PRAGMA journal_mode=wal' if the application allows it; else archive: false",
            )

    def _work(self, folder: str) -> None:
        """Hold and follow, again and again."""
        reason, pause = "", _PAUSES[0]
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                hold = self._hold()
                with contextlib.closing(hold):
                    self._follow(folder, hold, reason)
            except LostError as problem:
                reason = str(problem)
                trouble = f"continuity is lost: {reason}"
            except (OSError, LitekeepError, sqlite3.Error) as problem:
                reason, trouble = "", str(problem)
            else:
                continue
            if self.stop.is_set():
                break
            pause = _PAUSES[0] if time.monotonic() - begun > _GOOD else pause
            self.say(f"{trouble}; again in {pause:.0f} s")
            self._wait(pause, trouble)
            pause = min(2 * pause, _PAUSES[1])

    def _wait(self, seconds: float, trouble: str) -> None:
        self.notifier.status(trouble)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop.wait(min(1.0, seconds)):
            self.notifier.alive()

    def _hold(self) -> Hold:
        """Hold the database, as soon as it is there and its WAL is not too large to begin with."""
        said = ""
        while True:
            path = os.path.realpath(self.database.path)
            trouble = ""
            if self.notifier.listened_to and self._directory() != self._directory_at_start:
                # A service's sandbox is made when it starts: what appears later cannot be written there.
                self.say(f"the directory of {path} is another one now; ending, so that systemd starts this anew")
                self.stop.set()
            if not os.path.exists(path) or not os.path.getsize(path):
                trouble = f"waiting for {self.database.path}: it is not there yet"
            elif wal_in_use(path) > self.database.archive_settings.max_wal // 2:
                trouble = f"waiting for a checkpoint: the WAL of {path} holds {size_text(wal_in_use(path))}"
            if not trouble and not self.stop.is_set():
                try:
                    return Hold(path)
                except sqlite3.Error as problem:
                    if not sqlitefail.is_busy(problem):
                        raise
                    trouble = f"waiting for {self.database.path}: {problem}"
            if trouble != said:
                said = trouble
                self.say(trouble)
            if self.stop.is_set():
                raise LostError(f"stopped while {trouble or 'it began'}")
            self._wait(_PAUSES[0], trouble)

    def _follow(self, folder: str, hold: Hold, reason: str) -> None:
        """One timeline after the other, each going on where the one before it ends, until stopped or lost."""
        writer, since = self._writer(folder, hold, reason)
        settings = self.database.archive_settings
        pool = concurrent.futures.ThreadPoolExecutor(1)
        follower: Follower | None = Follower(hold, writer, settings, since, pool)
        try:
            while follower is not None:
                follower = self._timeline(folder, hold, follower, pool)
        finally:
            # Before the hold goes: a sync of it may be under way.
            pool.shutdown()

    def _timeline(
        self, folder: str, hold: Hold, follower: Follower, pool: concurrent.futures.Executor
    ) -> Follower | None:
        """One timeline; who follows the next one, None when stopped."""
        settings, name = self.database.archive_settings, self.database.name
        base = BaseBackup(self.start_backup, lambda: self._hangs(follower), self.say)
        rollover = Rollover(self.repository, name, settings.roll, self.start_backup)
        try:
            if not self._turns(hold, follower, base, rollover):
                return None
            writer, since = self._begin(folder, hold, "the one before it had grown old", follows=follower.timeline)
            heir = Follower(hold, writer, settings, since, pool)
            follower.hand_over(heir)
            return heir
        finally:
            base.stop()
            rollover.stop()
            # What was taken over is true, whatever ended the timeline.
            try:
                follower.finish()
            except (OSError, LitekeepError) as problem:
                self.say(f"what was committed last could not be stored: {problem}")

    def _turns(self, hold: Hold, follower: Follower, base: BaseBackup, rollover: Rollover) -> bool:
        """Follow until stopped; True when the next timeline can begin."""
        tend_at, said = 0.0, ""
        follower.turn()
        while not self.stop.wait(_POLL_ACTIVE if follower.is_active else _POLL):
            follower.turn()
            if time.monotonic() >= tend_at:
                tend_at = time.monotonic() + _TEND_EVERY
                base.tend()
                if base.is_there and rollover.is_due(follower.timeline, follower.started, hold):
                    return True
                follower.reluctant = rollover.is_backing_up
                follower.note = follower.damage or base.trouble
                self.notifier.alive()
                trouble = follower.trouble or follower.damage
                self.notifier.status(trouble or base.trouble or f"archiving; WAL {size_text(follower.wal_size)}")
                if trouble != said:
                    said = trouble
                    self.say(said or "archiving goes on as it should")
        follower.turn(last=True)
        return False

    def _writer(self, folder: str, hold: Hold, reason: str) -> tuple[ArchiveWriter, dt.datetime]:
        """Go on with the newest timeline where that is proven; else begin a new one."""
        settings = self.database.archive_settings
        timelines = self.repository.timelines(self.database.name)
        if timelines:
            newest = timelines[-1]
            why_not = why_not_resumed(hold, newest)
            seen = hold.look().position
            if not why_not and seen.salts != newest.segments[-1].salts:
                why_not = "the WAL began anew when the archiver began"
            if not why_not and now() >= newest.until:
                self.say(f"going on with timeline {newest.id} after {newest.segments[-1].name}")
                level = self.database.compression_level
                return ArchiveWriter.resume(newest, level, settings.reserve, seen), newest.until
            reason = reason or why_not or "the clock was set back while no archiver ran"
        return self._begin(folder, hold, reason or "archiving began")

    def _begin(self, folder: str, hold: Hold, reason: str, follows: str = "") -> tuple[ArchiveWriter, dt.datetime]:
        """A new timeline. follows: the one that it goes on from."""
        settings, started = self.database.archive_settings, now()
        numbers = self.repository.timeline_numbers(self.database.name)
        device, inode = hold.inode
        state = hold.look().position
        values: dict[str, object] = {
            "number": 1 + max((number for number, _name in numbers), default=0),
            "empty": [] if state.frame else [list(state.salts)],
            "host": self.repository.host,
            "database": self.database.name,
            "source": {"path": hold.path, "device": device, "inode": inode},
            "started": to_text(started),
            "reason": reason,
            **({"follows": follows} if follows else {}),
        }
        name = _fresh_name(folder, started)
        self.say(f"timeline {name} begins: {reason}")
        writer = ArchiveWriter.begin(
            os.path.join(folder, name), self.database.compression_level, settings.reserve, values
        )
        return writer, started

    def _hangs(self, follower: Follower) -> bool:
        """Whether a restore point belongs to what is being archived, up to now."""
        follower.finish()
        catalogue = self.repository.catalogue(self.database.name)
        for found in self.repository.timelines(self.database.name):
            if found.id == follower.timeline and found.runs:
                return bool(moments.bases_of(found.runs[-1], catalogue.restore_points))
        return False


def _fresh_name(folder: str, started: dt.datetime) -> str:
    while os.path.exists(os.path.join(folder, to_id(started))):
        started += dt.timedelta(milliseconds=1)
    return to_id(started)
