from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zstandard
from support import flip, make_database, protect
from unit.crashes import leave_wal

import litekeep
from litekeep import backup
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

Schema = jsonschema.Draft202012Validator


def on_disk(found: Backup) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(found.folder, "manifest.json").read_text())
    return loaded


def bad_backup(kept: Repository, database: Database) -> Backup:
    with pytest.raises(VerificationError):
        backup.take(kept, database, Progress())
    found = kept.catalogue(database.name).backups[-1]
    assert found.state == "bad source"
    return found


def test_a_good_backups_manifest_matches_the_published_schema(saved: Backup, manifest_schema: Schema) -> None:
    manifest_schema.validate(on_disk(saved))


def test_a_good_backups_manifest_says_what_was_found(events: Path, saved: Backup) -> None:
    found, state = on_disk(saved), events.stat()
    assert {key: found[key] for key in ("id", "sequence", "type", "parent", "host", "database", "timeline")} == {
        "id": saved.id,
        "sequence": 1,
        "type": "full",
        "parent": None,
        "host": "host",
        "database": "events",
        "timeline": None,
    }
    source = found["source"]
    assert (source["path"], source["inode"], source["device"]) == (str(events), state.st_ino, state.st_dev)
    assert (source["journal_mode"], source["application_id"], source["user_version"]) == ("wal", 1234, 7)
    assert found["times"]["started"] <= found["times"]["snapshot"] <= found["times"]["finished"]
    assert found["page_size"] * found["page_count"] == found["files"][0]["size"] == state.st_size
    assert (found["encoding"], found["rows"], found["capture"]) == ("UTF-8", {"events": 200}, "snapshot")
    assert (found["verified"], found["warnings"]) == (True, [])
    assert {name: part["result"] for name, part in found["checks"].items()} == {
        "integrity": "ok",
        "foreign_keys": "ok",
        "read_back": "ok",
    }
    assert found["compression"] == {"method": "zstd", "level": 2, "checksum": True}
    assert found["tool"] == {
        "litekeep": litekeep.__version__,
        "sqlite": sqlite3.sqlite_version,
        "zstandard": zstandard.__version__,
        "python": platform.python_version(),
    }


def test_the_place_in_the_wal_is_recorded_and_matches_the_schema(
    tmp_path: Path, events: Path, manifest_schema: Schema
) -> None:
    leave_wal(events, rows=3)
    found = on_disk(backup.take(*protect(tmp_path, events), Progress()))
    manifest_schema.validate(found)
    assert found["wal"]["frame"] >= 3
    assert found["rows"] == {"events": 203}


def test_without_wal_there_is_no_place_in_it(tmp_path: Path, manifest_schema: Schema) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    found = on_disk(backup.take(*protect(tmp_path, path), Progress()))
    manifest_schema.validate(found)
    assert (found["wal"], found["source"]["journal_mode"]) == (None, "delete")


def test_a_flipped_page_of_the_source_is_in_the_manifest_and_matches_the_schema(
    kept: tuple[Repository, Database], events: Path, manifest_schema: Schema
) -> None:
    flip(events, 4096 * 3, 300)
    found = on_disk(bad_backup(*kept))
    manifest_schema.validate(found)
    assert found["verified"] is False
    assert found["capture"] == "snapshot"
    assert found["checks"]["integrity"]["result"] == "failed"
    assert found["checks"]["integrity"]["messages"]


def test_the_raw_copy_of_a_truncated_database_matches_the_schema(
    kept: tuple[Repository, Database], events: Path, manifest_schema: Schema
) -> None:
    leave_wal(events)
    os.truncate(events, 6000)
    os.truncate(f"{events}-wal", 4000)
    found = on_disk(bad_backup(*kept))
    manifest_schema.validate(found)
    assert (found["capture"], found["verified"], found["page_count"], found["wal"]) == ("raw", False, None, None)
    assert [file["name"] for file in found["files"]] == ["database.db.zst", "database.db-wal.zst"]
    assert found["source"]["schema_sha256"] is None
    assert found["checks"]["foreign_keys"] == {"result": "not run", "messages": [], "seconds": 0.0}


def test_warnings_are_recorded_and_do_not_make_a_backup_bad(tmp_path: Path, manifest_schema: Schema) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript("CREATE TABLE p(id PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES(1);")
    found = on_disk(backup.take(*protect(tmp_path, tmp_path / "x.db"), Progress()))
    manifest_schema.validate(found)
    assert (found["verified"], found["warnings"]) == (True, ["foreign key violations in c -> p: 1"])


def test_a_database_without_tables_is_worth_a_warning(tmp_path: Path, manifest_schema: Schema) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.executescript("PRAGMA user_version=1;")
    found = on_disk(backup.take(*protect(tmp_path, tmp_path / "x.db"), Progress()))
    manifest_schema.validate(found)
    assert found["warnings"] == ["the database has no tables"]


def test_a_table_that_cannot_be_counted_matches_the_schema(tmp_path: Path, manifest_schema: Schema) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE abcd(x); CREATE TABLE fine(x);")
    path.write_bytes(path.read_bytes().replace(b"abcd", b"a\xffcd"))
    kept, database = protect(tmp_path, path)
    found = on_disk(backup.take(kept, database, Progress()))
    manifest_schema.validate(found)
    assert found["rows"] == {"a�cd": None, "fine": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"checksum": "md5:0"},
        {"id": "20261122-full"},
        {"verified": "yes"},
        {"sequence": 0},
        {"format": {"name": "litekeep-backup", "version": 2}},
        {"times": {"started": "2026-11-22T02:00:00.000Z"}},
        {"files": []},
        {"capture": "copied"},
        {"page_size": 1000},
    ],
)
def test_the_schema_is_strict(saved: Backup, manifest_schema: Schema, change: dict[str, Any]) -> None:
    assert not manifest_schema.is_valid({**on_disk(saved), **change})


def test_the_schema_needs_every_key(saved: Backup, manifest_schema: Schema) -> None:
    found = on_disk(saved)
    for key in found:
        assert not manifest_schema.is_valid({name: value for name, value in found.items() if name != key}), key


def test_the_schema_does_not_let_an_unread_database_count(saved: Backup, manifest_schema: Schema) -> None:
    found = on_disk(saved)
    for change in ({"capture": "raw"}, {"page_count": None}, {"source": {**found["source"], "schema_sha256": None}}):
        assert not manifest_schema.is_valid({**found, **change}), change
