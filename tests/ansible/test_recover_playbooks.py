# SPDX-License-Identifier: GPL-3.0-or-later
"""recover_corruption.yml and recover_accidental_deletion.yml on this machine; with real services, see molecule/."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest
from support import ROOT

CORRUPTION = ROOT / "playbooks" / "recover_corruption.yml"
DELETION = ROOT / "playbooks" / "recover_accidental_deletion.yml"
BEFORE = 200  # rows of events
PAGE = 4096


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def ids(path):
    return [number for (number,) in query(path, "SELECT id FROM events ORDER BY id")]


def overwrite(path, kind):
    """Garbage in the second page of that type: 13 is a leaf of a table, 10 a leaf of an index."""
    with open(path, "r+b") as file:
        pages = [
            n for n in range(1, path.stat().st_size // PAGE) if file.seek(n * PAGE) >= 0 and file.read(1)[0] == kind
        ]
        file.seek(pages[1] * PAGE)
        file.write(b"\xde\xad" * (PAGE // 2))


@pytest.fixture
def run(ansible, host):
    def run(playbook, *options, confirmed=True, **more):
        variables = {
            **host.variables,
            "database": "events",
            **({"restore_confirm": "localhost:events"} if confirmed else {}),
            **more,
        }
        return ansible.playbook(playbook, *options, **variables)

    return run


@pytest.fixture
def report(ansible):
    def newest():
        files = sorted((ansible.folder / "data/litekeep/reports").glob("*.json"), key=lambda file: file.stat().st_mtime)
        assert files[-1].with_suffix(".md").read_text()
        return json.loads(files[-1].read_text())

    return newest


def untouched(host):
    """The files that count; readers leave an empty -wal and a -shm beside a database."""
    left = [file for file in host.folder.rglob("*") if file.is_file() and not file.name.endswith("-shm")]
    return {str(file): (file.stat().st_ino, file.read_bytes()) for file in left if file.stat().st_size}


def kept(host):
    return sorted(host.events.parent.glob("events.db.before-restore-*"))


# Corruption


def test_damaged_pages_are_restored_as_predicted(run, host, report):
    host.execute("CREATE INDEX by_kind ON events(kind, timestamp, payload)")
    host.back_up()
    overwrite(host.events, 13)
    before = untouched(host)
    predicted = run(CORRUPTION, "--check", "--diff")
    assert predicted.code == 0, predicted.output
    assert "strategy  restore" in predicted.output
    assert untouched(host) == before
    done = run(CORRUPTION)
    assert done.code == 0, done.output
    assert len(ids(host.events)) == BEFORE
    found = report()
    assert (found["outcome"], found["strategy"]["chosen"]) == ("restored", "restore")
    assert [found["triage"][when]["damage"] for when in ("running", "stopped")] == ["pages", "pages"]
    assert not found["loss"]["proven"]
    assert found["loss"]["seconds"] > 0
    assert found["new_backup"] == host.stored("events")[-1].parent.name
    assert "events.db" in found["kept_files"]
    assert list(found["phases"]) == ["plan", "stop", "triage", "build", "swap", "start", "health", "backup"]


def test_damaged_indexes_lose_no_row(run, host, report):
    host.execute("CREATE INDEX by_kind ON events(kind, timestamp, payload)")
    rows = query(host.events, "SELECT * FROM events ORDER BY id")
    overwrite(host.events, 10)
    done = run(CORRUPTION)
    assert done.code == 0, done.output
    assert query(host.events, "SELECT * FROM events NOT INDEXED ORDER BY id") == rows
    found = report()
    assert (found["outcome"], found["loss"]["proven"], found["data_loss_seconds"]) == ("reindexed", True, 0.0)


def test_salvage_needs_a_confirmation_of_its_own(run, host, report):
    overwrite(host.events, 13)
    nothing = run(CORRUPTION)
    assert nothing.code != 0
    assert "has no restore point" in nothing.failures[-1]
    assert "-e strategy=salvage" in nothing.failures[-1]
    inode = host.events.stat().st_ino
    beside = run(CORRUPTION, strategy="salvage")
    assert beside.code != 0
    assert "-e salvage_confirm=localhost:events" in beside.failures[-1]
    assert host.events.stat().st_ino == inode
    found = report()
    assert found["outcome"] == "salvaged beside"
    assert 0 < len(ids(found["salvaged"])) < BEFORE
    done = run(CORRUPTION, strategy="salvage", salvage_confirm="localhost:events")
    assert done.code == 0, done.output
    assert ids(host.events) == ids(found["salvaged"])
    assert report()["outcome"] == "salvaged"
    assert not report()["loss"]["proven"]


# Accidental deletion


@pytest.fixture
def deleted(host):
    """A third of the rows went, then others came, and one changed."""
    (backup,) = host.back_up("events")
    host.execute("DELETE FROM events WHERE id % 3 = 0 AND id < 199")
    host.execute("INSERT INTO events(timestamp, kind, payload) VALUES('2026', 'later', 'x')")
    host.execute("UPDATE events SET payload = 'another' WHERE id = 1")
    return backup


def test_undelete_while_the_application_runs(run, host, report, deleted):
    gone = BEFORE + 1 - len(ids(host.events))
    done = run(DELETION, to=deleted)
    assert done.code == 0, done.output
    assert ids(host.events) == list(range(1, BEFORE + 2))
    assert query(host.events, "SELECT payload FROM events WHERE id = 1") == [("another",)]
    found = report()
    assert (found["outcome"], found["put_back"], found["tables"][0]["changed"]) == ("undeleted", gone, 1)
    again = run(DELETION, to=deleted)
    assert again.code == 0, again.output
    assert "nothing to do" in again.output
    assert len(kept(host)) == 0


def test_rewind_brings_along_what_came_after_and_what_changed(run, host, report, deleted):
    asked = run(DELETION, strategy="rewind", confirmed=False)
    assert "Next: say -e around=TIME" in asked.failures[-1]
    done = run(DELETION, to=deleted, strategy="rewind", keep_changes=True)
    assert done.code == 0, done.output
    assert ids(host.events) == list(range(1, BEFORE + 2))
    assert query(host.events, "SELECT payload FROM events WHERE id = 1") == [("another",)]
    found = report()
    assert found["outcome"] == "rewound"
    assert [file["rows"] for file in found["files"] + found["changed_rows"]] == [1, 1]
    assert [file["inserted"] for file in found["imported"]] == [1]
    assert [file["replaced"] for file in found["kept_changes"]] == [1]
    assert len(kept(host)) == 1
    assert found["new_backup"] == host.stored("events")[-1].parent.name
