# SPDX-License-Identifier: GPL-3.0-or-later
"""restore.yml on a running application: in place, refused, and rolled back."""

from __future__ import annotations

import json
import time

import pytest
from conftest import DATABASE, SERVICE


@pytest.fixture
def marked(host, app):
    """A backup that holds ``before``; ``after`` was written later. Both unique to this test."""
    mark = str(time.time_ns())
    app.add(f"before-{mark}")
    host.check_output("systemctl start litekeep-backup@events.service")
    app.add(f"after-{mark}")
    return f"before-{mark}", f"after-{mark}"


def confirmed(playbook):
    return {"database": "events", "restore_confirm": f"{playbook.host}:events"}


def is_active(host):
    return host.check_output(f"systemctl is-active {SERVICE}") == "active"


def test_restore_in_place(host, app, playbook, marked):
    before, after = marked
    playbook("restore.yml", **confirmed(playbook))
    assert before in app.kinds()
    assert after not in app.kinds()
    assert is_active(host)
    app.add("works")
    file = host.file(DATABASE)
    assert (file.user, file.group, file.mode) == ("litekeep-example", "litekeep-example", 0o600)
    kept = host.check_output(f"ls -d {DATABASE}.before-restore-*").split()[-1]
    assert host.file(f"{kept}/events.db").exists
    report = json.loads(next(playbook.reports.glob("*.json")).read_text())
    assert report["outcome"] in ("restored", "recovered"), report


def test_without_the_exact_confirmation_nothing_is_touched(host, app, playbook, marked):
    pid = host.check_output(f"systemctl show --property=MainPID --value {SERVICE}")
    for said in ({}, {"restore_confirm": "events"}, {"restore_confirm": f"{playbook.host}:other"}):
        playbook("restore.yml", code=1, database="events", **said)
    assert set(marked) <= app.kinds()
    assert host.check_output(f"systemctl show --property=MainPID --value {SERVICE}") == pid


def test_check_mode_tells_the_plan_and_touches_nothing(host, app, playbook, marked):
    pid = host.check_output(f"systemctl show --property=MainPID --value {SERVICE}")
    said = playbook("restore.yml", "--check", "--diff", **confirmed(playbook))
    assert "would be restored from" in said
    assert set(marked) <= app.kinds()
    assert host.check_output(f"systemctl show --property=MainPID --value {SERVICE}") == pid


def test_a_health_check_that_fails_brings_the_old_state_back(host, app, playbook, marked):
    check = {"command": ["/bin/false"], "retries": 1, "delay": 0}
    policy = {"name": "events", "path": DATABASE, "services": [SERVICE], "health_check": check}
    said = playbook("restore.yml", code=1, sqlite_backup_databases=[policy], **confirmed(playbook))
    assert "was not restored" in said
    assert set(marked) <= app.kinds()
    assert is_active(host)
    app.add("works-again")


def test_a_service_that_does_not_stop_is_left_alone(host, app, playbook, marked):
    """The service ignores SIGTERM for longer than anybody waits."""
    directory = f"/run/systemd/system/{SERVICE}.d"
    host.check_output(f"mkdir -p {directory}")
    host.check_output(f"printf '[Service]\\nExecStop=/bin/sleep 40\\nTimeoutStopSec=60\\n' > {directory}/zz-slow.conf")
    host.check_output("systemctl daemon-reload")
    try:
        said = playbook("restore.yml", code=1, recovery_stop_timeout=3, **confirmed(playbook))
        assert "did not stop within 3 seconds" in said
    finally:
        host.check_output(f"rm -r {directory} && systemctl daemon-reload")
    deadline = time.monotonic() + 90
    while host.run(f"systemctl is-active {SERVICE}").stdout.strip() != "active":
        assert time.monotonic() < deadline
        host.run(f"systemctl start {SERVICE}")
        time.sleep(1)
    assert set(marked) <= app.kinds()


def test_another_process_that_has_the_database_open_is_named(host, app, playbook, marked):
    unit = f"holder-{time.time_ns()}.service"
    hold = f"import sqlite3, time; d = sqlite3.connect('{DATABASE}'); d.execute('SELECT 1 FROM events').fetchall()"
    program = f"{hold}; time.sleep(600)"
    host.check_output(f"systemd-run --quiet --unit={unit} --uid=litekeep-example python3 -c %s", program)
    try:
        time.sleep(1)
        said = playbook("restore.yml", code=1, **confirmed(playbook))
        assert "is in use" in said
        assert "python3 (process" in said
    finally:
        host.check_output(f"systemctl stop {unit}")
    assert set(marked) <= app.kinds()
    assert is_active(host)
