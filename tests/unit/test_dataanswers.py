"""Answers about rows and damage: what a program reads of them is what the published schema promises."""

from __future__ import annotations

import contextlib
import copy
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import flip
from unit.archives import Scene

from litekeep import backup, cli, dataanswers
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timefmt import to_text

Kept = tuple[Repository, Database]
QUIET = Progress()
Answer = Callable[..., Any]


@pytest.fixture
def answer(kept: Kept, answer_schema: jsonschema.Draft202012Validator, capsys: pytest.CaptureFixture[str]) -> Answer:
    """``litekeep COMMAND --json`` in this process: its answer about the one database, checked against the schema."""

    def call(command: str, *words: object, code: int = 0) -> Any:
        where = ["--database", kept[1].path, "--repository", kept[0].root, "--host", kept[0].host]
        assert cli.main([*where, command, kept[1].name, *map(str, words), "--json"]) == code
        whole = json.loads(capsys.readouterr().out)
        answer_schema.validate(whole)
        for key in whole["databases"][0]:
            # Each of them is promised: a program may rely on it.
            less = copy.deepcopy(whole)
            del less["databases"][0][key]
            assert not answer_schema.is_valid(less), key
        more = copy.deepcopy(whole)
        more["databases"][0]["surprise"] = 1
        assert not answer_schema.is_valid(more)
        return whole["databases"][0]

    return call


def execute(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as application:
        for statement in statements:
            application.execute(statement)


@pytest.fixture
def point(kept: Kept, events: Path) -> str:
    """A backup, after which rows went, came and changed."""
    made = backup.take(*kept, QUIET)
    execute(
        events,
        "DELETE FROM events WHERE id > 150",
        "UPDATE events SET kind = 'other' WHERE id = 7",
        "INSERT INTO events(id, kind) VALUES(1000, 'new')",
    )
    return made.id


def test_what_was_exported(answer: Answer, point: str, tmp_path: Path) -> None:
    whole = answer("export", "--output", tmp_path / "all")
    assert [(file["table"], file["rows"], file["range"]) for file in whole["files"]] == [("events", 151, None)]
    assert whole["files"][0]["path"] == str(tmp_path / "all" / "events.jsonl")
    assert whole["state"] == "live"
    words = ["--from", "2026-11-22T02:00:10Z", "--time-column", "timestamp", "--output", tmp_path / "part"]
    part = answer("export", "--table", "events", "--at", point, *words)
    used = part["files"][0]["range"]
    assert (used["column"], used["from"], used["to"], used["left_out"]) == ("timestamp", words[1], None, 0)
    assert part["state"] == point
    answer("export", "--table", "evnets", "--output", tmp_path / "none", code=2)


def test_what_came_after_a_moment(answer: Answer, point: str, tmp_path: Path) -> None:
    found = answer("export", "--since", point, "--output", tmp_path / "since")
    assert [each["rows"] for each in (*found["files"], *found["changed_rows"])] == [1, 1]
    assert found["point"]["id"] == point
    assert found["differences"] == [
        {"table": "events", "before": True, "now": True, "gone": 50, "came": 1, "changed": 1, "note": ""}
    ]


def test_that_nothing_came_after_a_moment(answer: Answer, kept: Kept, tmp_path: Path) -> None:
    found = answer("export", "--since", backup.take(*kept, QUIET).id, "--output", tmp_path / "since")
    assert (found["files"], found["changed_rows"], found["differences"]) == ([], [], [])


def test_what_was_imported(answer: Answer, point: str, tmp_path: Path) -> None:
    answer("export", "--table", "events", "--at", point, "--output", tmp_path / "then")
    for dry_run in (["--dry-run"], []):
        found = answer("import", tmp_path / "then", "--conflict", "ignore", *dry_run)
        (file,) = found["files"]
        assert [file[key] for key in ("rows", "inserted", "ignored", "replaced")] == [200, 50, 150, 0]
        assert (found["changed"], found["dry_run"]) == (True, bool(dry_run))
    assert answer("import", tmp_path / "then", "--conflict", "ignore")["changed"] is False
    answer("import", tmp_path / "then", code=2)


def test_what_was_put_back(answer: Answer, point: str) -> None:
    for dry_run in (["--dry-run"], []):
        found = answer("undelete", "--to", point, *dry_run)
        assert (found["changed"], found["dry_run"], found["put_back"]) == (True, bool(dry_run), 50)
        (table,) = found["tables"]
        assert [table[key] for key in ("missing", "put_back", "changed", "changed_keys")] == [50, 50, 1, ["id=7"]]
    assert answer("undelete", "--to", point)["changed"] is False
    answer("undelete", "--to", "2001-01-01T00:00:00Z", code=4)


def test_what_is_wrong_and_what_a_repair_made(answer: Answer, point: str, events: Path, tmp_path: Path) -> None:
    assert answer("triage")["damage"] == "sound"
    execute(events, "PRAGMA wal_checkpoint(TRUNCATE)")
    with contextlib.closing(sqlite3.connect(events)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_kind'").fetchone()[0]
    flip(events, (root - 1) * 4096, 4096)
    found = answer("triage", code=3)
    assert (found["damage"], found["rows"]) == ("index", {"events": 151})
    found = answer("repair", "--method", "reindex")
    assert (found["rows"], found["against"], len(found["differences"])) == ({"events": 151}, point, 1)
    assert found["result"]["swapped"] is True
    found = answer("repair", "--method", "salvage", "--target", tmp_path / "salvaged.db")
    assert found["result"]["target"] == str(tmp_path / "salvaged.db")
    flip(events, 0, 100)
    assert answer("triage", code=3)["damage"] == "header"
    events.unlink()
    assert answer("triage", code=3)["damage"] == "missing"
    answer("repair", "--method", "reindex", code=8)


def test_a_repair_without_anything_to_compare_with(answer: Answer, kept: Kept) -> None:
    assert answer("repair", "--method", "reindex")["against"] is None


def test_where_rows_went(answer: Answer, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(1.5)
    before = scene.commit(3)
    scene.db.execute("DELETE FROM events WHERE id > 50")
    scene.commit(4)
    scene.heartbeat(5)
    found = answer("commits", "--around", to_text(scene.at(3)), "--within", "1m")
    (fall,) = found["falls"]
    assert (fall["table"], fall["rows"], fall["gone"]) == ("events", 152, False)
    assert fall["before"]["point"].endswith(f"@{before.round}.{before.frame}")
    assert fall["before"]["rows"] == {"events": 202}
    assert found["from"] < fall["before"]["observed"] == to_text(scene.at(3)) < fall["after"]["observed"] == found["to"]
    answer("commits", "--around", "2001-01-01T00:00:00Z", code=4)


def test_the_newest_state_that_passes_its_checks(kept: Kept, point: str) -> None:
    newest = backup.take(*kept, QUIET)
    flip(Path(newest.folder, "database.db.zst"), 500, 400)
    found: Any = dataanswers.prepare_clean_answer(*kept, None, QUIET)
    assert found["plan"]["point"]["id"] == found["result"]["point"]["id"] == point
    assert len(found["plan"]["refused"]) == 1
    assert found["result"]["swapped"] is False
