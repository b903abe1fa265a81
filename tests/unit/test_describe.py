from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from support import flip, holding_open
from unit.crashes import leave_wal

from litekeep.config import Database
from litekeep.describe import describe
from litekeep.errors import SourceError


def test_a_live_database_is_described(events: Path) -> None:
    leave_wal(events, rows=5)
    found = describe(Database("events", str(events)), count_rows=True)
    assert {key: found[key] for key in ("name", "path", "readable", "problem", "journal_mode", "user_version")} == {
        "name": "events",
        "path": str(events),
        "readable": True,
        "problem": "",
        "journal_mode": "wal",
        "user_version": 7,
    }
    assert found["rows"] == {"events": 205}
    assert found["sizes"] == {
        "database": events.stat().st_size,
        "-wal": os.path.getsize(f"{events}-wal"),
        "-shm": os.path.getsize(f"{events}-shm"),
        "-journal": 0,
    }
    assert found["sqlite_version"] == sqlite3.sqlite_version
    assert found["sqlite_wal_reset_bug"] is ((3, 7, 0) <= sqlite3.sqlite_version_info <= (3, 51, 2))


def test_rows_are_not_counted_unless_asked_for(events: Path) -> None:
    assert describe(Database("events", str(events)))["rows"] == {}


def test_free_pages_are_counted(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("DELETE FROM events")
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
    assert describe(Database("events", str(events)))["free_pages"] == free > 5


def test_who_has_it_open_is_named_and_a_look_leaves_nobody_behind(events: Path) -> None:
    with holding_open(events) as process:
        openers = describe(Database("events", str(events)))["openers"]
        assert openers == [{"pid": process.pid, "command": openers[0]["command"], "file": str(events)}]  # type: ignore[index]
    assert describe(Database("events", str(events)))["openers"] == []


@pytest.mark.parametrize(("offset", "length"), [(16, 80), (100, 60)])
def test_a_damaged_database_is_described_as_unreadable(events: Path, offset: int, length: int) -> None:
    flip(events, offset, length)
    found = describe(Database("events", str(events)), count_rows=True)
    assert found["readable"] is False
    assert found["problem"]
    assert found["path"] == str(events)


def test_a_missing_database_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        describe(Database("events", str(tmp_path / "none.db")))
