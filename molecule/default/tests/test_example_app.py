# SPDX-License-Identifier: GPL-3.0-or-later
"""The example application does what the other tests take for granted."""

from __future__ import annotations

import json
import shlex
import time

import pytest
from conftest import ADDRESS, DATABASE, SERVICE, query


def request(host, path, *options):
    """Status and answer."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]
    output = host.check_output(shlex.join([*command, *options, ADDRESS + path]))
    body, status = output.rsplit("\n", 1)
    return int(status), json.loads(body)


def python(host, program):
    return host.run("python3 -c %s", program)


def test_service_runs_and_is_enabled(host):
    service = host.service(SERVICE)
    assert service.is_running
    assert service.is_enabled


def test_database_belongs_to_the_service_alone(host):
    directory = host.file("/var/lib/litekeep-example")
    assert (directory.user, directory.mode) == ("litekeep-example", 0o700)
    database = host.file(DATABASE)
    assert (database.user, database.mode) == ("litekeep-example", 0o600)


def test_database_is_what_the_scenarios_expect(host):
    assert query(host, "PRAGMA journal_mode") == [["wal"]]
    columns = [row[1:3] for row in query(host, "PRAGMA table_info(events)")]
    assert columns == [["id", "INTEGER"], ["timestamp", "TEXT"], ["kind", "TEXT"], ["payload", "TEXT"]]
    assert len(query(host, "PRAGMA index_list(events)")) == 2


def test_sandbox_is_in_force(host):
    """Root inside the service's own mount namespace: the mounts decide, not the permissions."""
    process = host.check_output(f"systemctl show --property=MainPID --value {SERVICE}")
    refused = host.run(f"nsenter --mount --target {process} touch /usr/local/probe")
    assert "Read-only file system" in refused.stderr
    probe = "/var/lib/litekeep-example/probe"
    assert host.run(f"nsenter --mount --target {process} sh -c 'touch {probe} && rm {probe}'").rc == 0


def test_sandbox_leaves_little_exposed(host):
    """The threshold is a tenth of a point: 20 is an exposure of 2.0."""
    assert host.run(f"systemd-analyze security --threshold=20 --no-pager {SERVICE}").rc == 0


def test_an_event_is_kept_and_counted(host):
    _, before = request(host, "/count")
    status, added = request(host, "/events", "--data", '{"kind": "order", "payload": {"item": 7}}')
    assert status == 201
    assert request(host, "/count") == (200, {"count": before["count"] + 1})
    status, found = request(host, f"/events?since={added['timestamp']}")
    assert status == 200
    assert {**added, "kind": "order", "payload": '{"item": 7}'} in found["events"]


@pytest.mark.parametrize(
    ("path", "options", "status", "words"),
    [
        ("/events", ["--data", "{"], 400, "not JSON"),
        ("/events", ["--data", "[" * 20000], 400, "not JSON"),
        ("/events", ["--data", "[]"], 400, "expected {"),
        ("/events", ["--data", '{"payload": "x"}'], 400, "kind"),
        ("/events", ["--data", '{"kind": "", "payload": "x"}'], 400, "kind"),
        ("/events", ["--data", '{"kind": "order"}'], 400, "payload"),
        ("/events", ["--data", '{"kind": "order", "payload": "\\ud800"}'], 400, "Unicode"),
        ("/events", ["--request", "POST"], 411, "Content-Length"),
        ("/events", ["--request", "POST", "--header", "Content-Length: 1e3"], 411, "Content-Length"),
        ("/events", ["--request", "POST", "--header", "Content-Length: 65537"], 413, "65536"),
        ("/events?since=yesterday", [], 400, "since"),
        ("/events?since=2026-11-22T02:00:00", [], 400, "time zone"),
        ("/elsewhere", [], 404, "resource"),
        ("/health", ["--data", "{}"], 404, "resource"),
    ],
)
def test_bad_requests_are_named(host, path, options, status, words):
    found, answer = request(host, path, *options)
    assert (found, words in answer["error"]) == (status, True), answer


def test_health_fails_while_the_database_cannot_be_written_and_recovers(host):
    assert request(host, "/health") == (200, {"status": "ok"})
    hold = f"import sqlite3, time; sqlite3.connect('{DATABASE}', isolation_level=None)"
    hold += ".execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(60)"
    unit = "hold-write-lock.service"
    host.check_output(f"systemd-run --quiet --unit={unit} python3 -c %s", hold)
    try:
        while "held" not in host.check_output(f"journalctl --output=cat --unit={unit}"):
            time.sleep(0.2)
        status, answer = request(host, "/health")
    finally:
        host.check_output(f"systemctl stop {unit}")
    assert status == 503
    assert "locked" in answer["error"]
    assert request(host, "/health") == (200, {"status": "ok"})


WRITE_UNTIL_STOPPED = f"""
import json, urllib.request
acknowledged = 0
try:
    while True:
        body = json.dumps({{"kind": "stop-test", "payload": acknowledged}}).encode()
        urllib.request.urlopen("{ADDRESS}/events", body).close()
        acknowledged += 1
except OSError:
    print("acknowledged", acknowledged)
"""


def test_stopping_under_load_loses_nothing_that_was_acknowledged(host):
    before = query(host, "SELECT count(*) FROM events WHERE kind = 'stop-test'")[0][0]
    unit = f"write-until-stopped-{time.time_ns()}.service"
    host.check_output(f"systemd-run --quiet --unit={unit} --service-type=exec python3 -c %s", WRITE_UNTIL_STOPPED)
    while query(host, "SELECT count(*) FROM events WHERE kind = 'stop-test'")[0][0] < before + 20:
        time.sleep(0.1)
    host.check_output(f"systemctl stop {SERVICE}")
    try:
        assert host.check_output(f"systemctl show --property=Result --value {SERVICE}") == "success"
        assert not host.file(f"{DATABASE}-wal").exists, "the WAL was not folded in: no clean end"
    finally:
        host.check_output(f"systemctl start {SERVICE}")
    while host.run(f"systemctl is-active {unit}").rc == 0:
        time.sleep(0.1)
    said = host.check_output(f"journalctl --output=cat --unit={unit} --grep=acknowledged").split()
    after = query(host, "SELECT count(*) FROM events WHERE kind = 'stop-test'")[0][0]
    # An event may be committed and its answer lost; never the other way round.
    assert int(said[-1]) <= after - before <= int(said[-1]) + 1
