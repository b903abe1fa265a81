# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of the archive: its sandbox, its place between the application and systemd, its end."""

from __future__ import annotations

import time

import pytest
from conftest import DATABASE, SERVICE, query, shown
from watching import ALL_ROWS, ARCHIVE, eventually, host_time, listed, running_timeline

LATER = "litekeep-archive@later.service"

testinfra_hosts = ["podman://litekeep-pitr-debian12", "podman://litekeep-pitr-debian13"]


@pytest.fixture
def process(host):
    running_timeline(host)
    return shown(host, ARCHIVE, "MainPID")["MainPID"]


# The sandbox


def test_it_leaves_little_exposed(host):
    """The threshold is a tenth of a point: 20 is an exposure of 2.0."""
    host.check_output(f"systemd-analyze security --threshold=20 --no-pager {ARCHIVE}")


def test_systemd_has_understood_the_unit(host):
    wanted = {"Type": "notify", "Restart": "always", "StartLimitIntervalUSec": "0", "KillMode": "mixed", "Nice": "0"}
    wanted |= {"WatchdogUSec": "3min", "ProtectSystem": "strict", "RestrictAddressFamilies": "AF_UNIX"}
    wanted |= {"NoNewPrivileges": "yes", "MemoryDenyWriteExecute": "yes", "UnitFileState": "enabled"}
    assert shown(host, ARCHIVE, *wanted) == wanted


def test_the_process_can_write_only_where_it_must(host, process):
    """Root inside its mount namespace: the mounts decide, not the permissions."""
    places = {"/var/lib/litekeep": True, "/var/lib/litekeep-example": True, "/etc/litekeep": False, "/usr/local": False}
    places |= {"/var/lib": False, "/root": False, "/home": False, "/opt": False, "/var/log": False, "/run": False}
    inside = f"nsenter --mount --target {process} sh -c %s"
    probes = "; ".join(f"touch {place}/probe 2>/dev/null && echo {place} && rm {place}/probe" for place in places)
    said = host.check_output(inside, probes + "; true").split()
    assert set(said) == {place for place, allowed in places.items() if allowed}
    assert host.check_output(inside, "find /run ! -type d") == "/run/systemd/notify"


def test_the_process_is_stripped(host, process):
    status = dict(line.split(":\t", 1) for line in host.file(f"/proc/{process}/status").content_string.splitlines())
    # CAP_CHOWN 0, CAP_DAC_OVERRIDE 1, CAP_FOWNER 3
    assert int(status["CapEff"], 16) == 0b1011
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


# Its place


def test_the_application_needs_nothing_of_it_and_stops_before_it(host, app, process):
    found = shown(host, SERVICE, "After", "Requires", "Requisite", "Wants", "BindsTo", "PartOf", "ConsistsOf")
    assert ARCHIVE in found.pop("After").split()
    assert all(ARCHIVE not in units for units in found.values())
    app.add("the-last-commit")
    rows = query(host, ALL_ROWS)
    # As in a shutdown: the second job is there while the first is at work, and has to wait for it.
    host.check_output(f"systemctl stop {SERVICE} {ARCHIVE}")
    try:
        ended = [
            shown(
                host,
                unit,
                "Result",
                "ExecMainStatus",
                "InactiveEnterTimestampMonotonic",
                "ActiveExitTimestampMonotonic",
            )
            for unit in (SERVICE, ARCHIVE)
        ]
        for unit in ended:
            # Not killed for being slow.
            assert (unit["Result"], unit["ExecMainStatus"]) == ("success", "0")
        application, archive = ended
        assert int(application["InactiveEnterTimestampMonotonic"]) <= int(archive["ActiveExitTimestampMonotonic"])
        copy = f"/var/tmp/last-{time.time_ns()}.db"
        host.check_output(f"litekeep restore events --to latest --target {copy}")
        assert query(host, ALL_ROWS, copy) == rows
    finally:
        host.check_output(f"systemctl start {SERVICE} {ARCHIVE}")


@pytest.mark.parametrize("unit", [ARCHIVE, SERVICE])
def test_each_stops_by_itself_and_leaves_the_other_alone(host, process, unit):
    other = SERVICE if unit == ARCHIVE else ARCHIVE
    before = shown(host, other, "MainPID", "ActiveState")
    host.check_output(f"systemctl stop {unit}")
    try:
        assert shown(host, unit, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
        assert shown(host, other, "MainPID", "ActiveState") == before
    finally:
        host.check_output(f"systemctl start {unit}")
    timeline = running_timeline(host)
    assert timeline["id"] == listed(host)["timelines"][-1]["id"]


def test_the_database_stays_the_applications(host, app, process):
    app.add("while-it-is-archived")
    for suffix in ("", "-wal", "-shm"):
        file = host.file(DATABASE + suffix)
        assert (file.user, file.mode) == ("litekeep-example", 0o600)


APPLICATION = """
import sqlite3, time
database = sqlite3.connect("/var/lib/litekeep-later/app.db", isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE IF NOT EXISTS t (a)")
while True:
    database.execute("INSERT INTO t VALUES (1)")
    time.sleep(0.1)
"""


def test_an_application_starts_while_the_archive_still_waits_for_its_database(host):
    # There is nothing yet, not even the directory; so that a second run of this test starts there, too.
    host.check_output(f"systemctl stop {LATER} && rm -rf /var/lib/litekeep-later && systemctl start {LATER}")
    eventually(lambda: "waiting for" in shown(host, LATER, "StatusText")["StatusText"])
    known = [each["id"] for each in listed(host, "later")["timelines"]]
    run = (
        "systemd-run --quiet --unit=litekeep-later.service --service-type=exec --property=StateDirectory=litekeep-later"
    )
    host.check_output(f"{run} python3 -c %s", APPLICATION)
    try:
        assert shown(host, "litekeep-later.service", "ActiveState") == {"ActiveState": "active"}
        eventually(lambda: running_timeline(host, "later")["id"] not in known)
        now = host_time(host)
        eventually(lambda: listed(host, "later")["windows"][-1]["to"] > now)
    finally:
        host.check_output("systemctl stop litekeep-later.service")


# The role


def test_a_changed_setting_restarts_it_and_without_archive_it_goes(host, playbook, process):
    events = {"name": "events", "path": DATABASE, "services": [SERVICE], "archive": True}
    later = {"name": "later", "path": "/var/lib/litekeep-later/app.db", "archive": False}
    before = shown(host, ARCHIVE, "InvocationID")
    playbook("install.yml", sqlite_backup_databases=[{**events, "archive_settings": {"heartbeat": "2s"}}, later])
    assert shown(host, ARCHIVE, "InvocationID") != before
    assert shown(host, LATER, "ActiveState") == {"ActiveState": "inactive"}
    assert host.check_output("find /etc/systemd -name 'litekeep-archive@later*'") == ""
    assert shown(host, "litekeep-backup@later.timer", "ActiveState") == {"ActiveState": "active"}
    assert host.check_output("find /var/lib/litekeep -path '*/later/archive/*' -name '*.zst'") != ""
    playbook("install.yml")
    for unit in (ARCHIVE, LATER):
        wanted = {"ActiveState": "active", "UnitFileState": "enabled"}
        assert shown(host, unit, *wanted) == wanted
    running_timeline(host)
