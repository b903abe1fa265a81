# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Following a database along one timeline, turn by turn."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable

from . import sqlitefail, walfile
from .archivewriter import ArchiveWriter
from .config import ArchiveSettings
from .errors import LitekeepError
from .files import free_bytes
from .hold import Hold, LostError
from .timefmt import duration_text, now, size_text
from .timeline import Timeline
from .walfile import FRAME_HEADER_SIZE, IndexState

_SEGMENT_SIZE = 8_000_000
_CHECK_EVERY = 1.0
_CLOCK_TOLERANCE = dt.timedelta(seconds=5)
_TICK = dt.timedelta(milliseconds=1)
# Seconds to ask for the write lock, and between two attempts at relief.
_RELIEF_PATIENCE = 0.2
_RELIEF_PAUSES = (1.0, 60.0)
# A disk that takes longer than that to sync is busy: relief can wait until the WAL is twice as large.
_BUSY_DISK = 0.2
_DISK_MARGIN = 64_000_000
# Frames after which the hold moves on: as many as SQLite by itself lets come before a checkpoint ("PRAGMA
# wal_autocheckpoint"). Moved on with every commit, every commit's own checkpoint would find something to do, and sync.
_STEP = 1000
# Before relief, so that little is left to be done while writers wait; and seconds to wait for that.
_LAST_STEPS = 100
_RELIEF_DUE = 2.0
# Seconds without a commit after which nobody is hurt by moving on, and by relief.
_QUIET = 0.1
_VERY_QUIET = 1.0


class Clock:
    """Moments that never go back. What the clock itself does beyond a few seconds ends the timeline."""

    def __init__(self, not_before: dt.datetime) -> None:
        self._last = not_before

    def before(self) -> dt.datetime:
        """A moment that is not later than now."""
        moment = now()
        if moment < self._last - _CLOCK_TOLERANCE:
            back = duration_text((self._last - moment).total_seconds())
            raise LostError(f"the clock was set back by {back}")
        self._last = max(self._last, moment)
        return self._last

    def after(self) -> dt.datetime:
        """A moment that is not earlier than now: milliseconds are cut, so one more."""
        return self.before() + _TICK


def why_not_resumed(hold: Hold, timeline: Timeline) -> str:
    """Why nobody can know that the archive of that timeline goes on in this WAL; empty when it does.

    It does when the last archived frame still stands in the WAL, byte for byte.
    """
    if timeline.problems:
        return f"the records of timeline {timeline.id} are damaged"
    if [timeline.source.get("device"), timeline.source.get("inode")] != list(hold.inode):
        return "the database was replaced by another file while no archiver ran"
    if not timeline.segments:
        return f"timeline {timeline.id} had archived nothing that could be found again"
    last = timeline.segments[-1]
    with hold.step() as state:
        if state.position.salts != last.salts:
            return "the WAL began anew while no archiver ran"
        if state.position.frame < last.last:
            return "the WAL lost commits that were archived (the host went down?)"
        size = FRAME_HEADER_SIZE + last.page_size
        block = os.pread(hold.wal, size, walfile.frame_offset(last.last, last.page_size))
        still = hold.look().position.salts == last.salts
    if not still or hashlib.sha256(block).hexdigest() != last.last_frame:
        return "the last archived commit no longer stands in the WAL"
    return ""


class Follower:
    """Takes over what is committed.

    trouble: what keeps it from storing, empty when nothing does. note: another trouble that heartbeats shall tell.
    damage: what keeps the hold from moving on. reluctant: no relief, as long as the WAL can grow.
    pool: one thread that waits for the disk. This one must not: while it holds the WAL, an application's own checkpoint
    may be waiting for it, with all writers behind.
    """

    def __init__(
        self,
        hold: Hold,
        writer: ArchiveWriter,
        settings: ArchiveSettings,
        since: dt.datetime,
        pool: concurrent.futures.Executor,
    ) -> None:
        self._pool = pool
        self._job: concurrent.futures.Future[None] | None = None
        self._synced: float | None = None
        self._hold = hold
        self._writer = writer
        self._settings = settings
        self._clock = Clock(since)
        self.unchanged = since
        self.trouble = self.note = self.damage = ""
        self.reluctant = False
        self._seen: IndexState | None = None
        self._latest: IndexState | None = None
        self._flush_at: float | None = None
        self._stepped: IndexState | None = None
        self._committed_at = self._full_at = 0.0
        self._heartbeat_at = self._check_at = self._store_at = self._relieve_at = self._active_until = 0.0
        self._step_at = 0.0
        self._relief_pause = _RELIEF_PAUSES[0]

    @property
    def timeline(self) -> str:
        """The timeline's id."""
        return self._writer.id

    @property
    def started(self) -> dt.datetime:
        """When the timeline began."""
        return self._writer.started

    @property
    def is_active(self) -> bool:
        """Whether something was committed within the last second."""
        return time.monotonic() < self._active_until

    @property
    def wal_size(self) -> int:
        """Bytes of the WAL that are in use."""
        state = self._latest
        return 0 if state is None else state.position.frame * (FRAME_HEADER_SIZE + state.page_size)

    def turn(self, last: bool = False) -> None:
        """Look once, and do what is due. The last time whatever trouble there was before.

        Raises LostError when continuity is lost. What the archive's disk refuses is ``trouble``, and tried again.
        """
        clock = time.monotonic()
        self._store_at = clock if last else self._store_at
        if clock >= self._check_at:
            self._hold.check()
            self._check_at = clock + _CHECK_EVERY
        try:
            self.attempt(lambda: self._work(clock))
        except sqlite3.Error as problem:
            if not sqlitefail.is_busy(problem):
                raise LostError(f"SQLite cannot read it: {problem}") from problem
        self._guard()

    def attempt(self, work: Callable[[], None]) -> None:
        """Do something that writes to the archive; what its disk refuses is ``trouble``."""
        try:
            work()
        except (OSError, LitekeepError) as problem:
            self.trouble = f"the archive cannot be written: {problem}"
            self._store_at = time.monotonic() + 1.0

    def _work(self, clock: float) -> None:
        self._look(clock)
        self._store(clock)
        self._relieve(clock)

    def finish(self) -> None:
        """Store what was taken over, and say up to when that is all. Raises OSError."""
        if self._job is not None:
            concurrent.futures.wait([self._job])
            self._reap()
        self._writer.flush()
        if not self._writer.behind:
            self._writer.heartbeat(self.unchanged, self.note)
        self._writer.merge()

    def hand_over(self, heir: Follower) -> None:
        """Have another one go on from here: it takes over all of the WAL's present round, and this one goes on until it
        has seen a moment that the other one has seen. Raises OSError, LostError.
        """
        before = self._clock.before()
        with self._hold.step() as state:
            heir._take(state, before)
            heir._seen = heir._latest = heir._stepped = state
        heir.finish()
        until = heir._clock.after()
        while self.unchanged < until:
            before = self._clock.before()
            later = self._hold.look()
            self._take(later, before)
            self.unchanged, self._seen, self._latest = max(self.unchanged, before), later, later

    def _submit(self, work: Callable[[], None]) -> None:
        self._job = self._pool.submit(work)
        self._reap()

    def _reap(self) -> bool:
        """Whether nothing is under way. Raises what the last job raised."""
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            try:
                job.result()
            except BaseException:
                self._writer.abandon()
                raise
            self.trouble = ""
        return self._job is None

    def _look(self, clock: float) -> None:
        before = self._clock.before()
        state = self._latest = self._hold.look()
        if self._has_all:
            self.unchanged = before
        elif clock >= self._store_at:
            if self._seen is None or state.position != self._seen.position:
                self._committed_at, self._active_until = clock, clock + 1.0
            self._take(state, before)
            self._seen = state
        if clock >= max(self._store_at, self._step_at) and self._is_to_move_on(state, clock):
            self._move_on(state, clock)

    def _move_on(self, state: IndexState, clock: float) -> None:
        before = self._clock.before()
        try:
            with self._hold.step() as later:
                self._take(later, before)
        except sqlite3.DatabaseError as problem:
            self._put_up_with(problem)
            self._step_at = clock + _CHECK_EVERY
        else:
            # What came while the step began may lie behind its mark: then the next turn moves on again.
            self._seen, self._stepped, self.damage = later, state, ""

    def _put_up_with(self, problem: sqlite3.DatabaseError) -> None:
        """Damage: the transaction of before is as good as ever, and what an application still commits is in the WAL."""
        if not sqlitefail.is_damage(problem):
            raise problem
        self.damage = f"the database is damaged ({problem}); what is committed is archived all the same"

    def _is_to_move_on(self, state: IndexState, clock: float) -> bool:
        """Whether the hold keeps a checkpoint from getting on that should."""
        held = self._stepped
        if held is None:
            return True
        if (held.position, held.backfilled) == (state.position, state.backfilled):
            return False
        if held.position.salts != state.position.salts:
            waiting = state.position.frame
        else:
            waiting = state.position.frame - held.position.frame
        enough = _LAST_STEPS if self.wal_size >= self._settings.relief else _STEP
        quiet = clock - self._committed_at >= _QUIET
        done = state.backfilled == state.position.frame
        return waiting >= enough or quiet or done or self._hold.is_in_the_way()

    def _take(self, state: IndexState, before: dt.datetime) -> None:
        """before: a moment before the look that found the state. What came since then is not in it."""
        observed = self._clock.after()
        if self._writer.take(self._hold, state, self.unchanged, observed):
            if self._flush_at is None:
                self._flush_at = time.monotonic() + self._settings.interval
            self.unchanged = max(self.unchanged, before)

    def _store(self, clock: float) -> None:
        if not self._reap():
            return
        if self._flush_at is not None and (clock >= self._flush_at or self._writer.open_size > _SEGMENT_SIZE):
            self._flush_at = None
            self._heartbeat_at = clock + self._settings.heartbeat
            if self._writer.seal():
                self._submit(self._write)
        elif self._flush_at is None and clock >= self._heartbeat_at and self._has_all:
            self._heartbeat_at = clock + self._settings.heartbeat
            until, note, empty = self.unchanged, self.note, list(self._writer.empty)
            self._submit(lambda: self._writer.heartbeat(until, note, empty))

    def _write(self) -> None:
        self._writer.store()
        self._writer.merge()

    @property
    def _has_all(self) -> bool:
        """Whether all that was seen was taken over."""
        return self._latest == self._seen and not self._writer.behind

    def _relieve(self, clock: float) -> None:
        if not self._is_to_be_relieved(clock) or clock < self._relieve_at or self._writer.behind:
            return
        if self._synced is None and self._job is None:
            self._submit(self._sync)
        if self._synced is None:
            return
        busy, self._synced = self._synced > _BUSY_DISK, None
        if not (busy and self.wal_size < 2 * self._settings.relief):
            done, before = False, self._clock.before()
            try:
                done = self._hold.relieve(lambda state: self._take(state, before), _RELIEF_PATIENCE)
            except sqlite3.DatabaseError as problem:
                self._put_up_with(problem)
            self._relief_pause = _RELIEF_PAUSES[0] if done else min(2 * self._relief_pause, _RELIEF_PAUSES[1])
        self._relieve_at = time.monotonic() + self._relief_pause

    def _is_to_be_relieved(self, clock: float) -> bool:
        """When it is large and little of it is left to be done; or when nobody is at work."""
        state = self._latest
        if state is None or state.backfilled == state.position.frame or self.damage:
            return False
        if self.reluctant and self.wal_size < self._settings.max_wal // 2:
            return False
        if clock - self._committed_at >= _VERY_QUIET:
            return state.position.frame >= _STEP
        if self.wal_size < self._settings.relief:
            self._full_at = clock
            return False
        left = state.position.frame - state.backfilled
        return left <= 2 * _LAST_STEPS or clock - self._full_at >= _RELIEF_DUE

    def _sync(self) -> None:
        self._synced = self._hold.sync()

    def _guard(self) -> None:
        """The application's disk comes before the archive."""
        if self.wal_size > self._settings.max_wal:
            raise LostError(
                f"the WAL had grown to {size_text(self.wal_size)} (max_wal is {size_text(self._settings.max_wal)}), "
                "so continuity was given up"
            )
        if self.wal_size > self._settings.relief and free_bytes(os.path.dirname(self._hold.path)) < _DISK_MARGIN:
            raise LostError("the database's disk was nearly full, so continuity was given up")
