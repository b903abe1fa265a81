# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores to moments through restore.yml, and moments that cannot be restored."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from conftest import DATABASE, SERVICE, query, shown
from history import History
from watching import ALL_ROWS, ARCHIVE, eventually, host_time, listed, running_timeline

# The release with the older SQLite; test_archive_service.py looks at both.
testinfra_hosts = ["podman://litekeep-pitr-debian12"]


@pytest.fixture(scope="module")
def history(host):
    return History(host)


def restore(playbook, moment, code=0, **more):
    return playbook(
        "restore.yml", code=code, database="events", restore_confirm=f"{playbook.host}:events", to=moment, **more
    )


def stamp(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00"))


def test_restarts_of_the_service_and_of_the_archive_leave_no_gap(history):
    assert history.unbroken["timelines"][-1]["id"] == history.begun_in
    assert history.unbroken["timelines"][-1]["state"] == "running"


def test_an_archive_that_is_killed_comes_back_and_is_reported(host, history):
    assert shown(host, ARCHIVE, "ActiveState", "NRestarts")["ActiveState"] == "active"
    report = f"litekeep-failure@{ARCHIVE}.service"
    said = eventually(lambda: host.run(f"journalctl --output=cat --priority=err --unit={report}").stdout)
    assert f"{ARCHIVE} failed" in said
    # Exact, or a gap with its two ends: whatever it is, it is told.
    for gap in history.before_restores["gaps"]:
        assert stamp(gap["from"]) <= stamp(gap["to"])
        assert gap["reason"]


# Not in their order: each restore starts a timeline of its own, and the others keep their moments.
@pytest.mark.parametrize("name", ["second", "first", "third"])
def test_restore_to_a_moment_is_that_moment_exactly(host, app, history, playbook, name):
    moment = history.moments[name]
    known = listed(host)
    restore(playbook, moment.time)
    assert query(host, ALL_ROWS) == moment.rows

    report = json.loads(next(playbook.reports.glob("*.json")).read_text())
    assert (report["outcome"], report["archive"]["state"]) == ("restored", "active")
    point = report["point"]
    assert stamp(point["requested"]) == stamp(moment.time)
    assert stamp(point["last_commit_observed"]) <= stamp(point["recovered"]) <= stamp(moment.time)
    assert point["next"] is None or stamp(moment.time) < stamp(point["next"])

    timeline = running_timeline(host)
    assert timeline["id"] not in [each["id"] for each in known["timelines"]]
    now = listed(host)
    assert len(now["timelines"]) == len(known["timelines"]) + 1
    assert now["windows"][-1]["timeline"] == timeline["id"]
    gap = now["gaps"][-1]
    assert stamp(gap["from"]) < stamp(gap["to"]) == stamp(now["windows"][-1]["from"])
    # And it archives: what the application writes now can be restored again.
    app.add(f"after-{name}")
    written = host_time(host)
    eventually(lambda: listed(host)["windows"][-1]["to"] > written)
    # Not its exit code: a gap is a finding for a while.
    assert json.loads(host.run("litekeep status events --json").stdout)["databases"][0]["archive"]["running"]


def in_the_last_gap(host):
    gap = listed(host)["gaps"][-1]
    middle = stamp(gap["from"]) + (stamp(gap["to"]) - stamp(gap["from"])) / 2
    return middle.isoformat(timespec="milliseconds")


def in_an_hour(host):
    return host.check_output("date --utc --date='1 hour' +%Y-%m-%dT%H:%M:%SZ")


def everything(host):
    """What a refused restore must leave alone."""
    files = host.check_output(f"find {DATABASE.rsplit('/', 1)[0]} -printf '%p %i\\n' | sort")
    units = [shown(host, unit, "MainPID", "InvocationID", "ActiveState") for unit in (SERVICE, ARCHIVE)]
    return files, units, query(host, ALL_ROWS), len(listed(host)["timelines"])


@pytest.mark.parametrize(("target", "words"), [(in_the_last_gap, "gap"), (in_an_hour, "future")])
def test_a_moment_that_cannot_be_restored_is_refused_and_nothing_is_touched(host, history, playbook, target, words):
    if not listed(host)["gaps"]:
        restore(playbook, history.moments["first"].time)
        running_timeline(host)
    before = everything(host)
    said = restore(playbook, target(host), code=1)
    assert words in said
    assert "Replace the database" not in said
    assert everything(host) == before
    assert not playbook.reports.exists()


def test_a_restore_that_fails_puts_everything_back_and_the_archive_runs_again(host, history, playbook):
    running_timeline(host)
    rows = query(host, ALL_ROWS)
    check = {"command": ["/bin/false"], "retries": 0}
    policy = {"name": "events", "path": DATABASE, "services": [SERVICE], "archive": True, "health_check": check}
    said = restore(playbook, history.moments["first"].time, code=1, sqlite_backup_databases=[policy])
    assert "was not restored" in said
    assert "Archive: active." in said
    assert query(host, ALL_ROWS) == rows
    running_timeline(host)


def test_a_service_that_does_not_stop_costs_neither_the_archive_nor_space(host, history, playbook):
    """Given up after the new file was built: nothing of it stays."""
    directory = f"/run/systemd/system/{SERVICE}.d"
    host.check_output(f"mkdir -p {directory}")
    host.check_output(f"printf '[Service]\\nExecStop=/bin/sleep 8\\n' > {directory}/zz-slow.conf")
    host.check_output("systemctl daemon-reload")
    try:
        said = restore(playbook, history.moments["first"].time, code=1, recovery_stop_timeout=1)
        assert "did not stop within 1 seconds" in said
    finally:
        host.check_output(f"rm -r {directory} && systemctl daemon-reload")
    assert host.check_output(f"find {DATABASE.rsplit('/', 1)[0]} -name '.litekeep*'") == ""
    eventually(lambda: host.run(f"systemctl start {SERVICE}").rc == 0)
    running_timeline(host)
