# SPDX-License-Identifier: GPL-3.0-or-later
"""export.yml, import.yml and undelete.yml as an operator runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import ROOT

from litekeep.config import Database
from litekeep.export import Request, export
from litekeep.progress import Progress
from litekeep.repository import Repository

EXPORT, IMPORT, UNDELETE = (ROOT / "playbooks" / f"{name}.yml" for name in ("export", "import", "undelete"))
CONFIRM = "localhost:events"


def rows(path, statement="SELECT count(*) FROM events"):
    with contextlib.closing(sqlite3.connect(path)) as application:
        return application.execute(statement).fetchone()[0]


@pytest.fixture
def short(host):
    """events has lost rows since the backup, changed one, and got another."""
    host.back_up()
    host.execute("DELETE FROM events WHERE id > 150")
    host.execute("UPDATE events SET kind = 'other' WHERE id = 7")
    host.execute("INSERT INTO events(id, kind) VALUES(1000, 'new')")
    host.backup = host.stored("events")[0].parent.name
    return host


@pytest.fixture
def exported(short, tmp_path):
    """All rows of then in a file."""
    repository = Repository(short.where["repository"], short.where["host"])
    database = Database("events", str(short.events))
    file = str(tmp_path / "then.jsonl")
    export(repository, database, Request(table="events", at=short.backup), file, Progress())
    return file


def dump(path):
    with contextlib.closing(sqlite3.connect(path)) as application:
        return list(application.iterdump())


# export.yml


def test_export_brings_all_tables_here_and_can_be_run_twice(ansible, host, tmp_path):
    variables = {**host.variables, "database": "events", "fetch_to": str(tmp_path / "here"), "zstd": "true"}
    predicted = ansible.playbook(EXPORT, "--check", **variables)
    assert predicted.code == 0, predicted.output
    assert "200 rows" in str(predicted.task("Show what was exported")["msg"])
    assert not (tmp_path / "here").exists()
    assert not Path(predicted.task("Export")["databases"][0]["files"][0]["path"]).parent.exists()
    outcomes = [ansible.playbook(EXPORT, **variables) for _ in range(2)]
    folders = [Path(each.task("Export")["databases"][0]["files"][0]["path"]).parent for each in outcomes]
    try:
        assert [each.code for each in outcomes] == [0, 0], outcomes[0].output
        assert folders[0] != folders[1]
        assert folders[0].stat().st_mode & 0o777 == 0o700
        (fetched,) = (tmp_path / "here" / "localhost" / "events").iterdir()
        assert fetched.name == "events.jsonl.zst"
        assert fetched.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    finally:
        for folder in folders:
            shutil.rmtree(folder)


def test_export_hands_on_what_it_is_told(ansible, short, tmp_path):
    given = {"table": "events", "format": "csv", "plain": "true", "output": str(tmp_path / "a.csv"), "at": short.backup}
    given |= {"time_from": "2026-11-22T02:00:10Z", "time_to": "2026-11-22T03:00:20+01:00", "time_column": "timestamp"}
    outcome = ansible.playbook(EXPORT, **short.variables, database="events", **given)
    assert outcome.code == 0, outcome.output
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 40
    since = {"since": short.backup, "output": str(tmp_path / "since"), "fetch_to": str(tmp_path / "here")}
    outcome = ansible.playbook(EXPORT, **short.variables, database="events", **since)
    assert outcome.code == 0, outcome.output
    here = tmp_path / "here" / "localhost" / "events"
    assert [len((here / name).read_text().splitlines()) for name in ("events.jsonl", "changed/events.jsonl")] == [2, 2]


@pytest.mark.parametrize("playbook", [EXPORT, IMPORT, UNDELETE])
def test_an_unknown_database_is_refused_with_the_known_ones(ansible, host, playbook):
    before = host.tree()
    outcome = ansible.playbook(playbook, **host.variables, database="event", files="/f", to="latest")
    assert outcome.code != 0
    assert 'no database called "event"' in outcome.failures[0]
    assert "Its databases: events, orders." in outcome.failures[0]
    assert host.tree() == before


# import.yml


def test_import_shows_the_plan_and_asks_before_it_writes(ansible, short, exported):
    before = dump(short.events)
    cwd = Path("/")
    playbook = os.path.relpath(IMPORT, cwd)
    asked = {**short.variables, "database": "events", "files": exported, "conflict": "ignore"}
    for confirmation in ({}, {"import_confirm": "localhost:event"}):
        outcome = ansible.playbook(playbook, cwd=cwd, **asked, **confirmation)
        assert outcome.code != 0
        assert "would be inserted 50, ignored (there already) 150" in str(outcome.task("Show the plan")["msg"])
        assert f"run the same command with -e import_confirm={CONFIRM}" in outcome.failures[0]
        assert outcome.changed == []
        assert dump(short.events) == before
    predicted = ansible.playbook(playbook, "--check", "--diff", cwd=cwd, **asked, import_confirm=CONFIRM)
    assert dump(short.events) == before
    real, again = (ansible.playbook(playbook, "--diff", cwd=cwd, **asked, import_confirm=CONFIRM) for _ in range(2))
    assert [each.code for each in (predicted, real, again)] == [0, 0, 0], real.output
    assert [each.changed for each in (predicted, real, again)] == [["Import"], ["Import"], []]
    assert "+events: 50 inserted, 150 ignored of" in predicted.output
    assert "inserted 50, ignored (there already) 150" in str(real.task("Show what was done")["msg"])
    assert rows(short.events) == 201


def test_import_of_rows_that_are_there_or_of_nothing_fails_before_it_asks(ansible, short, exported):
    asked = {**short.variables, "database": "events"}
    outcome = ansible.playbook(IMPORT, **asked, files=[exported], import_confirm=CONFIRM)
    assert outcome.code != 0
    assert "is in events already" in outcome.failures[0]
    assert rows(short.events) == 151
    nothing = ansible.playbook(IMPORT, **asked, import_confirm=CONFIRM)
    assert "Files: none." in nothing.failures[0]


# undelete.yml


def test_undelete_shows_the_plan_and_asks_before_it_writes(ansible, short):
    asked = {**short.variables, "database": "events", "to": short.backup, "tables": "events"}
    before = dump(short.events)
    for confirmation in ({}, {"undelete_confirm": "localhost:orders"}):
        outcome = ansible.playbook("../playbooks/undelete.yml", cwd=ROOT / "playbooks", **asked, **confirmation)
        assert outcome.code != 0
        assert "events: 50 rows would be put back" in outcome.task("Show the plan")["msg"]
        assert f"run the same command with -e undelete_confirm={CONFIRM}" in outcome.failures[0]
        assert outcome.changed == []
        assert dump(short.events) == before
    predicted = ansible.playbook(UNDELETE, "--check", "--diff", **asked, undelete_confirm=CONFIRM)
    assert dump(short.events) == before
    real, again = (ansible.playbook(UNDELETE, "--diff", **asked, undelete_confirm=CONFIRM) for _ in range(2))
    assert [each.code for each in (predicted, real, again)] == [0, 0, 0], real.output
    assert [each.changed for each in (predicted, real, again)] == [["Undelete"], ["Undelete"], []]
    for each in (predicted, real):
        assert "-events: 50 rows missing" in each.output
    assert "events: 50 rows put back" in real.task("Show what was done")["msg"]
    assert rows(short.events) == 201
    assert rows(short.events, "SELECT kind FROM events WHERE id = 7") == "other"


def test_undelete_of_a_moment_that_cannot_be_had_fails_before_it_asks(ansible, short):
    asked = {**short.variables, "database": "events", "undelete_confirm": CONFIRM}
    early = ansible.playbook(UNDELETE, **asked, to="2001-01-01T00:00:00Z")
    nothing = ansible.playbook(UNDELETE, **asked)
    assert "before the first" in early.failures[0]
    assert "Moment: none." in nothing.failures[0]
    assert rows(short.events) == 151


@pytest.mark.parametrize(("playbook", "word"), [(IMPORT, "import"), (UNDELETE, "undelete")])
def test_only_the_host_that_the_confirmation_names_is_touched(ansible, short, exported, playbook, word):
    ansible.hosts = {"app1": {}, "app2": {}}
    asked = {**short.variables, "database": "events", "to": short.backup, "conflict": "ignore", "files": exported}
    outcome = ansible.playbook(playbook, **asked, **{f"{word}_confirm": "app2:events"})
    assert outcome.code == 0, outcome.output
    assert "DEPRECAT" not in outcome.output
    assert {task["host"] for task in outcome.tasks} == {"app2"}
    assert rows(short.events) == 201
