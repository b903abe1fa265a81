"""An export is one state, complete or absent, and says what is in it."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import flip
from transfer import content_of, exported, imported, made, run
from unit import places

from litekeep import export
from litekeep.config import Database
from litekeep.errors import LitekeepError, SourceError, SpaceError, UsageError, VerificationError
from litekeep.export import Request
from litekeep.exportfolder import file_name, filled
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, at TEXT, a);
INSERT INTO t VALUES (3, '2026-11-22T02:00:02Z', 'c');
INSERT INTO t VALUES (1, '2026-11-22T02:00:00Z', 'a'), (2, '2026-11-22T02:00:01Z', 'b');
CREATE TABLE "sp ace/ä"(x); INSERT INTO "sp ace/ä" VALUES (1), (2);
CREATE TABLE empty(x TEXT PRIMARY KEY, at) WITHOUT ROWID;
CREATE VIRTUAL TABLE own USING fts5(words); INSERT INTO own VALUES ('found again');
CREATE VIRTUAL TABLE search USING fts5(a, content='t', content_rowid='id');
CREATE VIRTUAL TABLE bare USING fts5(a, content='');
CREATE VIEW v AS SELECT * FROM t;
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "source.db", SCHEMA)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_header_says_what_is_in_the_file(tmp_path: Path, source: Path) -> None:
    done = exported(
        source, tmp_path / "file", "T", start="2026-11-22T02:00:01Z", end="2026-11-22T02:00:02Z", column="AT"
    )
    header, *rows = lines(tmp_path / "file")
    assert rows == [{"id": 2, "at": "2026-11-22T02:00:01Z", "a": "b"}]
    (file,) = done.files
    moment, seal = header["state"].pop("moment"), header.pop("header_sha256")
    assert (moment, len(seal)) == (done.moment, 64)
    assert header == {
        "litekeep-export": 1,
        "format": "jsonl",
        "table": "t",
        "columns": [{"name": "id", "type": "INTEGER"}, {"name": "at", "type": "TEXT"}, {"name": "a", "type": ""}],
        "key": ["id"],
        "rowid": False,
        "without_rowid": False,
        "strict": False,
        "encoding": "UTF-8",
        "database": "events",
        "state": {"id": "live"},
        "range": {
            "column": "at",
            "unit": "text such as 2026-11-22T02:00:00Z",
            "from": "2026-11-22T02:00:01Z",
            "to": "2026-11-22T02:00:02Z",
            "lower": "2026-11-22T02:00:01Z",
            "upper": "2026-11-22T02:00:02Z",
            "left_out": 0,
        },
        "rows": 1,
        "sha256": file.sha256,
    }
    assert (file.table, file.path, file.rows, file.left_out) == ("t", str(tmp_path / "file"), 1, 0)


def test_rows_come_in_the_order_of_their_key(tmp_path: Path, source: Path) -> None:
    exported(source, tmp_path / "file", "t", plain=True)
    assert [row["id"] for row in lines(tmp_path / "file")] == [1, 2, 3]


def test_all_tables_go_into_a_folder(tmp_path: Path, source: Path) -> None:
    done = exported(source, tmp_path / "out", format="csv", level=3)
    names = ["empty.csv.zst", "own.csv.zst", "sp%20ace%2fä.csv.zst", "t.csv.zst"]
    assert sorted(os.listdir(tmp_path / "out")) == names
    assert {file.table: file.rows for file in done.files} == {"t": 3, "sp ace/ä": 2, "empty": 0, "own": 1}
    assert done.skipped["search"] == "an index over t"
    assert done.skipped["bare"] == "an index over what is not stored"
    assert done.skipped["own_data"] == "it belongs to a virtual table"
    target = made(tmp_path / "target.db", SCHEMA)
    for table in ("t", '"sp ace/ä"', "own"):
        run(target, f"DELETE FROM {table}")
    imported(target, *(file.path for file in done.files))
    assert content_of(target) == content_of(source)
    assert run(target, "SELECT words FROM own WHERE own MATCH 'again'") == [("found again",)]


def test_an_empty_folder_may_be_there(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    exported(source, tmp_path / "out")
    assert len(os.listdir(tmp_path / "out")) == 4


@pytest.mark.parametrize("made_before", [True, False])
def test_all_tables_or_none(tmp_path: Path, source: Path, made_before: bool) -> None:
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as db:
        db.create_function("mine", 1, lambda value: value, deterministic=True)
        db.execute("CREATE TABLE zzz(x, y AS (mine(x)))")
        db.execute("INSERT INTO zzz(x) VALUES(1)")
    if made_before:
        (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="cannot be read to its end") as caught:
        exported(source, tmp_path / "out")
    assert "function: mine" in caught.value.found
    assert (tmp_path / "out").exists() == made_before
    assert not made_before or os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_folder_that_is_taken_meanwhile_is_left_alone(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "out" if kind == "file" else tmp_path / "out" / "mine"

    def fill() -> None:
        with filled(str(tmp_path / "out")) as place:
            Path(place, "t.jsonl").write_text("rows")
            taken.parent.mkdir(exist_ok=True)
            taken.write_text("mine")

    with pytest.raises(UsageError, match="already exists"):
        fill()
    assert os.listdir(tmp_path) == ["out"]
    assert taken.read_text() == "mine"


def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / ".litekeep-export-dead"
    left.mkdir()
    (left / "t.jsonl").write_text("half")
    with filled(str(tmp_path / "one")), filled(str(tmp_path / "two")):
        assert not left.exists()
        # What another export still fills stays.
        assert len([name for name in os.listdir(tmp_path) if name.startswith(".litekeep-export-")]) == 2
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_other_refusals_of_a_folder_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(LitekeepError, match="the file system refused"), filled(str(tmp_path / "out")):
        pass
    assert os.listdir(tmp_path) == []


def test_a_range_of_all_tables_takes_those_with_a_time_column(tmp_path: Path, source: Path) -> None:
    wish = {"start": "2026-11-22T02:00:01Z", "end": None}
    done = exported(source, tmp_path / "policy", time_columns={"T": "At"}, **wish)
    assert {file.table: file.rows for file in done.files} == {"t": 2}
    assert "no column of it is known to hold times" in done.skipped["empty"]
    done = exported(source, tmp_path / "column", column="at", **wish)
    assert {file.table: file.rows for file in done.files} == {"t": 2, "empty": 0}
    with pytest.raises(UsageError, match="Which column of t holds times is not known"):
        exported(source, tmp_path / "file", "t", **wish)
    with pytest.raises(UsageError, match="has no column 'when'"):
        exported(source, tmp_path / "file", "t", column="when", **wish)
    assert not (tmp_path / "file").exists()


def test_a_range_counts_rows_without_a_time(tmp_path: Path, source: Path) -> None:
    run(source, "INSERT INTO t VALUES (4, NULL, 0), (5, 'soon', 0)")
    (file,) = exported(source, tmp_path / "file", "t", column="at", end="2026-11-22T02:00:01Z").files
    assert (file.rows, file.left_out) == (1, 2)
    assert lines(tmp_path / "file")[0]["range"]["left_out"] == 2


def test_standard_output(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw))
    (file,) = exported(source, None, "t", format="csv").files
    assert raw.getvalue().splitlines()[2] == b"1,2026-11-22T02:00:00Z,a"
    assert file.path == ""


def refused(kind: type[LitekeepError], words: str, *arguments: Any, **wish: Any) -> LitekeepError:
    with pytest.raises(kind, match=words) as caught:
        exported(*arguments, **wish)
    assert caught.value.next_step
    return caught.value


def test_what_cannot_be_exported_is_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UsageError, match="'xml' is no format"):
        exported(source, tmp_path / "file", "t", format="xml")
    assert "one of: t, sp ace/ä" in refused(UsageError, "no table 'x'", source, tmp_path / "file", "x").expected
    refused(UsageError, "cannot go to standard output", source, None)
    assert os.listdir(tmp_path) == ["source.db"]
    (tmp_path / "file").write_text("mine")
    refused(UsageError, "already exists", source, tmp_path / "file", "t")
    refused(UsageError, "already exists", source, tmp_path / "file")
    os.symlink("nowhere", tmp_path / "link")
    refused(UsageError, "already exists", source, tmp_path / "link", "t")
    refused(UsageError, "already exists", source, tmp_path)
    assert (tmp_path / "file").read_text() == "mine"
    for table in ("t", None):
        problem = refused(UsageError, "is not there", source, tmp_path / "none" / "out", table)
        assert f"mkdir -p {tmp_path}/none" in problem.next_step
    refused(UsageError, "is not there", source, tmp_path / "file" / "out", "t")
    refused(SourceError, "does not exist", tmp_path / "none.db", tmp_path / "out", "t")


def test_an_empty_database_has_no_tables(tmp_path: Path) -> None:
    source = made(tmp_path / "a.db", "CREATE TABLE t(a); DROP TABLE t")
    refused(UsageError, "has no table 't'", source, tmp_path / "file", "t")
    assert exported(source, tmp_path / "out").files == ()


def test_a_module_of_the_application_does_not_hide_the_other_tables(tmp_path: Path, source: Path) -> None:
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute(
            "INSERT INTO sqlite_master VALUES('table', 'mine', 'mine', 0, 'CREATE VIRTUAL TABLE mine USING x(a)')"
        )
    done = exported(source, tmp_path / "out")
    assert done.skipped["mine"] == "no such module: x"
    assert len(done.files) == 4
    assert refused(SourceError, "mine cannot be read", source, tmp_path / "file", "mine").found == "no such module: x"


def test_a_damaged_table_leaves_no_file(tmp_path: Path) -> None:
    source = made(tmp_path / "a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE good(a)")
    for n in range(50):
        run(source, "INSERT INTO t(a) VALUES(?)", (f"{n}" * 500,))
    flip(source, 4096 * 6, 4096)
    problem = refused(VerificationError, "is damaged", source, tmp_path / "file", "t")
    assert "--at latest" in problem.next_step
    refused(VerificationError, "is damaged", source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.db"]
    flip(source, 100, 50)
    refused(VerificationError, "is damaged", source, tmp_path / "file", "t")


def test_a_full_disk_leaves_no_file(source: Path, on_disk: Callable[..., None]) -> None:
    for _n in range(300):
        run(source, "INSERT INTO t(a) VALUES(?)", (os.urandom(2000),))

    def work(disk: places.Disk) -> None:
        for output, table in ((disk / "file", "t"), (disk / "out", None)):
            for options in ({}, {"level": 3}, {"format": "csv"}):
                with pytest.raises(SpaceError, match="no space left"):
                    exported(source, output, table, **options)
        assert os.listdir(disk.path) == []

    on_disk(work, "512k")


def test_a_read_only_folder_is_said(source: Path, on_disk: Callable[..., None]) -> None:
    def work(disk: places.Disk) -> None:
        disk.seal()
        for table in ("t", None):
            with pytest.raises(UsageError, match="cannot be written"):
                exported(source, disk / "file", table)

    on_disk(work)


def test_an_older_state(tmp_path: Path, kept: tuple[Repository, Database], events: Path, saved: Backup) -> None:
    run(events, "DELETE FROM events WHERE id > 10")
    repository, database = kept
    for at in ("latest", saved.id):
        output = tmp_path / at
        done = export.export(repository, database, Request(table="events", at=at), str(output), Progress())
        assert (done.state, done.files[0].rows) == (saved.id, 200)
        assert lines(output)[0]["state"] == {"id": saved.id, "moment": done.moment}
    assert exported(events, tmp_path / "now", "events").files[0].rows == 10
    imported(events, tmp_path / "latest", conflict="ignore")
    assert run(events, "SELECT count(*) FROM events") == [(200,)]


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    told = []
    monkeypatch.setattr(export, "_TELL_EVERY", 2)
    monkeypatch.setattr(Progress, "rows", lambda _self, label, rows: told.append((label, rows)))
    exported(source, tmp_path / "file", "t")
    assert told == [("export t", 2)]


def test_names_of_files() -> None:
    assert file_name("events") == "events"
    assert file_name("../x y") == "%2e%2e%2fx%20y"
    long = file_name("ä" * 300)
    assert len(long.encode()) <= 200
    assert long != file_name("ä" * 301)


def test_a_backup_is_not_needed(tmp_path: Path, source: Path) -> None:
    exported(source, tmp_path / "file", "t")
    assert sorted(os.listdir(tmp_path)) == ["file", "source.db"]
