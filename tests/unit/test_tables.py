"""What a table consists of is told right for every kind of table, and on every SQLite that is promised."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from litekeep import tables
from litekeep.tables import Table, folded, in_order_of_references, listed, quoted, tables_of


@contextlib.contextmanager
def schema(script: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(script)
        yield db


def only(script: str) -> Table:
    with schema(script) as db:
        (found,) = (table for table in tables_of(db).values() if table.kind != "shadow")
        return found


@pytest.mark.parametrize(
    ("sql", "key", "by_rowid", "without_rowid"),
    [
        ("CREATE TABLE t(a)", ("rowid",), True, False),
        ("CREATE TABLE t(rowid)", ("_rowid_",), True, False),
        ("CREATE TABLE t(RowID, _ROWID_)", ("oid",), True, False),
        ("CREATE TABLE t(rowid, _rowid_, oid)", (), False, False),
        ("CREATE TABLE t(a INTEGER PRIMARY KEY)", ("a",), False, False),
        ("CREATE TABLE t(a, b, c, PRIMARY KEY(c, a))", ("c", "a"), False, False),
        ("CREATE TABLE t(a TEXT PRIMARY KEY) WITHOUT ROWID", ("a",), False, True),
        ("CREATE TABLE t(a TEXT UNIQUE)", ("rowid",), True, False),
    ],
)
def test_what_tells_rows_apart(sql: str, key: tuple[str, ...], by_rowid: bool, without_rowid: bool) -> None:
    found = only(sql)
    assert (found.key, found.by_rowid, found.without_rowid) == (key, by_rowid, without_rowid)
    assert found.kind == "table"
    assert found.stored[: len(key) * by_rowid] == key * by_rowid


def test_columns_and_generated_columns() -> None:
    found = only("CREATE TABLE t(a VARCHAR(10), b AS (a || 'x'), c INT GENERATED ALWAYS AS (length(a)) STORED, d)")
    assert [(c.name, c.declared, c.generated) for c in found.columns] == [
        ("a", "VARCHAR(10)", False),
        ("b", "", True),
        ("c", "INT", True),
        ("d", "", False),
    ]
    assert found.stored == ("rowid", "a", "d")
    assert found.all == ("rowid", "a", "b", "c", "d")


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="expected: this SQLite has no STRICT tables")
def test_strict() -> None:
    with schema("CREATE TABLE a(x INT) STRICT; CREATE TABLE b(x INT)") as db:
        assert {name: table.strict for name, table in tables_of(db).items()} == {"a": True, "b": False}


def test_names_are_compared_as_sqlite_does() -> None:
    assert folded("ÄbC") == "Äbc"
    with schema('CREATE TABLE "Ä"(x); CREATE TABLE "ä"(x); CREATE TABLE "a ""b"(x)') as db:
        assert list(tables_of(db)) == ["Ä", "ä", 'a "b']
    assert quoted('a "b') == '"a ""b"'
    assert listed(["a", "b c"], "o.") == 'o."a", o."b c"'


VIRTUAL = """
CREATE TABLE docs(id INTEGER PRIMARY KEY, title, content);
CREATE VIRTUAL TABLE "own USING x" /* a -- */ USING fts5(title, content);
CREATE VIRTUAL TABLE outside USING "fts5"(title, content = 'docs', content_rowid='id');
CREATE VIRTUAL TABLE bare USING fts5(title, content='');
CREATE VIRTUAL TABLE older USING fts4(title, content="docs");
CREATE VIRTUAL TABLE words USING fts5vocab(bare, row);
CREATE VIRTUAL TABLE [box]USING rtree(id, low, high);
"""


class Old:
    """A connection to a SQLite before 3.37, which has no table_list."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def execute(self, sql: str) -> Any:
        return self.db.execute("SELECT 1 WHERE 0" if "table_list" in sql else sql)


@pytest.mark.parametrize("wrap", [lambda db: db, Old], ids=["now", "before 3.37"])
def test_virtual_tables(wrap: Any) -> None:
    with schema(VIRTUAL) as db:
        found = tables_of(wrap(db))
    kinds = {name: (t.kind, t.module, t.index_of) for name, t in found.items() if t.kind != "shadow"}
    assert kinds == {
        "docs": ("table", "", None),
        "own USING x": ("virtual", "fts5", None),
        "outside": ("virtual", "fts5", "docs"),
        "bare": ("virtual", "fts5", ""),
        "older": ("virtual", "fts4", "docs"),
        "words": ("virtual", "fts5vocab", ""),
        "box": ("virtual", "rtree", None),
    }
    assert {"own USING x_content", "outside_data", "older_segdir", "box_node"} <= {
        name for name, table in found.items() if table.kind == "shadow"
    }
    assert found["own USING x"].all == ("rowid", "title", "content")
    assert found["box"].key == ("rowid",)


def test_a_module_that_only_the_application_has(tmp_path: Any) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as db:
        db.executescript("CREATE TABLE t(a); PRAGMA writable_schema=ON;")
        db.execute("INSERT INTO sqlite_master VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING mine(a)')")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as db:
        found = tables_of(db)
    assert found["v"].unreadable == "no such module: mine"
    assert (found["v"].columns, found["v"].index_of) == ((), "")
    assert found["t"].unreadable == ""


def test_a_damaged_table_is_not_taken_for_a_foreign_module() -> None:
    class Damaged(Old):
        def execute(self, sql: str) -> Any:
            if "table_xinfo" in sql:
                raise sqlite3.OperationalError("disk I/O error")
            return self.db.execute(sql)

    with schema(VIRTUAL) as db, pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        tables_of(Damaged(db))  # type: ignore[arg-type]


def test_names_in_quotes() -> None:
    for written, name in (("[a]", "a"), ('"a""b"', 'a"b'), ("'a'", "a"), ("`a``b`", "a`b"), ("a", "a"), ("", "")):
        assert tables._unquoted(written) == name


def test_parents_come_before_children() -> None:
    with schema(
        "CREATE TABLE leaf(x REFERENCES Branch(x), y REFERENCES gone(y)); CREATE TABLE branch(x REFERENCES root(x));"
        "CREATE TABLE root(x REFERENCES root(x)); CREATE TABLE one(x REFERENCES two(x));"
        "CREATE TABLE two(x REFERENCES one(x)); CREATE TABLE free(x)"
    ) as db:
        found = tables_of(db)
    assert found["leaf"].references == ("gone", "Branch")
    assert in_order_of_references(found, found) == ["root", "branch", "leaf", "two", "one", "free"]
    assert in_order_of_references(found, ["leaf", "root"]) == ["root", "leaf"]
