"""Random histories: every moment that was looked at comes back exactly, by our replay and by SQLite's own."""

from __future__ import annotations

import datetime as dt
import os
import random
import sqlite3
from pathlib import Path

import pytest
from archiving import Application, Archive, archived, dump_of, moment
from support import litekeep

HISTORIES = int(os.environ.get("LITEKEEP_HISTORIES", "30"))
STEPS = 40
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


class History:
    """Random work on one database, and the content at some moments of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.path = folder / "events.db"
        with sqlite3.connect(self.path) as db:
            db.execute(f"PRAGMA page_size={self.random.choice((512, 1024, 4096, 4096, 4096, 65536))}")
            db.execute(f"PRAGMA auto_vacuum={self.random.choice((0, 0, 1, 2))}")
            db.execute("PRAGMA journal_mode=wal")
            db.executescript(
                "CREATE TABLE events(id INTEGER PRIMARY KEY, kind TEXT, payload BLOB);"
                "CREATE INDEX events_kind ON events(kind);"
            )
        db.close()
        # Small enough that some histories relieve the WAL many times, and some never.
        relief = self.random.choice((1_000_000, 1_000_000, 4_000_000))
        # Some timelines go on in new ones: wherever a backup lies in the WAL's present round.
        self.rolls = seed % 3 == 1
        self.archive = Archive(folder, self.path, relief=relief, roll=1 if self.rolls else 0)
        self.applications = [Application(self.path), Application(self.path)]
        self.seen: list[tuple[dt.datetime, str]] = []
        self.tables = 0
        self.did: list[str] = []

    def step(self) -> None:
        """One piece of work, and sometimes a look."""
        app = self.random.choice(self.applications)
        connection = self.random.choice((0, 1))
        work = self.random.choices(
            (self.insert, self.bulk, self.update, self.delete, self.schema, self.vacuum, self.checkpoint, self.reader,
             self.rollback, self.setting, self.restart, self.backup),
            (12, 3, 5, 3, 3, 1, 6, 2, 2, 2, 2, 4 if self.rolls else 0),
        )[0]  # fmt: skip
        self.did.append(work.__name__)
        work(app, connection)
        if self.random.random() < 0.4:
            self.look()

    def insert(self, app: Application, connection: int) -> None:
        for _number in range(self.random.randint(1, 8)):
            values = f"kind {self.random.randint(0, 9)}", self.random.randint(0, 3000)
            app.do(("INSERT INTO events(kind, payload) VALUES(?, hex(randomblob(?)))", values), connection=connection)

    def bulk(self, app: Application, connection: int) -> None:
        rows = self.random.randint(100, 3000)
        many = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?) "
            "INSERT INTO events(kind, payload) SELECT 'bulk ' || (i % 7), randomblob(i % 700) FROM n"
        )
        app.do("BEGIN IMMEDIATE", (many, (rows,)), "COMMIT", connection=connection)

    def update(self, app: Application, connection: int) -> None:
        app.do(("UPDATE events SET payload = randomblob(200), kind = kind || 'x' WHERE id % ? = 0",
                (self.random.randint(2, 60),)), connection=connection)  # fmt: skip

    def delete(self, app: Application, connection: int) -> None:
        app.do(("DELETE FROM events WHERE id % 4 = ?", (self.random.randint(0, 3),)), connection=connection)

    def schema(self, app: Application, connection: int) -> None:
        self.tables += 1
        what = self.random.choice((
            f"CREATE TABLE t{self.tables} AS SELECT * FROM events WHERE id % 5 = 0",
            f"CREATE INDEX i{self.tables} ON events(payload)",
            f"ALTER TABLE events ADD COLUMN c{self.tables} DEFAULT {self.tables}",
            f"DROP TABLE IF EXISTS t{self.random.randint(1, self.tables)}",
            f"DROP INDEX IF EXISTS i{self.random.randint(1, self.tables)}",
        ))  # fmt: skip
        app.do(what, connection=connection)

    def vacuum(self, app: Application, connection: int) -> None:
        app.do(self.random.choice(("VACUUM", "PRAGMA incremental_vacuum(50)")), connection=connection)

    def checkpoint(self, app: Application, connection: int) -> None:
        app.do("PRAGMA busy_timeout=300", f"PRAGMA wal_checkpoint({self.random.choice(CHECKPOINTS)})",
               "PRAGMA busy_timeout=30000", connection=connection)  # fmt: skip

    def reader(self, app: Application, connection: int) -> None:
        """A read transaction that stands in the way of checkpoints, or its end."""
        if app.do("SELECT 1", connection=9) and self.random.random() < 0.5:
            app.do("BEGIN", "SELECT count(*) FROM events", connection=9)
        else:
            app.do("COMMIT", connection=9)

    def rollback(self, app: Application, connection: int) -> None:
        app.do("PRAGMA cache_size=5", "BEGIN IMMEDIATE", "UPDATE events SET payload = zeroblob(900)", "ROLLBACK",
               "PRAGMA cache_size=-2000", connection=connection)  # fmt: skip

    def setting(self, app: Application, connection: int) -> None:
        app.do(self.random.choice((f"PRAGMA user_version={self.random.randint(1, 99)}", "PRAGMA wal_autocheckpoint=0",
                                   "PRAGMA wal_autocheckpoint=20", "PRAGMA wal_autocheckpoint=1000",
                                   "PRAGMA journal_size_limit=0", "PRAGMA secure_delete=1")),
               connection=connection)  # fmt: skip

    def restart(self, app: Application, connection: int) -> None:
        app.restart(kill=self.random.random() < 0.5)

    def backup(self, app: Application, connection: int) -> None:
        litekeep("--config", self.archive.config, "backup", "events", check=0)

    def look(self) -> None:
        """Remember the content now; nobody writes meanwhile."""
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            content = dump_of(db)
        finally:
            db.close()
        self.seen.append((moment(), content))

    def archiver_restart(self) -> None:
        """Sometimes the archiver goes, too; what nobody watched is a gap, or it goes on."""
        self.archive.stop() if self.random.random() < 0.5 else self.archive.kill()
        if self.random.random() < 0.5:
            self.step()
        self.archive.start()


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_every_moment_that_was_looked_at_comes_back(in_memory: Path, seed: int) -> None:
    history = History(in_memory, seed)
    archive = history.archive
    try:
        with archived(archive):
            history.look()
            for number in range(STEPS):
                history.step()
                if seed % 5 == 4 and number == STEPS // 2:
                    history.archiver_restart()
            history.look()
            archive.stop()
            final = history.seen[-1][1]
            assert not any(timeline.problems for timeline in archive.timelines())
            if seed % 5 != 4:
                assert len(archive.timelines()) == 1 or history.rolls, archive.said()
                assert not archive.gaps()
            for when, content in history.seen:
                if history.archive.proves(when):
                    assert archive.content_at(when) == content, (when, history.did, archive.said())
                else:
                    assert seed % 5 == 4, (when, archive.said())
            assert archive.content_at("latest") == final
            point = archive.point(history.random.choice([when for when, _c in history.seen if archive.proves(when)]))
            assert archive.replayed_by_sqlite(point) == archive.content_at(point.id)
    finally:
        for app in history.applications:
            app.end(kill=True)
