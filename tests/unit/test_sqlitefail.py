from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import flip
from unit.places import Disk

from litekeep import sqlitefail


def refusal(path: Path, sql: str, **options: object) -> sqlite3.Error:
    """What this machine's SQLite really says."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None, **options)) as db,  # type: ignore[arg-type]
        pytest.raises(sqlite3.Error) as caught,
    ):
        db.execute(sql).fetchall()
    return caught.value


def kinds(problem: sqlite3.Error) -> tuple[bool, bool, bool]:
    return sqlitefail.is_busy(problem), sqlitefail.is_damage(problem), sqlitefail.is_full(problem)


def test_a_lock_of_another_connection_is_busy_and_nothing_else(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert kinds(refusal(events, "BEGIN IMMEDIATE")) == (True, False, False)


def test_a_flipped_page_is_damage(events: Path) -> None:
    flip(events, 4096, 200)
    assert kinds(refusal(events, "SELECT * FROM events")) == (False, True, False)


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 300)
    assert kinds(refusal(tmp_path / "x.db", "SELECT * FROM sqlite_master")) == (False, True, False)


def test_a_format_of_the_future_is_damage(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("PRAGMA journal_mode=delete")
    with open(events, "r+b") as stream:
        stream.seek(47)
        stream.write(b"\x09")
    assert kinds(refusal(events, "SELECT * FROM events")) == (False, True, False)


def test_a_full_disk_is_full(on_disk: Callable[..., None]) -> None:
    def work(disk: Disk) -> None:
        with contextlib.closing(sqlite3.connect(disk / "x.db", isolation_level=None)) as db:
            db.execute("CREATE TABLE t(x)")
        disk.fill()
        assert kinds(refusal(disk / "x.db", "INSERT INTO t VALUES(zeroblob(100000))")) == (False, False, True)

    on_disk(work)


def test_wrong_sql_is_none_of_these(events: Path) -> None:
    assert kinds(refusal(events, "SELECT * FROM nothing")) == (False, False, False)
