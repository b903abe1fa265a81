"""What came after a moment: new rows and changed rows, each kind in files of its own, from one state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import run_python
from undeleting import Case

from litekeep import since
from litekeep.errors import LitekeepError, NoRestorePointError, UsageError, VerificationError
from litekeep.export import Request
from litekeep.importer import Order, import_files
from litekeep.progress import Progress
from litekeep.since import Since, export_since

SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE TABLE w(a, b, PRIMARY KEY (a)) WITHOUT ROWID; INSERT INTO w VALUES ('k', 1);
CREATE TABLE loose(a); INSERT INTO loose VALUES (1), (2), (3); CREATE TABLE quiet(a); CREATE TABLE gone(a);
CREATE VIRTUAL TABLE own USING fts5(a); INSERT INTO own VALUES ('one');
CREATE VIRTUAL TABLE idx USING fts5(v, content=t, content_rowid=id);
"""
AFTER = """
INSERT INTO t VALUES (4, 'd'), (5, NULL); UPDATE t SET v = 'B' WHERE id = 2; DELETE FROM t WHERE id = 3;
UPDATE w SET b = '1'; INSERT INTO w VALUES ('l', 2); INSERT INTO own VALUES ('two'); DROP TABLE gone;
CREATE TABLE fresh(a); INSERT INTO fresh VALUES (7), (8); INSERT INTO loose VALUES (4);
"""


@pytest.fixture
def case(in_memory: Path) -> Case:
    """A database with a backup, and work after it."""
    found = Case(in_memory, SCHEMA)
    found.backup()
    found.run(AFTER)
    return found


def came(case: Case, folder: str, to: str = "latest", **wish: Any) -> Since:
    output = str(case.path.parent / folder)
    return export_since(case.repository, case.database, to, output, Request(**wish), Progress())


def counts(found: Since) -> tuple[dict[str, int], dict[str, int]]:
    return {f.table: f.rows for f in found.came.files}, {f.table: f.rows for f in found.changed.files}


def test_new_rows_and_changed_rows_are_told_apart(case: Case) -> None:
    found = came(case, "out")
    assert counts(found) == ({"t": 2, "w": 1, "loose": 1, "own": 1, "fresh": 2}, {"t": 1, "w": 1})
    assert {f.path for f in found.changed.files} == {str(case.path.parent / f"out/changed/{t}.jsonl") for t in "tw"}
    told = {each.table: (each.gone, each.came, each.changed) for each in found.differences if not each.is_none}
    assert told["t"] == (1, 2, 1)
    assert set(told) == {"t", "w", "loose", "own", "fresh", "gone"}
    assert found.came.moment


def test_it_can_be_imported_into_the_state_of_then(case: Case, in_memory: Path) -> None:
    wanted = case.rows("SELECT * FROM t"), case.rows("SELECT * FROM w"), case.rows("SELECT * FROM own")
    found = came(case, "out", level=3, format="csv")
    case.run("DELETE FROM t WHERE id > 3; UPDATE t SET v = 'b' WHERE id = 2; DELETE FROM w; INSERT INTO w VALUES "
             "('k', 1); DELETE FROM own; INSERT INTO own VALUES ('one'); DELETE FROM loose WHERE a = 4; "
             "DROP TABLE fresh")  # fmt: skip
    files = tuple(file.path for file in found.came.files)
    import_files(case.database, Order(files, create=True), Progress())
    import_files(case.database, Order(tuple(f.path for f in found.changed.files), conflict="replace"), Progress())
    assert (case.rows("SELECT * FROM t"), case.rows("SELECT * FROM w"), case.rows("SELECT * FROM own")) == wanted
    assert case.rows("SELECT count(*) FROM fresh") == [(2,)]
    assert case.rows("SELECT a FROM loose") == [(1,), (2,), (3,), (4,)]


def test_tables_whose_rows_cannot_be_told_apart_are_named(case: Case) -> None:
    case.run("DELETE FROM loose WHERE a = 1; VACUUM")
    found = came(case, "out")
    assert "VACUUM" in found.came.skipped["loose"]
    assert "loose" not in counts(found)[0]


def test_nothing_new_is_no_file(in_memory: Path) -> None:
    case = Case(in_memory, SCHEMA)
    case.backup()
    found = came(case, "out")
    assert counts(found) == ({}, {})
    assert found.came.moment
    assert list((in_memory / "out").rglob("*")) == [in_memory / "out" / "changed"]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_it_is_one_state_whatever_is_written_meanwhile(
    in_memory: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(in_memory, SCHEMA, mode)
    case.backup()
    case.run("INSERT INTO t VALUES (4, 'd')")
    real: Callable[..., Any] = since.compare
    code = """
    import sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
    try:
        db.execute("INSERT INTO t VALUES (5, 'late')")
    except sqlite3.OperationalError as problem:
        print(problem)
    """
    said: list[str] = []

    def compare(*arguments: Any) -> Any:
        done = real(*arguments)
        said.append(run_python(code, case.path).stdout)
        return done

    monkeypatch.setattr(since, "compare", compare)
    assert counts(came(case, "out"))[0] == {"t": 1}
    assert said == ["" if mode == "wal" else "database is locked\n"]


def refused(case: Case, error: type[LitekeepError], folder: str, to: str = "latest") -> None:
    before = case.dump()
    with pytest.raises(error):
        came(case, folder, to)
    assert case.dump() == before


def test_it_refuses_a_taken_folder_an_unknown_moment_and_damage(case: Case) -> None:
    taken = case.path.parent / "taken"
    taken.mkdir()
    (taken / "file").touch()
    refused(case, UsageError, "taken")
    refused(case, NoRestorePointError, "out", "2001-01-01T00:00:00Z")
    refused(case, UsageError, "missing/out")
    assert not list(case.path.parent.glob(".out*"))
    case.run("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=delete")
    content = bytearray(case.path.read_bytes())
    content[4096:8192] = bytes(4096)
    case.path.write_bytes(content)
    with pytest.raises(VerificationError, match="is damaged"):
        came(case, "out")
    assert not (case.path.parent / "out").exists()
