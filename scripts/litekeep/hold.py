# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Holding a live WAL database so that nothing leaves its WAL unseen.

At every moment at least one read transaction stands. One on a read mark of 1 to 4 keeps the WAL from being reset.
One that began when everything was in the database file sits on mark 0: it lets the WAL be reset once, and keeps
what is written after that from being backfilled, so that no second reset can follow before the next transaction is
taken ("WAL-mode File Format", section 2.3.1; "Write-Ahead Logging", section 3.2).

POSIX drops all of a process's locks on a file when the process closes any descriptor of it ("How To Corrupt An
SQLite Database File", section 2.2). So whoever uses this class opens neither the database nor its -shm elsewhere
in the same process; here they are closed together, and after the connections.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import time
import urllib.parse
from collections.abc import Callable, Iterator

from . import sqlitefail
from .source import connect
from .walfile import IndexState, read_index

_PATIENCE = 0.25
_SPIN = 0.0005
_CHECKPOINT_LOCK = 121
_READ_LOCKS = range(123, 128)
# struct flock of the 64-bit fcntl(2): type, whence, start, length, pid.
_LOCK = struct.Struct("hhqqi0q")


class LostError(Exception):
    """What was held is no longer the database that stands at the path, or the hold itself is lost; says why."""


class Hold:
    """The read transactions, the descriptors beside them, and the relief of the WAL."""

    def __init__(self, path: str) -> None:
        """Open the database at the resolved ``path`` and hold it.

        Raises OSError, sqlite3.Error (busy, damaged, no database), LostError when it is not in WAL mode.
        """
        self.path = path
        self._descriptors: list[int] = []
        self._readers: list[sqlite3.Connection] = []
        self._writers: list[sqlite3.Connection] = []
        try:
            self._database = self._opened("")
            self._readers.append(connect(path, timeout=_PATIENCE))
            mode = str(self._readers[0].execute("PRAGMA journal_mode").fetchone()[0])
            if mode != "wal":
                raise LostError(f"its journal mode is {mode}, and only a WAL can be archived")
            _begin(self._readers[0])
            self._index, self._wal = self._opened("-shm"), self._opened("-wal")
            self._readers.append(connect(path, timeout=_PATIENCE))
            self._locks_are_listed = self._lock_is_listed()
            self.check()
        except BaseException:
            self.close()
            raise

    def _opened(self, suffix: str) -> int:
        self._descriptors.append(os.open(self.path + suffix, os.O_RDONLY | os.O_CLOEXEC))
        return self._descriptors[-1]

    def close(self) -> None:
        """Let everything go. Connections that could write go first: the last one to go would checkpoint."""
        for connection in self._writers + self._readers:
            connection.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._writers, self._readers, self._descriptors = [], [], []

    @property
    def wal(self) -> int:
        """A descriptor of the WAL. What ``look`` finds committed in it stays as it is until the next step ends.

        A transaction on a read mark of 1 to 4 keeps the WAL from being reset. One on mark 0 lets it be reset once, when
        all of it had been taken over, and never again before the next step.
        """
        return self._wal

    def is_in_the_way(self) -> bool:
        """Whether somebody is at a checkpoint now: it may be waiting for this hold to move on, and writers for it."""
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _CHECKPOINT_LOCK, 1, 0)
        try:
            answer: tuple[int, ...] = _LOCK.unpack(fcntl.fcntl(self._index, fcntl.F_GETLK, asked))
        except (OSError, struct.error):
            return True
        return answer[0] != fcntl.F_UNLCK

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode of the database."""
        found = os.fstat(self._database)
        return found.st_dev, found.st_ino

    def look(self) -> IndexState:
        """The wal-index now. Raises sqlite3.OperationalError (locked) when it stays torn for a second."""
        give_up_at = time.monotonic() + 1
        while True:
            state = read_index(self._index)
            if state is not None:
                return state
            if time.monotonic() > give_up_at:
                raise sqlite3.OperationalError("the wal-index is locked by a process that is changing it")
            time.sleep(_SPIN)

    @contextlib.contextmanager
    def step(self) -> Iterator[IndexState]:
        """Take the next read transaction; when the caller has copied what it shows, give up the former one."""
        held, spare = self._readers
        _begin(spare)
        try:
            yield self.look()
        except BaseException:
            _end(spare)
            raise
        _end(held)
        self._readers = [spare, held]

    def sync(self) -> float:
        """Bring what is dirty in the page cache to disk, before anybody has to wait for it in ``relieve``.

        Any thread may do it. Returns the seconds it took. Raises OSError.
        """
        begun = time.monotonic()
        os.fdatasync(self._wal)
        os.fdatasync(self._database)
        return time.monotonic() - begun

    def relieve(self, copy: Callable[[IndexState], None], patience: float) -> bool:
        """Bring all of the WAL into the database file, so that the next writer begins it anew.

        For a moment no one else can write: a checkpoint beside a writer is what triggers SQLite's WAL-reset bug.
        ``copy`` is called with the last state before that. False when the lock could not be had within
        ``patience`` seconds, or when other readers stand in the way.
        """
        writer, checkpointer = self._for_writing()
        if not _lock(writer, patience):
            return False
        try:
            with self.step() as state:
                copy(state)
            _busy, size, done = checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            with self.step() as state:
                copy(state)
        finally:
            writer.execute("ROLLBACK")
        return bool(size == done)

    def _for_writing(self) -> list[sqlite3.Connection]:
        while len(self._writers) < 2:
            uri = f"file:{urllib.parse.quote(os.fsencode(self.path))}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            self._writers.append(connection)
        return self._writers

    def check(self) -> None:
        """Raise LostError when other files stand at the paths, or the kernel no longer lists this process's lock."""
        for descriptor, suffix in zip(self._descriptors, ("", "-shm", "-wal")):
            held = os.fstat(descriptor)
            try:
                found = os.stat(self.path + suffix)
            except FileNotFoundError as problem:
                raise LostError(f"{self.path}{suffix} was deleted") from problem
            if (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
                raise LostError(f"{self.path}{suffix} was replaced by another file")
        if self._locks_are_listed and not self._lock_is_listed():
            raise LostError("the kernel no longer lists this process's read lock")

    def _lock_is_listed(self) -> bool:
        """Whether /proc/locks shows a read lock of this process on a read mark of this -shm."""
        inode, pid = os.fstat(self._index).st_ino, str(os.getpid())
        try:
            with open("/proc/locks", encoding="ascii", errors="replace") as stream:
                lines = [line.split() for line in stream]
        except OSError:
            return False
        return any(
            any(int(line[6]) <= byte <= _end_of(line[7]) for byte in _READ_LOCKS)
            for line in lines
            if len(line) >= 8 and line[1] == "POSIX" and line[4] == pid and line[5].rpartition(":")[2] == str(inode)
        )


def _end_of(text: str) -> int:
    return 1 << 62 if text == "EOF" else int(text)


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        _end(connection)
        raise


def _end(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("COMMIT")


def _lock(connection: sqlite3.Connection, patience: float) -> bool:
    """Take the write lock by asking often: SQLite's own waiting sleeps longer and longer and starves."""
    give_up_at = time.monotonic() + patience
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return True
        except sqlite3.OperationalError as problem:
            if not sqlitefail.is_busy(problem):
                raise
            if time.monotonic() > give_up_at:
                return False
        time.sleep(_SPIN)
