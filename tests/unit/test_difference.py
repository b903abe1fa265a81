"""The difference of two states: rows that went, came and changed, counted as one would by hand."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litekeep.difference import Difference, Pair, compare, rowid_of, why_not_told_apart
from litekeep.tables import tables_of
from litekeep.writing import attach_past

Both = Callable[[str, str], sqlite3.Connection]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """A connection to the state after the second script, with that after the first one as ``past``."""
    with contextlib.ExitStack() as stack:

        def made(then: str, since: str) -> sqlite3.Connection:
            past, now = tmp_path / "past 100%?.db", tmp_path / "now.db"
            for path in (past, now):
                with contextlib.closing(sqlite3.connect(path)) as db:
                    db.executescript(then if path == past else then + ";" + since)
            db = stack.enter_context(contextlib.closing(sqlite3.connect(f"file:{now}", uri=True, isolation_level=None)))
            attach_past(db, str(past))
            return db

        yield made


def pair(db: sqlite3.Connection, name: str) -> Pair:
    return Pair.of(db, tables_of(db, "past")[name], tables_of(db)[name])


KINDS = {
    "integer key": ("id INTEGER PRIMARY KEY, v", ""),
    "text key": ("id TEXT PRIMARY KEY, v", ""),
    "two keys": ("id, v, w DEFAULT 1, PRIMARY KEY (w, id)", ""),
    "without rowid": ("id PRIMARY KEY, v", "WITHOUT ROWID"),
    "no key": ("id, v", ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_went_came_and_changed_are_counted(both: Both, kind: str) -> None:
    columns, options = KINDS[kind]
    db = both(
        f"CREATE TABLE t({columns}) {options}; CREATE TABLE same(a); INSERT INTO same VALUES (1);"
        "INSERT INTO t(id, v) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
        "DELETE FROM t WHERE id < 3; UPDATE t SET v = 'new' WHERE id = 3; INSERT INTO t(id, v) VALUES (7, 'g')",
    )
    t, same = compare(db)
    assert t == Difference("t", gone=2, came=1, changed=1)
    assert same.is_none
    assert not t.is_none
    assert compare(db, only=["SAME"]) == [same]
    assert db.execute(f"SELECT count(*) {pair(db, 't').came()}").fetchone() == (1,)


def test_tables_that_went_came_and_were_renamed_in_letters_only(both: Both) -> None:
    since = "DROP TABLE a; CREATE TABLE b(x); INSERT INTO b VALUES (1), (2); DROP TABLE Same; CREATE TABLE sAME(x)"
    db = both("CREATE TABLE a(x); INSERT INTO a VALUES (1); CREATE TABLE Same(x)", since)
    gone, same, came = compare(db)
    assert (gone.now, gone.gone, came.before, came.came) == (False, 1, False, 2)
    assert same.is_none


@pytest.mark.parametrize(
    ("one", "other"), [("1", "1.0"), ("'1'", "1"), ("x'61'", "'a'"), ("NULL", "0"), ("'a'", "'A'")]
)
def test_values_are_compared_to_the_bit_whatever_the_collation(both: Both, one: str, other: str) -> None:
    db = both(f"CREATE TABLE t(id INTEGER PRIMARY KEY, v COLLATE NOCASE); INSERT INTO t VALUES (1, {one})",
              f"UPDATE t SET v = {other}")  # fmt: skip
    assert compare(db)[0].changed == 1


def test_keys_are_compared_as_the_key_does(both: Both) -> None:
    db = both("CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)",
              "UPDATE t SET k = 'A'")  # fmt: skip
    assert compare(db)[0] == Difference("t", changed=1)


def test_columns_that_only_one_state_has_are_told_or_left_out(both: Both) -> None:
    db = both("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c AS (b + 1)); INSERT INTO t(id, a, b) VALUES (1, 2, 3)",
              "ALTER TABLE t ADD COLUMN d DEFAULT 5; ALTER TABLE t DROP COLUMN a")  # fmt: skip
    assert compare(db)[0] == Difference("t", note="columns that are gone: a")
    found = pair(db, "t")
    assert (found.columns, found.lost_columns, found.compared) == (("id", "b"), ("a",), ("id", "b"))


def test_rows_whose_key_is_another_one_now_cannot_be_told_apart(both: Both) -> None:
    db = both("CREATE TABLE t(a PRIMARY KEY, b); CREATE TABLE u(rowid, _rowid_, oid); CREATE TABLE v(a)",
              "DROP TABLE t; CREATE TABLE t(a, b PRIMARY KEY); DROP TABLE v; CREATE TABLE v(rowid)")  # fmt: skip
    notes = {each.table: each.note for each in compare(db)}
    assert notes["t"] == 'its key was "a" and is "b"'
    assert notes["u"].startswith("it has neither")
    assert notes["v"] == 'its key was "rowid" and is "_rowid_"'
    assert rowid_of(tables_of(db)["u"]) == ""


@pytest.mark.parametrize("key", ["TEXT PRIMARY KEY", "INTEGER PRIMARY KEY DESC"])
def test_keys_with_null_give_way_to_the_rowid(both: Both, key: str) -> None:
    db = both(f"CREATE TABLE t(k {key}, v); INSERT INTO t VALUES (NULL, 1), (NULL, 1), (NULL, 2), (4, 3)",
              "DELETE FROM t WHERE v = 1; INSERT INTO t VALUES (5, 5)")  # fmt: skip
    assert pair(db, "t").table.key == ("rowid",)
    assert compare(db)[0] == Difference("t", gone=2, came=1)


def test_null_keys_without_a_readable_rowid_cannot_be_told_apart(both: Both) -> None:
    db = both("CREATE TABLE t(rowid TEXT PRIMARY KEY, oid, _rowid_); INSERT INTO t VALUES (NULL, 1, 2)", "")
    assert why_not_told_apart(db, pair(db, "t")).startswith("it has neither")


VACUUMED = "CREATE TABLE t(a, b); INSERT INTO t SELECT value, value % 3 FROM json_each('[1,2,3,4,5,6,7,8,9,10]')"


@pytest.mark.parametrize(
    ("since", "renumbered"),
    [
        ("DELETE FROM t WHERE a IN (1, 5); VACUUM", True),
        # Nothing that went is found anywhere, and what stays has moved into its places.
        ("DELETE FROM t WHERE a <= 5; VACUUM; INSERT INTO t VALUES ('new', 1)", True),
        ("DELETE FROM t WHERE a = 5; VACUUM; DELETE FROM t WHERE a < 5", True),
        ("DELETE FROM t WHERE a > 5; VACUUM", False),
        ("VACUUM", False),
        ("DELETE FROM t WHERE a IN (1, 5); INSERT INTO t VALUES (1, 1), (5, 2)", False),
        ("UPDATE t SET b = 7 WHERE a < 8; DELETE FROM t WHERE a = 9", False),
        ("DELETE FROM t", False),
        ("ALTER TABLE t RENAME COLUMN a TO x; ALTER TABLE t RENAME COLUMN b TO y", False),
    ],
)
def test_vacuum_that_renumbers_is_found_out(both: Both, since: str, renumbered: bool) -> None:
    db = both(VACUUMED, since)
    assert pair(db, "t").renumbered(db) is renumbered
    assert bool(compare(db)[0].note) is (renumbered or "RENAME" in since)


def test_tables_of_modules_are_compared_and_indexes_are_not(both: Both) -> None:
    db = both("CREATE VIRTUAL TABLE own USING fts5(a); CREATE TABLE n(a); INSERT INTO own VALUES ('x'), ('y');"
              "CREATE VIRTUAL TABLE idx USING fts5(a, content=n)",
              "DELETE FROM own WHERE rowid = 1")  # fmt: skip
    assert [(each.table, each.gone) for each in compare(db)] == [("own", 1), ("n", 0)]


def test_the_two_schemas_may_have_other_names(both: Both) -> None:
    db = both("CREATE TABLE t(a); INSERT INTO t VALUES (1)", "DELETE FROM t")
    assert compare(db, old="main", new="past")[0] == Difference("t", came=1)
