"""An import puts in all rows or none, and says what became of each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from transfer import content_of, exported, imported, made, run
from unit.test_exportreader import rebuilt

from litekeep import importer
from litekeep.errors import LitekeepError, SourceError, UsageError, VerificationError
from litekeep.progress import Progress

SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b NOT NULL DEFAULT 'none', CHECK (b <> 'bad'));"
ROWS = "INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three rows of ``t``."""
    exported(made(tmp_path / "source.db", SCHEMA + ROWS), tmp_path / "file", "t")
    return tmp_path / "file"


def file_of(folder: Path, script: str, table: str = "t", name: str = "other") -> Path:
    """A table in a file."""
    exported(made(folder / f"{name}.db", script), folder / name, table)
    return folder / name


def rows(path: Path, table: str = "t") -> list[tuple[object, ...]]:
    return run(path, f'SELECT * FROM "{table}" ORDER BY 1')


def refused(target: Path, kind: type[LitekeepError], words: str, *files: Path, **order: Any) -> LitekeepError:
    before = target.read_bytes()
    with pytest.raises(kind, match=words) as caught:
        imported(target, *files, **order)
    assert caught.value.next_step
    assert target.read_bytes() == before
    return caught.value


def counts(done: Any) -> tuple[int, int, int, int]:
    return done.rows, done.inserted, done.ignored, done.replaced


def test_abort_refuses_the_first_conflict(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA)
    assert counts(imported(target, file)[0]) == (3, 3, 0, 0)
    run(target, "DELETE FROM t WHERE id <> 3")
    problem = refused(target, UsageError, "Row 3 of .* is in t already", file)
    assert problem.found == "UNIQUE constraint failed: t.id"
    assert "--conflict ignore" in problem.next_step


def test_ignore_leaves_what_is_there(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA + "INSERT INTO t VALUES (1, 'mine', 5), (9, 'two', 6)")
    assert counts(imported(target, file, conflict="ignore")[0]) == (3, 1, 2, 0)
    assert rows(target) == [(1, "mine", 5), (3, "three", 3), (9, "two", 6)]


def test_ignore_hides_no_other_constraint(tmp_path: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA)
    for value in ("NULL", "'bad'"):
        bad = file_of(tmp_path, f"CREATE TABLE t(id, a, b); INSERT INTO t VALUES (1, 2, {value})", name=value[1:4])
        for conflict in importer.CONFLICTS:
            problem = refused(target, VerificationError, "Row 1 of .* does not fit into t", bad, conflict=conflict)
            assert "constraint failed" in problem.found


def test_replace_overwrites_in_place(tmp_path: Path, file: Path) -> None:
    target = made(
        tmp_path / "target.db",
        SCHEMA
        + "INSERT INTO t VALUES (1, 'mine', 5), (9, 'nine', 6);"
        + "CREATE TABLE child(t REFERENCES t(id) ON DELETE CASCADE); INSERT INTO child VALUES (1);",
    )
    assert counts(imported(target, file, conflict="replace")[0]) == (3, 2, 0, 1)
    assert rows(target) == [(1, "one", 1), (2, "two", 2), (3, "three", 3), (9, "nine", 6)]
    assert rows(target, "child") == [(1,)]
    run(target, "DELETE FROM t WHERE id = 2")
    run(target, "UPDATE t SET a = 'two' WHERE id = 9")
    problem = refused(target, UsageError, "Row 2", file, conflict="replace")
    assert problem.found == "UNIQUE constraint failed: t.a"


def test_conflict_clauses_of_the_schema_do_not_delete_rows(tmp_path: Path, file: Path) -> None:
    script = "CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, a UNIQUE ON CONFLICT REPLACE, b);"
    target = made(tmp_path / "target.db", script + "INSERT INTO t VALUES (1, 'mine', 5), (9, 'two', 6)")
    refused(target, UsageError, "Row 1 ", file)
    refused(target, UsageError, "Row 2 ", file, conflict="replace")
    assert counts(imported(target, file, conflict="ignore")[0]) == (3, 1, 2, 0)
    assert rows(target) == [(1, "mine", 5), (3, "three", 3), (9, "two", 6)]
    silent = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b NOT NULL ON CONFLICT IGNORE)"
    other = made(tmp_path / "silent.db", silent)
    bad = file_of(tmp_path, "CREATE TABLE t(id, a, b); INSERT INTO t VALUES (1, 2, NULL)")
    refused(other, VerificationError, "does not fit", bad)


def test_keys_without_a_value_replace_nothing(tmp_path: Path) -> None:
    script = "CREATE TABLE t(k TEXT PRIMARY KEY, a); INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('x', 3)"
    source, target = made(tmp_path / "source.db", script), made(tmp_path / "target.db", script)
    exported(source, tmp_path / "file", "t")
    assert counts(imported(target, tmp_path / "file", conflict="replace")[0]) == (3, 2, 0, 1)
    assert run(target, "SELECT count(*), sum(a) FROM t") == [(5, 9)]


@pytest.mark.parametrize("key", ["a, PRIMARY KEY(a)", "a, b, PRIMARY KEY(b, a)", "a INTEGER PRIMARY KEY"])
def test_replace_where_all_is_key(tmp_path: Path, key: str) -> None:
    target = made(tmp_path / "target.db", f"CREATE TABLE t({key})")
    values = "(1), (2)" if "b" not in key else "(1, 'x'), (2, 'y')"
    path = file_of(tmp_path, f"CREATE TABLE t({key}); INSERT INTO t VALUES {values}")
    assert counts(imported(target, path, conflict="replace")[0]) == (2, 2, 0, 0)
    assert counts(imported(target, path, conflict="replace")[0]) == (2, 0, 0, 2)


def test_replace_needs_the_key(tmp_path: Path) -> None:
    path = file_of(tmp_path, "CREATE TABLE t(a); INSERT INTO t VALUES ('one')")
    target = made(tmp_path / "target.db", SCHEMA)
    assert refused(target, UsageError, "cannot be told", path, conflict="replace").expected == "the key of each row: id"
    target = made(tmp_path / "keyless.db", "CREATE TABLE t(a, rowid, _rowid_, oid)")
    problem = refused(target, UsageError, "cannot be told", path, conflict="replace")
    assert problem.expected == "the key of each row: the table has none"


def test_rowids_come_along_only_where_they_are_the_key(tmp_path: Path) -> None:
    script = "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (7, 'x'), (9, 'y')"
    path = file_of(tmp_path, script)
    same = made(tmp_path / "same.db", "CREATE TABLE t(a)")
    imported(same, path)
    assert run(same, "SELECT rowid, a FROM t") == [(7, "x"), (9, "y")]
    for name, sql in (
        ("own", "CREATE TABLE t(id INTEGER PRIMARY KEY, a)"),
        ("text", "CREATE TABLE t(a TEXT PRIMARY KEY)"),
    ):
        target = made(tmp_path / f"{name}.db", sql)
        imported(target, path)
        assert run(target, "SELECT rowid, a FROM t") == [(1, "x"), (2, "y")]


def test_generated_columns_are_made_anew_or_kept_as_values(tmp_path: Path) -> None:
    script = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, g AS (a * 2));"
    path = file_of(tmp_path, script + "INSERT INTO t(a) VALUES (1), (2)")
    target = made(
        tmp_path / "target.db", script.replace("* 2", "* 3") + "CREATE TABLE u(id, a, g); CREATE TABLE n(id, a)"
    )
    for table, wanted in (("t", [(1, 1, 3), (2, 2, 6)]), ("u", [(1, 1, 2), (2, 2, 4)]), ("n", [(1, 1), (2, 2)])):
        imported(target, path, table=table)
        assert rows(target, table) == wanted


def test_create_makes_the_columns_and_the_key(tmp_path: Path) -> None:
    script = (
        'CREATE TABLE "a b"(x VARCHAR(5) COLLATE NOCASE, "order" DECIMAL(10, 2), z, PRIMARY KEY (z, x)) WITHOUT ROWID;'
        "INSERT INTO \"a b\" VALUES ('x', 1.5, x'00')"
    )
    path = file_of(tmp_path, script, "a b")
    target = made(tmp_path / "target.db", "CREATE TABLE other(x)")
    problem = refused(target, UsageError, "has no table 'a b'", path)
    assert (problem.expected, "--create" in problem.next_step) == ("one of: other", True)
    (done,) = imported(target, path, create=True)
    assert (done.created, done.table) == (True, "a b")
    assert content_of(target, ["a b"]) == content_of(tmp_path / "other.db")
    ((sql,),) = run(target, "SELECT sql FROM sqlite_master WHERE name = 'a b'")
    assert "WITHOUT ROWID" in str(sql)
    assert 'PRIMARY KEY ("z", "x")' in str(sql)
    assert not imported(target, path, create=True, conflict="ignore")[0].created


def test_create_knows_an_integer_key(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE other(x)")
    imported(target, file, create=True, table="copy")
    run(target, "INSERT INTO copy(a) VALUES('new')")
    assert rows(target, "copy")[-1] == (4, "new", None)


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="expected: this SQLite has no STRICT tables")
def test_create_keeps_strict(tmp_path: Path) -> None:
    path = file_of(tmp_path, "CREATE TABLE t(a INT, b ANY) STRICT; INSERT INTO t VALUES (1, 'x')")
    target = made(tmp_path / "target.db", "CREATE TABLE other(x)")
    imported(target, path, create=True)
    with pytest.raises(sqlite3.IntegrityError):
        run(target, "INSERT INTO t VALUES('text', 1)")
    run(target, "DELETE FROM t")
    bad = file_of(tmp_path, "CREATE TABLE t(a, b); INSERT INTO t VALUES ('text', 'x')", name="bad")
    refused(target, VerificationError, "does not fit", bad)


@pytest.mark.parametrize("declared", ["INT); DROP TABLE other; --", "INT -- x", 'A"B', "INT(1) (2)", "TÉXT"])
def test_create_takes_no_sql_out_of_a_file(tmp_path: Path, file: Path, declared: str) -> None:
    columns = [{"name": "id", "type": "INTEGER"}, {"name": "a", "type": declared}, {"name": "b", "type": ""}]
    file.write_bytes(rebuilt(file.read_bytes(), columns=columns))
    target = made(tmp_path / "target.db", "CREATE TABLE other(x)")
    assert repr(declared) in refused(target, UsageError, "has a column of type", file, create=True).what


def test_create_refuses_what_sqlite_refuses(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE other(x)")
    assert "reserved" in refused(target, SourceError, "SQLite refuses", file, create=True, table="sqlite_x").found
    file.write_bytes(rebuilt(file.read_bytes(), key=["none"]))
    refused(target, SourceError, "SQLite refuses", file, create=True)


def test_names_are_those_of_sqlite(tmp_path: Path) -> None:
    script = 'CREATE TABLE "Ä"(A, "ß"); INSERT INTO "Ä" VALUES (1, 2)'
    path = file_of(tmp_path, script, "Ä")
    target = made(tmp_path / "target.db", 'CREATE TABLE "ä"(a, "ß"); CREATE TABLE "Ä"(a, "ß")')
    imported(target, path)
    assert (rows(target, "Ä"), rows(target, "ä")) == ([(1, 2)], [])


def test_columns_that_are_not_there_are_refused(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(x)")
    problem = refused(target, UsageError, "has columns that t has not", file)
    assert (problem.found, problem.expected) == ("b", "some of: id, a")
    assert refused(target, UsageError, "has columns that u has not", file, table="u").found == "id, a, b"
    only_rowid = file_of(tmp_path, "CREATE TABLE t(x AS (1), y); INSERT INTO t(y) VALUES (1)")
    assert refused(target, UsageError, "has columns", only_rowid).found == "y"


def test_missing_columns_get_their_default(tmp_path: Path) -> None:
    path = file_of(tmp_path, "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (5)")
    target = made(tmp_path / "target.db", SCHEMA)
    imported(target, path)
    assert rows(target) == [(5, None, "none")]


def test_several_files_are_one_transaction(tmp_path: Path, file: Path) -> None:
    child = file_of(tmp_path, "CREATE TABLE child(t); INSERT INTO child VALUES (2), (3)", "child")
    target = made(tmp_path / "target.db", SCHEMA + "CREATE TABLE child(t REFERENCES t(id))")
    with pytest.raises(UsageError, match="One table cannot take several files"):
        imported(target, child, file, table="t")
    refused(target, VerificationError, "rows would point to rows that are not there", child)
    assert [done.inserted for done in imported(target, child, file)] == [2, 3]
    run(target, "DELETE FROM child")
    refused(target, UsageError, "is in t already", child, file)
    assert imported(target, child, foreign_keys=False)[0].inserted == 2


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA + "INSERT INTO t VALUES (1, 'mine', 5)")
    before = target.read_bytes()
    dry = imported(target, file, conflict="replace", dry_run=True)
    assert target.read_bytes() == before
    assert imported(target, file, conflict="replace") == dry
    child = file_of(tmp_path, "CREATE TABLE child(t); INSERT INTO child VALUES (20)", "child")
    run(target, "CREATE TABLE child(t REFERENCES t(id))")
    refused(target, VerificationError, "rows would point", child, dry_run=True)
    assert imported(target, file, create=True, table="new", dry_run=True)[0].created
    assert run(target, "SELECT count(*) FROM sqlite_master WHERE name = 'new'") == [(0,)]


TRIGGERS = """
CREATE TABLE log(what);
CREATE TRIGGER written AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('insert ' || new.id); END;
CREATE TRIGGER changed AFTER UPDATE ON t BEGIN INSERT INTO log VALUES ('update ' || new.id); END;
CREATE TRIGGER left_out BEFORE INSERT ON t WHEN new.id = 3 BEGIN SELECT RAISE(IGNORE); END;
"""


def test_triggers_fire_and_are_named(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA + "INSERT INTO t VALUES (1, 'mine', 5);" + TRIGGERS)
    (done,) = imported(target, file, conflict="replace")
    assert (counts(done), done.triggers) == ((3, 1, 1, 1), ("written", "changed", "left_out"))
    assert rows(target, "log") == [("insert 2",), ("update 1",)]


def test_triggers_can_be_left_out(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA + TRIGGERS)
    (done,) = imported(target, file, triggers="skip")
    assert (counts(done), done.triggers) == ((3, 3, 0, 0), ())
    assert rows(target, "log") == []
    run(target, "INSERT INTO t VALUES (8, 8, 8)")
    assert rows(target, "log") == [("insert 8",)]


def test_virtual_tables(tmp_path: Path) -> None:
    script = (
        "CREATE VIRTUAL TABLE own USING fts5(a, b); CREATE VIRTUAL TABLE box USING rtree(id, low, high);"
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); "
        "CREATE VIRTUAL TABLE search USING fts5(a, content=t, content_rowid=id);"
    )
    source = made(
        tmp_path / "source.db",
        script
        + "INSERT INTO own(rowid, a, b) VALUES (5, 'some words', 'x'), (9, 'other words', NULL);"
        + "INSERT INTO box VALUES (3, 1.5, 2.5), (8, -1, 1); INSERT INTO t VALUES (1, 'looked for')",
    )
    target = made(tmp_path / "target.db", script)
    exported(source, tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["box.jsonl", "own.jsonl", "t.jsonl"]
    imported(target, *files, triggers="skip")
    assert content_of(target) == content_of(source)
    assert run(target, "SELECT rowid FROM own WHERE own MATCH 'other'") == [(9,)]
    assert run(target, "SELECT id FROM box WHERE low < 0") == [(8,)]
    assert run(target, "SELECT rowid FROM search WHERE search MATCH 'looked'") == [(1,)]
    ignored = imported(target, *files, conflict="ignore")
    assert [counts(done) for done in ignored] == [(2, 0, 2, 0), (2, 0, 2, 0), (1, 0, 1, 0)]
    run(target, "UPDATE own SET a = 'gone' WHERE rowid = 9")
    replaced = imported(target, *files, conflict="replace")
    assert [counts(done) for done in replaced] == [(2, 0, 0, 2), (2, 0, 0, 2), (1, 0, 0, 1)]
    assert content_of(target) == content_of(source)
    assert run(target, "SELECT rowid FROM own WHERE own MATCH 'other'") == [(9,)]
    refused_files = [path for path in files if path.name != "t.jsonl"]
    with pytest.raises(LitekeepError):
        imported(target, *refused_files)
    for table in ("search", "own_data"):
        with pytest.raises(UsageError, match="Nothing can be imported"):
            imported(target, files[2], table=table)


def test_ill_formed_texts_in_utf_16(tmp_path: Path) -> None:
    source = made(tmp_path / "source.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "UTF-16le")
    run(source, f"INSERT INTO t(a) VALUES(CAST(x'{'00d8' * 200}' AS TEXT))")
    exported(source, tmp_path / "file", "t")
    target = made(tmp_path / "target.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "UTF-16le")
    for conflict in importer.CONFLICTS:
        imported(target, tmp_path / "file", conflict=conflict)
        assert content_of(target) == content_of(source)
    odd = rebuilt_rows(tmp_path / "file", b'{"id":9,"a":{"text":"AAAA"}}\n')
    # What older SQLite keeps of it. A connection knows the encoding once it has looked at a table.
    if run(target, "SELECT length(CAST(CAST(x'000000' AS TEXT) AS BLOB)) FROM t") == [(3,)]:
        imported(target, odd)
        assert run(target, "SELECT hex(CAST(a AS BLOB)) FROM t WHERE id = 9") == [("000000",)]
    else:
        assert "3 bytes" in refused(target, VerificationError, "does not fit", odd).found


def rebuilt_rows(path: Path, block: bytes) -> Path:
    """The file with other rows."""
    first = path.read_bytes().split(b"\n", 1)[0]
    path.write_bytes(rebuilt(first + b"\n" + block, rows=block.count(b"\n"), sha256=hashlib.sha256(block).hexdigest()))
    return path


def test_a_damaged_file_is_found_before_any_lock(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA)
    file.write_bytes(file.read_bytes()[:-5])
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(VerificationError, match="is not what was exported"):
            imported(target, file, deadline=0)


def test_a_row_that_does_not_fit_near_the_end_leaves_nothing(tmp_path: Path) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER CHECK (a < 2999))")
    path = file_of(
        tmp_path,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO t SELECT i, i FROM n",
    )
    for conflict in importer.CONFLICTS:
        refused(target, VerificationError, "Row 2999 of ", path, conflict=conflict)


def test_progress_is_told(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(importer, "_TELL_EVERY", 2)
    monkeypatch.setattr(Progress, "rows", lambda _self, label, rows: told.append((label, rows)))
    imported(made(tmp_path / "target.db", SCHEMA), file)
    assert told == [("import t", 2)]


def test_the_order_of_the_fields_is_the_file_s(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE t(b, extra DEFAULT 'x', a, id INTEGER PRIMARY KEY)")
    imported(target, file)
    assert rows(target)[0] == (1, "x", "one", 1)
    assert json.loads(file.read_text().splitlines()[1]) == {"id": 1, "a": "one", "b": 1}
