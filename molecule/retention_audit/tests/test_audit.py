# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in which four hosts have something wrong: the audit finds just that, and nothing once it is mended."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import testinfra
from conftest import DATABASE, SERVICE, Application
from recovering import Runbook, podman
from watching import ARCHIVE, eventually, listed, proven

SCENARIO = Path(__file__).resolve().parents[1]
GOOD, STALE, GAP, OPEN, DOWN = (f"litekeep-audit-{name}" for name in ("good", "stale", "gap", "open", "down"))
VAULT = "litekeep-audit-vault"
NOTES = "/srv/notes/notes.db"
MAKE_NOTES = f"""
import os, sqlite3
os.makedirs(os.path.dirname("{NOTES}"))
database = sqlite3.connect("{NOTES}")
database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
database.execute("INSERT INTO notes (text) VALUES ('to be kept')")
database.commit()
"""
testinfra_hosts = [f"podman://{GOOD}"]


def on(name):
    return testinfra.get_host(f"podman://{name}")


def run(name, *units):
    for unit in units:
        on(name).check_output(f"systemctl start {unit}")


def arrived(name):
    """Whether all verified backups and the archive's base stand sealed on the backup server."""
    ours = {backup["id"] for backup in listed(on(name))["backups"]}
    folder = f"/srv/litekeep/{name}/events"
    theirs = set(on(VAULT).run(f"ls {folder}/backups").stdout.split())
    timelines = {timeline["id"] for timeline in listed(on(name))["timelines"]}
    return ours <= theirs and timelines <= set(on(VAULT).run(f"ls {folder}/archive").stdout.split())


def leave_a_gap(name):
    """Commits that nobody saw: the application goes on, and begins its WAL anew, while the archive is down."""
    host = on(name)
    host.check_output(f"systemctl stop {ARCHIVE}")
    for kind in ("unseen", "unseen too"):
        Application(host).add(kind)
        host.check_output(f"systemctl restart {SERVICE}")
        eventually(lambda: Application(host).count())
    host.check_output(f"systemctl start {ARCHIVE}")
    eventually(lambda: listed(host)["gaps"] and listed(host)["timelines"][-1]["base"])


class Audit:
    """One run of the playbook and its four reports."""

    def __init__(self, folder, code, **variables):
        self.folder = folder / f"audit-{len(list(folder.iterdir()))}"
        book = Runbook(SCENARIO, folder, {"audit_reports": str(self.folder), **variables}, "retention_audit.yml")
        self.output = book.run(code=code)
        self.report = json.loads((self.folder / "audit.json").read_text())

    def wrong(self):
        """What is at or above a warning: host, database, control."""
        found = [each for each in self.report["findings"] if each["severity"] != "notice"]
        return sorted((each["host"], each["database"], each["id"]) for each in found)

    def worst(self):
        return {(row["host"], row["database"]): row["worst"] for row in self.report["databases"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def first(folder):
    """The audit of the fleet as it has come to be."""
    for name in (GOOD, STALE, GAP, OPEN, DOWN):
        run(name, "litekeep-backup@events.service")
    run(GOOD, "litekeep-backup@events.service", "litekeep-backup@events.service")
    Application(on(GOOD)).add("after the backups")
    proven(on(GOOD))
    leave_a_gap(GAP)
    on(OPEN).check_output("python3 -c %s", MAKE_NOTES)
    for name in (GOOD, STALE, GAP, OPEN, DOWN):
        run(name, "litekeep-drill.service")
        eventually(lambda name=name: arrived(name), 120)
    podman("stop", DOWN)
    eventually(lambda: "the objective is" in on(STALE).run("litekeep status events").stdout, 240)
    return Audit(folder, code=1)


def test_every_kept_backup_was_drilled_by_the_service(host, first):
    lines = host.file("/var/lib/litekeep/litekeep-audit-good/events/drills/history.jsonl").content_string.splitlines()
    drilled = [json.loads(line) for line in lines]
    kept = {backup["id"] for backup in listed(host)["backups"]}
    assert len(kept) >= 3
    assert kept <= {each["point"] for each in drilled}
    assert {each["result"] for each in drilled} == {"passed"}
    assert any(each["archive"] for each in drilled)


def test_the_audit_finds_what_is_wrong_and_nothing_else(first):
    assert first.wrong() == [
        (DOWN, None, "LK01"),
        (GAP, "events", "LK06"),
        (OPEN, None, "LK02"),
        (STALE, "events", "LK03"),
    ], first.output
    assert any(NOTES in each["evidence"] for each in first.report["findings"] if each["host"] == OPEN)


def test_the_good_host_is_green_and_the_host_that_is_down_is_known_from_the_backup_server(first):
    worst = first.worst()
    assert worst[GOOD, "events"] in ("ok", "notice")
    rows = {row["host"]: row for row in first.report["databases"]}
    assert (rows[DOWN]["seen_by"], rows[DOWN]["controls"]["LK01"]) == ([VAULT], "critical")
    assert rows[GOOD]["seen_by"] == [GOOD, VAULT]
    assert rows[DOWN]["newest"]


def test_it_fails_after_the_reports_are_written_and_says_where_they_are(first):
    assert "not compliant: 6 asked" in first.output
    for name in ("audit.json", "audit.csv", "audit.prom", "audit.html"):
        assert (first.folder / name).stat().st_size > 1000, name
        assert str(first.folder / name) in first.output
    with open(first.folder / "audit.csv", newline="") as stream:
        assert {row["host"] for row in csv.DictReader(stream)} >= {GOOD, STALE, GAP, OPEN, DOWN}
    assert "litekeep_audit_compliant 0" in (first.folder / "audit.prom").read_text()
    page = (first.folder / "audit.html").read_text()
    assert all(name in page for name in (GOOD, STALE, GAP, OPEN, DOWN))


@pytest.fixture(scope="module")
def mended(folder, first):
    """The audit after each was mended as its finding says."""
    podman("start", DOWN)
    eventually(lambda: on(DOWN).run("systemctl is-system-running").stdout.strip() == "running")
    protect = {"notes_are_protected": True}
    Runbook(SCENARIO, folder, protect, "install.yml").run("--limit", OPEN)
    run(OPEN, "litekeep-backup@notes.service", "litekeep-drill.service")
    run(STALE, "litekeep-backup@events.service")
    return Audit(folder, code=0, gap_is_known=True, **protect)


def test_after_mending_all_is_green_and_the_playbook_succeeds(mended):
    assert mended.wrong() == []
    assert set(mended.worst().values()) <= {"ok", "notice"}
    assert (OPEN, "notes") in mended.worst()
    assert "a test made it" in next(each["evidence"] for each in mended.report["findings"] if each["id"] == "LK06")


def test_a_damaged_backup_is_said_by_drill_status_audit_and_no_longer_counts(host, mended, folder):
    oldest = listed(host)["backups"][0]
    path = f"{oldest['path']}/database.db.zst"
    host.check_output("printf X | dd of=%s bs=1 seek=100 conv=notrunc status=none", path)
    assert host.run("systemctl start litekeep-drill.service").rc != 0
    status = json.loads(host.run("litekeep status events --json").stdout)
    assert status["exit_code"] == 3
    assert any(oldest["id"] in finding for finding in status["databases"][0]["findings"])
    plan = json.loads(host.check_output("litekeep prune events --dry-run --json"))["databases"][0]
    assert [item["state"] for item in plan["items"] if item["id"] == oldest["id"]] == ["damaged"]
    after = Audit(folder, code=1, gap_is_known=True, notes_are_protected=True)
    assert after.wrong() == [(GOOD, "events", "LK04"), (GOOD, "events", "LK10")]


def test_the_backup_server_answers_without_any_host(first, folder):
    done = on(VAULT).run("litekeep audit --repository /srv/litekeep --fail-on critical --json")
    report = json.loads(done.stdout)
    assert {row["host"] for row in report["databases"]} == {GOOD, STALE, GAP, OPEN, DOWN}
    assert (done.rc, report["compliant"]) == (0, True), done.stdout
    assert DATABASE in {row["path"] for row in report["databases"]}
