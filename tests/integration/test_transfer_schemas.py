"""Real public schemas: every table exported, imported into an empty copy of the schema, and equal to the bit."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import public_schema
import pytest
from transfer import content_of, exported, imported, run

from litekeep.errors import VerificationError

SEARCHES = {
    "TrackSearch": ["river", "straße", "\u540d\u524d", "Composer : heart", "nothing"],
    "Review": ["machines", "blue AND night", "nothing"],
}


def assert_sound(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%USING fts5%'").fetchall():
            db.execute(f"INSERT INTO {name}({name}, rank) VALUES('integrity-check', 1)")


def found_by(path: Path) -> dict[tuple[str, str], list[object]]:
    return {
        (table, words): run(path, f"SELECT rowid FROM {table} WHERE {table} MATCH ? ORDER BY rowid", [words])
        for table, searches in SEARCHES.items()
        for words in searches
    }


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
@pytest.mark.parametrize(("form", "level"), [("jsonl", None), ("json", 1), ("csv", None), ("csv", 3)])
def test_the_music_shop(tmp_path: Path, encoding: str, form: str, level: int | None) -> None:
    source = public_schema.shop(tmp_path / "source.db", encoding=encoding)
    target = public_schema.empty_copy(source, tmp_path / "target.db")
    done = exported(source, tmp_path / "out", format=form, level=level)
    assert done.skipped["TrackSearch"] == "an index over Track"
    files = [file.path for file in done.files]
    assert len(files) == 14
    results = imported(target, *files, triggers="skip")
    assert content_of(target) == content_of(source)
    assert found_by(target) == found_by(source)
    assert found_by(source)["TrackSearch", "river"]
    assert_sound(target)
    # The triggers stand again, and work.
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'table' ORDER BY 1, 2"
    assert run(target, schema) == run(source, schema)
    run(target, "UPDATE Track SET Name = 'unheard' WHERE TrackId = 1")
    assert run(target, "SELECT rowid FROM TrackSearch WHERE TrackSearch MATCH 'unheard'") == [(1,)]
    assert sum(file.rows for file in done.files) == sum(result.inserted for result in results)
    # In place, beside references that would cascade.
    replaced = imported(target, *files, triggers="skip", conflict="replace")
    assert {result.inserted + result.ignored for result in replaced} == {0}
    assert content_of(target) == content_of(source)
    assert_sound(target)


def test_triggers_keep_the_search_index_of_a_table_that_is_imported_alone(tmp_path: Path) -> None:
    source = public_schema.shop(tmp_path / "source.db")
    target = public_schema.empty_copy(source, tmp_path / "target.db")
    files = [file.path for file in exported(source, tmp_path / "out").files]
    parents = [path for path in files if Path(path).stem in ("Artist", "Album", "Genre", "MediaType")]
    track = next(path for path in files if Path(path).stem == "Track")
    with pytest.raises(VerificationError, match="rows would point to rows that are not there"):
        imported(target, track)
    imported(target, track, *parents)
    assert found_by(target)["TrackSearch", "river"] == found_by(source)["TrackSearch", "river"]
    assert content_of(target, ["Track"]) == content_of(source, ["Track"])
    assert_sound(target)


def test_what_coverage_keeps(tmp_path: Path) -> None:
    source = public_schema.measured_code(tmp_path / "source.db")
    target = public_schema.empty_copy(source, tmp_path / "target.db")
    done = exported(source, tmp_path / "out", format="csv")
    imported(target, *(file.path for file in done.files))
    assert content_of(target) == content_of(source)
    assert sum(file.rows for file in done.files) > 60
    assert_sound(target)


@pytest.mark.parametrize("make", [public_schema.shop, public_schema.measured_code])
def test_tables_are_made_where_there_are_none(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "source.db")
    target = tmp_path / "target.db"
    run(target, "CREATE TABLE other(x)")
    done = exported(source, tmp_path / "out")
    imported(target, *(file.path for file in done.files), create=True)
    tables = [file.table for file in done.files if file.table != "Review"]
    assert content_of(target, tables) == content_of(source, tables)
