"""Writing into a live database: one transaction or nothing, in words whatever SQLite says."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from unit import places

from litekeep.config import Database
from litekeep.errors import BusyError, SourceError, SpaceError, UsageError, VerificationError
from litekeep.writing import (
    connected,
    mentioned_by_triggers,
    rebuild_indexes,
    transaction,
    triggers_of,
    without_triggers,
)

SCHEMA = """
CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p);
CREATE TRIGGER p_in AFTER INSERT ON p BEGIN INSERT INTO c VALUES (new.id); END;
CREATE TRIGGER p_out AFTER DELETE ON p BEGIN DELETE FROM log; END;
INSERT INTO p VALUES (1);
"""
BIG = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO c SELECT 1 FROM n, (SELECT randomblob(1) FROM n)
"""


def made(path: Path, mode: str = "wal", schema: str = SCHEMA, deadline: int = 1) -> Database:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode={mode}; {schema}")
    return Database("events", str(path), deadline=deadline)


def count(path: str, table: str = "c") -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def write(database: Database, sql: str, **how: bool) -> None:
    with connected(database, "Test") as db, transaction(db, database, "Test", **how):
        db.execute(sql)


def test_it_is_committed_at_the_end_and_taken_back_in_a_dry_run_or_a_failure(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    write(database, "INSERT INTO c VALUES (1)")
    write(database, "INSERT INTO c VALUES (1)", dry_run=True)
    with contextlib.suppress(UsageError), connected(database, "Test") as db, transaction(db, database, "Test"):
        db.execute("INSERT INTO c VALUES (1)")
        raise UsageError("mine")
    assert count(database.path) == 2


@pytest.mark.parametrize("dry_run", [False, True])
def test_new_rows_that_point_nowhere_are_named_and_old_ones_are_not(tmp_path: Path, dry_run: bool) -> None:
    database = made(tmp_path / "t.db", schema=SCHEMA + "INSERT INTO c VALUES (77)")
    with pytest.raises(VerificationError) as caught:
        write(database, "INSERT INTO c VALUES (8), (9)", dry_run=dry_run)
    assert caught.value.found == "c row 3 to p; c row 4 to p"
    assert count(database.path) == 2
    write(database, "INSERT INTO c VALUES (8)", dry_run=dry_run, foreign_keys=False)
    assert count(database.path) == (2 if dry_run else 3)


def test_a_dry_run_that_the_caller_took_back_is_not_looked_at_again(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    with connected(database, "Test") as db, transaction(db, database, "Test", dry_run=True):
        db.execute("INSERT INTO c VALUES (99)")
        db.execute("ROLLBACK")
    assert count(database.path) == 1


def test_a_constraint_that_waits_for_the_commit_is_explained(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    with pytest.raises(SourceError, match="SQLite refuses") as caught:
        write(database, "INSERT INTO p VALUES (1)")
    assert "UNIQUE" in caught.value.found


def test_a_lock_that_is_not_given_up_is_busy(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="stayed locked"):
            write(database, "INSERT INTO c VALUES (1)")
        other.execute("COMMIT")
    assert count(database.path) == 1


def test_a_lock_that_is_given_up_in_time_is_waited_for(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db", deadline=60)
    other = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.5, other.execute, ("COMMIT",))
    later.start()
    write(database, "INSERT INTO c VALUES (1)")
    later.join()
    other.close()
    assert count(database.path) == 2


def test_readers_that_stay_for_ever_end_a_commit_in_a_rollback_mode(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db", "delete")
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM p").fetchall()
        with pytest.raises(BusyError, match="stayed locked"):
            write(database, "INSERT INTO c VALUES (1)")
        assert other.execute("SELECT count(*) FROM c").fetchone() == (1,)
        other.execute("COMMIT")
        other.execute("INSERT INTO c VALUES (1)")
    assert count(database.path) == 2


def test_a_full_disk_takes_everything_back(on_disk: Callable[..., None]) -> None:
    def work(disk: places.Disk) -> None:
        database = made(disk / "t.db")
        disk.fill(leave=65536)
        with pytest.raises(SpaceError, match="the disk is full"):
            write(database, BIG)
        assert count(database.path) == 1

    on_disk(work)


def test_damage_and_missing_functions_are_told_apart(tmp_path: Path) -> None:
    broken = "CREATE TRIGGER q_in AFTER INSERT ON c BEGIN SELECT nosuch(new.p); END"
    database = made(tmp_path / "t.db", schema=SCHEMA + broken)
    with pytest.raises(SourceError) as caught:
        write(database, "INSERT INTO c VALUES (1)")
    assert "--triggers skip" in caught.value.next_step
    misfit = "CREATE TABLE x(a); CREATE TABLE y(a REFERENCES x(a))"
    with pytest.raises(SourceError) as caught:
        write(made(tmp_path / "m.db", schema=misfit), "INSERT INTO y VALUES (1)")
    assert "--foreign-keys ignore" in caught.value.next_step
    damaged = made(tmp_path / "d.db", "delete")
    content = (tmp_path / "d.db").read_bytes()
    (tmp_path / "d.db").write_bytes(content[:4096] + bytes(4096) + content[8192:])
    with pytest.raises(VerificationError, match="is damaged"):
        write(damaged, "INSERT INTO p VALUES (7)")


def test_nothing_of_ours_checkpoints_while_others_are_there(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM p").fetchone()
        before = Path(database.path).read_bytes()
        write(database, BIG)
        assert Path(database.path).read_bytes() == before
        assert other.execute("SELECT count(*) FROM c").fetchone()[0] > 1000


def test_triggers_are_left_out_and_stand_there_again(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db")
    with connected(database, "Test") as db, transaction(db, database, "Test"):
        assert triggers_of(db, ["P"]) == ["p_in", "p_out"]
        assert triggers_of(db, ["p"], "INSERT") == ["p_in"]
        assert triggers_of(db, []) == []
        assert mentioned_by_triggers(db, "p", ["c", "log", "p_in", "INTO"]) == ["c", "p_in", "INTO"]
        with without_triggers(db, ["p"]):
            db.execute("INSERT INTO p VALUES (2)")
    assert count(database.path) == 1
    write(database, "INSERT INTO p VALUES (3)")
    assert count(database.path) == 2


def test_indexes_that_no_trigger_keeps_up_are_made_anew(tmp_path: Path) -> None:
    database = made(tmp_path / "t.db", schema="""
        CREATE TABLE a(x); CREATE TABLE b(x); CREATE VIEW w AS SELECT rowid, x FROM b;
        CREATE VIRTUAL TABLE of_a USING fts5(x, content=a); CREATE VIRTUAL TABLE of_w USING fts5(x, content=w);
        CREATE VIRTUAL TABLE bare USING fts5(x, content=''); CREATE VIRTUAL TABLE own USING fts5(x);
        CREATE TRIGGER a_in AFTER INSERT ON a BEGIN INSERT INTO of_a(rowid, x) VALUES (new.rowid, new.x); END;
        CREATE TRIGGER a_out AFTER DELETE ON a BEGIN DELETE FROM of_a WHERE rowid = old.rowid; END;
        CREATE TRIGGER b_in AFTER INSERT ON b BEGIN INSERT INTO of_w(rowid, x) VALUES (new.rowid, new.x); END;
        """)  # fmt: skip
    with connected(database, "Test") as db, transaction(db, database, "Test"):
        assert rebuild_indexes(db, ["A"]) == ["of_a"]
        assert rebuild_indexes(db, ["a"], attended=["A"]) == []
        assert rebuild_indexes(db, ["b"], attended=["b"]) == ["of_w"]
        assert rebuild_indexes(db, ["of_a", "own", "bare"]) == ["of_a"]
