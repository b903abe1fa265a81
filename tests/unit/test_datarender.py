"""What a person reads about rows and damage, in the terminal."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import flip
from unit.archives import Scene

from litekeep import backup, cli
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timefmt import to_text

Kept = tuple[Repository, Database]
Said = Callable[..., str]


@pytest.fixture
def said(kept: Kept, capsys: pytest.CaptureFixture[str]) -> Said:
    """What ``litekeep COMMAND events ...`` writes to standard output, in this process."""

    def call(command: str, *words: object, code: int = 0) -> str:
        where = ["--database", kept[1].path, "--repository", kept[0].root, "--host", kept[0].host]
        assert cli.main([*where, command, kept[1].name, *map(str, words)]) == code
        return capsys.readouterr().out

    return call


def execute(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as application:
        for statement in statements:
            application.execute(statement)


@pytest.fixture
def point(kept: Kept, events: Path) -> str:
    """A backup, after which rows and a table went, came and changed."""
    execute(events, "CREATE TABLE notes(name TEXT PRIMARY KEY)", "INSERT INTO notes VALUES('n1')")
    made = backup.take(*kept, Progress())
    execute(
        events,
        "DELETE FROM events WHERE id > 150",
        "UPDATE events SET kind = 'other' WHERE id < 4",
        "INSERT INTO events(id, kind, timestamp) VALUES(1000, 'new', 'never')",
        "DROP TABLE notes",
        "CREATE TRIGGER counted AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE search USING fts5(kind, content='events', content_rowid='id')",
    )
    return made.id


def test_an_export(said: Said, point: str, tmp_path: Path) -> None:
    words = said("export", "--output", tmp_path / "all")
    assert words.startswith("events: exported from the live database\n  events")
    assert f"151 rows  {tmp_path}/all/events.jsonl" in words
    assert "search               not exported: an index over events" in words
    words = said("export", "--table", "events", "--from", "2026-11-22T02:00:10Z", "--time-column", "timestamp",
                 "--at", point, "--output", tmp_path / "part")  # fmt: skip
    assert f"exported from {point}, the state of " in words
    assert "from 2026-11-22T02:00:10Z until before the end" in words
    words = said("export", "--table", "events", "--to", "2026-11-22T02:00:10Z", "--time-column", "timestamp",
                 "--output", tmp_path / "other")  # fmt: skip
    assert "from the first until before" in words
    assert "1 rows hold no such time, and are in no range" in words


def test_an_export_of_what_came_after(said: Said, point: str, tmp_path: Path) -> None:
    words = said("export", "--since", point, "--output", tmp_path / "since")
    assert "events: what came after " in words
    assert "3 rows that were others then" in words
    assert "rows that went 50, came 1, changed 3" in words
    assert "rows that went 1, came 0, changed 0  (the table is gone)" in words


def test_an_import(said: Said, point: str, tmp_path: Path) -> None:
    said("export", "--at", point, "--output", tmp_path / "then")
    files = [tmp_path / "then" / "events.jsonl", tmp_path / "then" / "notes.jsonl"]
    words = said("import", *files, "--conflict", "ignore", "--create", "--dry-run")
    assert f"events: 1 rows of {files[1]} into notes, which would be made" in words
    assert "  would be inserted 50, ignored (there already) 150, replaced 0\n  triggers  counted fired" in words
    words = said("import", *files, "--conflict", "ignore", "--create")
    assert "into notes, which was made\n  inserted 1," in words


def test_an_undelete(said: Said, point: str, events: Path) -> None:
    words = said("undelete", "--to", point, "--dry-run")
    assert words.startswith("events: 51 rows would be put back\n")
    assert "50 missing, 50 would be put back\n    missing   id=1" in words
    assert "3 rows with the same key have another content now, and stay so:\n              id=1; id=2; id=3\n" in words
    assert "1 missing, the table itself was gone, 1 would be put back" in words
    assert "  triggers  counted fired" in words
    assert words.endswith("  next      the same command without --dry-run\n")
    execute(events, "CREATE UNIQUE INDEX one ON events(payload)", "UPDATE events SET payload = 'x' WHERE id = 1",
            "ALTER TABLE events RENAME COLUMN kind TO sort")  # fmt: skip
    words = said("undelete", "--to", point)
    assert "events               left alone: it has no column kind any more; to see its rows of then: " in words


def test_where_rows_went(said: Said, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(1.5)
    around = ["--around", to_text(scene.at(3)), "--within", "1m"]
    assert "no table has fewer rows at the end of one of these steps" in said("commits", *around)
    before = scene.commit(3)
    scene.db.execute("DELETE FROM events WHERE id > 50")
    scene.commit(4)
    words = said("commits", *around)
    assert words.startswith("events: 2 looks found commits from ")
    assert "events: fewer by 152 rows\n    the last state before it was observed by " in words
    assert words.endswith(f"@{before.round}.{before.frame}\n")


def test_damage_and_its_repair(said: Said, point: str, events: Path, tmp_path: Path) -> None:
    execute(events, "PRAGMA wal_checkpoint(TRUNCATE)")
    with contextlib.closing(sqlite3.connect(events)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_kind'").fetchone()
    flip(events, (root - 1) * 4096, 4096)
    words = said("triage", code=3)
    assert words.startswith("events: index: only indexes or free pages are damaged")
    assert "  table     events: 151 rows can be read\n" in words
    words = said("repair", "--method", "reindex")
    assert words.startswith(f"events: {events} was made by reindex and passes its checks\n  replaced  the files ")
    assert f"  against   the newest restore point, {point}:\n" in words
    assert "rows that went 50, came 1, changed 3" in words
    backup_now = said("backup")
    assert "verified backup" in backup_now
    words = said("repair", "--method", "salvage", "--target", tmp_path / "salvaged.db")
    assert "    no difference" in words
