"""A live database and a timeline of its archive that grows at the test's word, by the test's clock."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import in_child

from litekeep import backup, capture, timelinefile
from litekeep.archivewriter import ArchiveWriter
from litekeep.config import Database
from litekeep.hold import Hold
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.timefmt import now, to_id, to_text
from litekeep.timeline import Position, Timeline
from litekeep.walfile import IndexState

Kept = tuple[Repository, Database]


def connect(path: Path) -> sqlite3.Connection:
    """The application: it checkpoints only when the test says so."""
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("PRAGMA synchronous=OFF")
    return db


def dump(path: Path) -> str:
    """All rows of a database at rest or in use, as a hash."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return dump_of(db)


def dump_of(db: sqlite3.Connection) -> str:
    """All rows, as a hash."""
    return hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest()


class Here(concurrent.futures.Executor):
    """Does at once what an archiver leaves to a thread."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*arguments, **named))
        except Exception as problem:
            future.set_exception(problem)
        return future


class Scene:
    """Second 0 is when the timeline began. states: what an application read at each commit that was taken over."""

    def __init__(self, kept: Kept, shift: float = 0.0, reserve: int = 0) -> None:
        self.repository, self.database = kept
        self.path = Path(self.database.path)
        self.db = connect(self.path)
        self.db.execute("PRAGMA user_version").fetchone()
        self.hold = Hold(str(self.path))
        self.start = now() + dt.timedelta(seconds=shift)
        self.reserve = reserve
        self.states: dict[Position, str] = {}
        folder = self.repository.archive(self.database.name)
        number = 1 + max((n for n, _name in self.repository.timeline_numbers(self.database.name)), default=0)
        seen = self.hold.look().position
        values: dict[str, Any] = {
            "number": number,
            "empty": [] if seen.frame else [list(seen.salts)],
            "host": "host",
            "database": self.database.name,
            "source": {"path": str(self.path), "device": self.hold.inode[0], "inode": self.hold.inode[1]},
            "started": to_text(self.start),
            "reason": "archiving began" if number == 1 else f"reason {number}",
        }
        self.writer = ArchiveWriter.begin(os.path.join(folder, to_id(self.start)), 2, reserve, values)

    @property
    def folder(self) -> Path:
        return Path(self.writer.folder)

    @property
    def records(self) -> Path:
        return self.folder / "timeline.jsonl"

    def at(self, second: float) -> dt.datetime:
        """That second of the timeline."""
        return self.start + dt.timedelta(seconds=second)

    def insert(self, count: int = 1, size: int = 100) -> None:
        """Commits of the application."""
        for _n in range(count):
            self.db.execute("INSERT INTO events(kind, payload) VALUES('new', hex(randomblob(?)))", (size,))

    def take(self, second: float, unchanged: float | None = None) -> bool:
        """The archiver looks, and takes over what is new."""
        with self.hold.step() as state:
            return self.take_state(state, second, unchanged)

    def take_state(self, state: IndexState, second: float, unchanged: float | None = None) -> bool:
        before = self.at(second - 0.025 if unchanged is None else unchanged)
        found = self.writer.take(self.hold, state, before, self.at(second))
        if found:
            self.states[Position(self.writer.round, self.writer.frame)] = dump_of(self.db)
        return found

    def commit(self, second: float, count: int = 1, unchanged: float | None = None) -> Position:
        """Commits, taken over and stored as one segment."""
        self.insert(count)
        assert self.take(second, unchanged)
        assert self.writer.flush()
        return Position(self.writer.round, self.writer.frame)

    def relieve(self, second: float) -> None:
        """The next writer begins the WAL anew."""
        assert self.hold.relieve(lambda state: self.take_state(state, second) and None, 1.0)
        self.writer.flush()

    def heartbeat(self, second: float) -> None:
        self.writer.heartbeat(self.at(second))

    def backup(self, second: float | None = None) -> Backup:
        """In a process of its own: it opens and closes the database. second: what its clock says."""

        def work() -> None:
            if second is not None:
                backup.now = capture.now = lambda: self.at(second)  # type: ignore[attr-defined]
            backup.take(self.repository, self.database, Progress())

        assert in_child(work) == 0
        found = self.repository.catalogue(self.database.name).newest
        assert found is not None
        return found

    def read(self) -> Timeline:
        return timelinefile.read_timeline(str(self.folder))

    def resume(self) -> None:
        """The archiver died, and another goes on."""
        self.writer.drop()
        self.writer = ArchiveWriter.resume(self.read(), 2, self.reserve, self.hold.look().position)

    def close(self) -> None:
        self.writer.drop()
        self.hold.close()
        self.db.close()


@contextlib.contextmanager
def archiving(kept: Kept, **how: Any) -> Iterator[Scene]:
    """A scene whose archiver holds the archive's lock."""
    with kept[0].archiving(kept[1].name):
        scene = Scene(kept, **how)
        try:
            yield scene
        finally:
            scene.close()
