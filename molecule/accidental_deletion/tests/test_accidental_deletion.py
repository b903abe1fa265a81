# SPDX-License-Identifier: GPL-3.0-or-later
"""recover_accidental_deletion.yml: a third of the rows and a table are deleted, and the application writes on."""

from __future__ import annotations

import json

import pytest
from conftest import DATABASE, SERVICE, query, shown
from watching import ALL_ROWS, Writer, host_time, proven, running_timeline

testinfra_hosts = ["podman://litekeep-deletion-debian12"]

NOTES = "SELECT * FROM notes ORDER BY name"
SCHEMA = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
MAKE = """
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT UNIQUE, size INTEGER AS (length(text))) WITHOUT ROWID;
CREATE INDEX notes_size ON notes (size);
CREATE TRIGGER notes_guard BEFORE DELETE ON notes BEGIN SELECT raise(ABORT, 'notes stay') WHERE old.name = 'n0'; END;
INSERT INTO notes (name, text) SELECT 'n' || value, 'note ' || value FROM json_each('[0,1,2,3,4,5,6,7,8,9]');
"""
DELETE = "DELETE FROM events WHERE id % 3 = 0 AND id < (SELECT max(id) FROM events); DROP TABLE notes;"


def execute(host, script):
    """As the application's user, beside the application."""
    program = f"import sqlite3; sqlite3.connect({DATABASE!r}, timeout=30).executescript({script!r})"
    host.check_output("runuser -u litekeep-example -- python3 -c %s", program)


class Accident:
    """What was there before, when that was, and what has been written since."""

    def __init__(self, host):
        self.host = host
        running_timeline(host)
        if not query(host, "SELECT 1 FROM sqlite_master WHERE name = 'notes'"):
            execute(host, MAKE)
        self.writer = Writer(host)
        self.writer.start()
        self.writer.more(200)
        self.writer.pause()
        self.rows, self.notes, self.schema = (query(host, sql) for sql in (ALL_ROWS, NOTES, SCHEMA))
        # The last one before the accident: what came between it and the accident, and went by it, is in neither state.
        self.moment = proven(host)
        execute(host, DELETE)
        self.suspected = host_time(host)
        self.writer.resume()
        self.writer.more(100)

    def is_undone(self):
        """Every row from before and every one that was acknowledged after is there, once."""
        self.writer.stop()
        assert self.writer.lost() == []
        assert query(self.host, ALL_ROWS)[: len(self.rows)] == self.rows
        assert query(self.host, NOTES) == self.notes
        assert query(self.host, SCHEMA) == self.schema


@pytest.fixture
def accident(host):
    made = Accident(host)
    yield made
    made.writer.stop()


def recover(playbook, *options, code=0, **more):
    more = {"restore_confirm": f"{playbook.host}:events", **more}
    return playbook("recover_accidental_deletion.yml", *options, code=code, database="events", **more)


def report(playbook):
    newest = max(playbook.reports.glob("*.json"), key=lambda file: file.stat().st_mtime)
    return json.loads(newest.read_text())


def test_undelete_while_the_service_runs(host, app, playbook, litekeep, accident):
    said = recover(playbook, code=1, around=accident.suspected, within="1m")
    falls = litekeep(f"commits events --around {accident.suspected} --within 1m")["databases"][0]["falls"]
    assert [fall["table"] for fall in falls] == ["events", "notes"]
    # Two commits: the rows went with the first, the table with the second.
    assert [(fall["gone"], fall["looks"]) for fall in falls] == [(False, 1), (True, 1)]
    point = falls[0]["before"]["point"]
    assert point in said
    accident.writer.pause()
    before = shown(host, SERVICE, "MainPID", "InvocationID"), query(host, ALL_ROWS)
    for said in ({"restore_confirm": ""}, {"restore_confirm": f"{playbook.host}:other"}):
        assert "would be put back" in recover(playbook, code=1, to=point, **said)
    assert "would be put back" in recover(playbook, "--check", "--diff", to=point)
    assert (shown(host, SERVICE, "MainPID", "InvocationID"), query(host, ALL_ROWS)) == before
    accident.writer.resume()
    recover(playbook, to=point)
    found = report(playbook)
    # Under load, and the service never stopped.
    accident.writer.more(20)
    assert shown(host, SERVICE, "MainPID", "InvocationID") == before[0]
    accident.is_undone()
    assert (found["outcome"], found["health_check"]) == ("undeleted", "passed")
    assert found["put_back"] == sum(table["put_back"] for table in found["tables"])
    assert next(table for table in found["tables"] if table["table"] == "notes")["made_again"]
    assert "nothing to do" in recover(playbook, to=point)


def test_rewind(host, app, playbook, accident):
    known = running_timeline(host)["id"]
    before = shown(host, SERVICE, "MainPID", "InvocationID")
    wanted = {"to": accident.moment, "strategy": "rewind"}
    assert "rows come back" in recover(playbook, code=1, restore_confirm="", **wanted)
    assert "rows come back" in recover(playbook, "--check", "--diff", **wanted)
    assert shown(host, SERVICE, "MainPID", "InvocationID") == before
    recover(playbook, **wanted)
    accident.writer.more(20)
    found = report(playbook)
    accident.is_undone()
    assert (found["outcome"], found["health_check"], found["failures"]) == ("rewound", "passed", [])
    assert found["files"]
    assert all(host.file(file["path"]).exists for file in found["files"])
    assert sum(file["rows"] for file in found["files"]) == sum(file["inserted"] for file in found["imported"])
    assert host.file(f"{found['kept']}/events.db").exists
    assert running_timeline(host)["id"] != known
    app.add("works")
    assert "nothing to do" in recover(playbook, **wanted)


def test_a_rewind_that_fails_brings_the_present_state_back(host, app, playbook, accident):
    accident.writer.stop()
    rows = query(host, ALL_ROWS)
    policy = {"name": "events", "path": DATABASE, "services": [SERVICE], "archive": True}
    policy["health_check"] = {"command": ["/bin/false"], "retries": 0}
    said = recover(playbook, code=1, to=accident.moment, strategy="rewind", sqlite_backup_databases=[policy])
    assert "was not restored" in said
    assert report(playbook)["outcome"] == "rolled back"
    assert query(host, ALL_ROWS) == rows
    assert shown(host, SERVICE, "ActiveState") == {"ActiveState": "active"}
    running_timeline(host)
    recover(playbook, to=accident.moment)
    accident.is_undone()
