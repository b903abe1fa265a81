# SPDX-License-Identifier: GPL-3.0-or-later
"""recover_corruption.yml: a database that is overwritten on disk while its application writes."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest
from conftest import DATABASE, SERVICE, query, shown
from watching import ALL_ROWS, Writer, eventually, listed, proven, running_timeline

testinfra_hosts = ["podman://litekeep-corruption-debian12"]

# Overwrites the header, or three pages of one kind (13: leaf of a table, 10: leaf of an index). SQLite does not look at
# pages that the WAL has newer: those are left out, and for the header it waits until all is checkpointed.
DAMAGE = f"""
import sqlite3, struct, sys, time
kind = int(sys.argv[1])
database = sqlite3.connect("{DATABASE}")
(page,) = database.execute("PRAGMA page_size").fetchone()
end = time.monotonic() + 90
with open("{DATABASE}", "r+b") as file:
    while True:
        _busy, size, done = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        wal = open("{DATABASE}-wal", "rb").read()
        frames = range(32, len(wal), 24 + page)
        later = {{struct.unpack(">I", wal[at:at + 4])[0] for at in frames if wal[at + 8:at + 16] == wal[16:24]}}
        def is_open(number):
            file.seek((number - 1) * page)
            return number not in later and file.read(1) == bytes([kind])
        (count,) = database.execute("PRAGMA page_count").fetchone()
        found = [number for number in range(2, count + 1) if is_open(number)]
        if len(found) > 10 if kind else size == done:
            break
        assert time.monotonic() < end, (size, done, found)
        time.sleep(0.05)
    if kind == 0:
        file.seek(0)
        file.write(b"\\xde\\xad" * 50)
    for number in found[len(found) // 2:][:3] if kind else []:
        file.seek((number - 1) * page)
        file.write(b"\\xde\\xad" * (page // 2))
"""
HEADER, TABLE, INDEX = 0, 13, 10

# Enough rows for pages that nobody touches any more.
SEED = f"""
import sqlite3
database = sqlite3.connect("{DATABASE}", timeout=30)
rows = (("2026-11-22T02:00:00.000Z", "seed", "s" * 200) for _number in range(2000))
with database:
    database.executemany("INSERT INTO events (timestamp, kind, payload) VALUES (?, ?, ?)", rows)
"""


@pytest.fixture
def writer(host):
    running_timeline(host)
    host.check_output("runuser -u litekeep-example -- python3 -c %s", SEED)
    load = Writer(host)
    load.start()
    yield load
    load.stop()


def damage(host, kind):
    host.check_output(f"python3 -c %s {kind}", DAMAGE)


def triage(host):
    return json.loads(host.run("litekeep triage events --json").stdout)["databases"][0]["damage"]


def recover(playbook, *options, code=0, **more):
    more = {"restore_confirm": f"{playbook.host}:events", **more}
    return playbook("recover_corruption.yml", *options, code=code, database="events", **more)


def report(playbook):
    newest = max(playbook.reports.glob("*.json"), key=lambda file: file.stat().st_mtime)
    return json.loads(newest.read_text())


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def is_true(found, writer, elapsed, writing=True):
    """What the report says, against the writer's own log. Returns what was acknowledged and is lost."""
    times = [when for _event, when in writer.acknowledged()]
    stopped = seconds(found["stopped"])
    before = max(when for when in times if when <= stopped)
    after = min(when for when in times if when > stopped)
    lost = writer.lost()
    if found["loss"]["proven"]:
        assert (found["loss"]["seconds"], lost) == (0.0, [])
    else:
        # The time of the log is that of the answer, a moment after the commit.
        assert all(stopped - found["loss"]["seconds"] <= when + 1 for _event, when in lost)
    # From stop to health check; the writer finds the service gone a little later and there again a little earlier.
    assert not writing or after - before <= found["downtime_seconds"] + 1
    assert found["downtime_seconds"] < found["recovery_seconds"] <= elapsed
    assert found["recovery_seconds"] == pytest.approx(sum(found["phases"].values()), abs=0.01)
    return lost


@pytest.mark.parametrize(("kind", "named", "outcome"), [(TABLE, "pages", "restored"), (INDEX, "index", "reindexed")])
def test_overwritten_pages_cost_no_acknowledged_row(host, app, playbook, writer, kind, named, outcome):
    writer.more(100)
    damage(host, kind)
    writer.more(50)
    assert triage(host) == named
    known = listed(host)
    begun = time.monotonic()
    recover(playbook)
    elapsed = time.monotonic() - begun
    writer.more(50)
    writer.stop()
    found = report(playbook)
    assert is_true(found, writer, elapsed) == []
    assert (found["outcome"], found["loss"]["proven"]) == (outcome, True)
    assert [found["triage"][when]["damage"] for when in ("running", "stopped")] == [named, named]
    assert found["health_check"] == "passed"
    # Set aside: what stood there, all of it.
    assert "events.db" in found["kept_files"]
    for name, size in found["kept_files"].items():
        assert host.file(f"{found['kept']}/{name}").size == size
    # Protected again: a new timeline, and a backup of what stands there now.
    timeline = running_timeline(host)
    assert timeline["id"] not in [each["id"] for each in known["timelines"]]
    assert found["new_backup"] not in [each["id"] for each in known["backups"]]
    app.add("works")
    assert triage(host) == "sound"
    assert "nothing to do" in recover(playbook)


def test_an_overwritten_header(host, app, playbook, writer):
    """The next page that the file grows by brings page 1 into the WAL, and then SQLite reads it there: so, it rests."""
    writer.more(100)
    writer.pause()
    proven(host)
    damage(host, HEADER)
    assert triage(host) == "header"
    app.add("after the damage")
    begun = time.monotonic()
    recover(playbook)
    elapsed = time.monotonic() - begun
    writer.resume()
    writer.more(50)
    writer.stop()
    found = report(playbook)
    assert is_true(found, writer, elapsed, writing=False) == []
    # By the time of the stop the WAL may have a newer first page.
    assert found["outcome"] in ("restored", "reindexed")
    assert found["triage"]["running"]["damage"] == "header"
    assert found["loss"]["proven"]
    assert "after the damage" in app.kinds()


def test_nothing_happens_without_confirmation_and_nothing_stays_after_a_failure(host, app, playbook, writer):
    writer.stop()
    damage(host, TABLE)
    before = shown(host, SERVICE, "MainPID", "InvocationID"), host.check_output(f"sha256sum {DATABASE}")
    for said in ({"restore_confirm": ""}, {"restore_confirm": "events"}, {"restore_confirm": f"{playbook.host}:other"}):
        assert "pages of tables are damaged" in recover(playbook, code=1, **said)
    assert "strategy  restore" in recover(playbook, "--check", "--diff")
    assert (shown(host, SERVICE, "MainPID", "InvocationID"), host.check_output(f"sha256sum {DATABASE}")) == before
    assert not playbook.reports.exists()
    policy = {"name": "events", "path": DATABASE, "services": [SERVICE], "archive": True}
    policy["health_check"] = {"command": ["/bin/false"], "retries": 0}
    said = recover(playbook, code=1, sqlite_backup_databases=[policy])
    assert "was not restored" in said
    found = report(playbook)
    assert (found["outcome"], found["loss"]) == ("rolled back", None)
    assert triage(host) == "pages"
    assert shown(host, SERVICE, "ActiveState") == {"ActiveState": "active"}
    rows = len(query(host, "SELECT 1 FROM events NOT INDEXED WHERE id > (SELECT max(id) FROM events) - 5"))
    assert rows == 5
    recover(playbook)
    assert triage(host) == "sound"
    eventually(lambda: query(host, ALL_ROWS))
