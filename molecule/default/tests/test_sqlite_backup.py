# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that backs itself up: timers, services in their sandbox, failures that are heard, databases that go."""

from __future__ import annotations

import json
import time

import pytest
from conftest import ADDRESS, DATABASE, shown

BACKUP = "litekeep-backup@events.service"
TIMERS = [("litekeep-backup@events.timer", 1), ("litekeep-verify.timer", 7)]
TIMERS += [("litekeep-prune.timer", 1), ("litekeep-drill.timer", 1)]
SERVICES = [BACKUP, *(f"litekeep-{name}.service" for name in ("verify", "prune", "drill", "failure@x"))]


@pytest.mark.parametrize(("timer", "days"), TIMERS)
def test_timers_are_due(host, timer, days):
    found = shown(
        host, timer, "ActiveState", "UnitFileState", "NextElapseUSecRealtime", "FixedRandomDelay", "Persistent"
    )
    assert (found["ActiveState"], found["UnitFileState"]) == ("active", "enabled")
    assert (found["FixedRandomDelay"], found["Persistent"]) == ("yes", "yes")
    next_time, now = host.check_output("date --date=%s +%%s; date +%%s", found["NextElapseUSecRealtime"]).split()
    left = int(next_time) - int(now)
    assert 0 < left <= days * 86400 + 3600


@pytest.mark.parametrize("unit", SERVICES)
def test_services_leave_little_exposed(host, unit):
    """The threshold is a tenth of a point: 20 is an exposure of 2.0."""
    host.check_output(f"systemd-analyze security --threshold=20 --no-pager {unit}")


def test_the_backup_service_can_write_only_where_it_must(host):
    """Its own sandbox, with a probe in the place of the backup; root's permissions would allow every one of these."""
    places = {"/var/lib/litekeep": True, "/var/lib/litekeep-example": True, "/etc/litekeep": False, "/usr/local": False}
    places |= {"/var/lib": False, "/root": False, "/home": False, "/opt": False, "/var/log": False, "/run": False}
    probes = "; ".join(f"touch {place}/probe 2>/dev/null && echo {place} && rm {place}/probe" for place in places)
    directory = f"/run/systemd/system/{BACKUP}.d"
    host.check_output(f"mkdir -p {directory}")
    text = f"[Service]\nExecStart=\nExecStart=/bin/sh -c '{probes}; grep Cap /proc/self/status; exit 0'\n"
    host.check_output(f"printf %s %s > {directory}/zz-probe.conf", "%s", text)
    try:
        host.check_output(f"systemctl daemon-reload && systemctl start {BACKUP}")
        since = shown(host, BACKUP, "InvocationID")["InvocationID"]
        said = host.check_output(f"journalctl --output=cat _SYSTEMD_INVOCATION_ID={since}").split()
    finally:
        host.check_output(f"rm -r {directory} && systemctl daemon-reload")
    assert {word for word in said if word.startswith("/")} == {place for place, allowed in places.items() if allowed}
    # CAP_CHOWN 0, CAP_DAC_OVERRIDE 1, CAP_FOWNER 3
    assert int(said[said.index("CapEff:") + 1], 16) == 0b1011


WRITER = f"""
import json, time, urllib.request
written = 0
end = time.monotonic() + 12
while time.monotonic() < end:
    body = json.dumps({{"kind": "load", "payload": written}}).encode()
    urllib.request.urlopen("{ADDRESS}/events", body).close()
    written += 1
print("written", written)
"""


def test_a_backup_through_its_unit_while_the_application_writes(host, app, litekeep):
    unit = f"load-{time.time_ns()}.service"
    before = app.count()
    host.check_output(f"systemd-run --quiet --unit={unit} --service-type=exec python3 -c %s", WRITER)
    while app.count() < before + 20:
        time.sleep(0.1)
    first = app.count()
    host.check_output(f"systemctl start {BACKUP}")
    last = app.count()
    while host.run(f"systemctl is-active {unit}").rc == 0:
        time.sleep(0.2)
    written = int(host.check_output(f"journalctl --output=cat --unit={unit} --grep=^written").split()[-1])
    assert app.count() == before + written, "a writer's event was refused or lost"
    status = litekeep("status events")["databases"][0]
    assert status["healthy"], status["findings"]
    assert first <= status["newest"]["rows"]["events"] <= last
    assert litekeep("verify events")["databases"][0]["passed"]


def test_a_backup_leaves_the_database_to_the_application(host, app):
    host.check_output(f"systemctl start {BACKUP}")
    for suffix in ("", "-wal", "-shm"):
        file = host.file(DATABASE + suffix)
        if file.exists:
            assert (file.user, file.mode) == ("litekeep-example", 0o600)
    app.add("after-the-backup")


def test_the_repository_is_roots_alone(host):
    for path in ("/var/lib/litekeep", "/etc/litekeep/litekeep.json"):
        assert host.file(path).user == "root"
        assert host.file(path).mode & 0o077 == 0
    refused = host.run("runuser -u litekeep-example -- ls /var/lib/litekeep")
    assert "Permission denied" in refused.stderr


def test_a_failed_backup_is_heard(host):
    unit = "litekeep-backup@nosuch.service"
    assert host.run(f"systemctl start {unit}").rc != 0
    report = f"litekeep-failure@{unit}.service"
    deadline = time.monotonic() + 10
    while "failed" not in (said := host.run(f"journalctl --output=cat --priority=err --unit={report}").stdout):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert f"journalctl --unit={unit}" in said
    assert "No database is called 'nosuch'" in host.check_output(f"journalctl --output=cat --unit={unit}")
    host.check_output(f"systemctl reset-failed {unit}")


def test_the_verify_service_finds_a_flipped_byte_and_a_new_backup_heals(host, litekeep):
    host.check_output(f"systemctl start {BACKUP}")
    newest = litekeep("list events")["databases"][0]["backups"][-1]
    stored = newest["path"] + "/database.db.zst"
    flip = "import os, sys; f = os.open(sys.argv[1], os.O_RDWR); b = os.pread(f, 1, 5000);"
    flip += "os.pwrite(f, bytes([b[0] ^ 1]), 5000)"
    host.check_output("python3 -c %s %s", flip, stored)
    assert host.run("systemctl start litekeep-verify.service").rc != 0
    assert litekeep("list events")["databases"][0]["backups"][-1]["state"] == "damaged"
    host.check_output("python3 -c %s %s", flip, stored)
    host.check_output("systemctl start litekeep-verify.service")
    assert litekeep("list events")["databases"][0]["backups"][-1]["state"] == "verified"


def test_retention_and_drills_work_in_their_sandboxes(host, litekeep):
    for _n in range(2):
        host.check_output(f"systemctl start {BACKUP}")
    host.check_output("systemctl start litekeep-prune.service litekeep-drill.service")
    assert "events: 0 removed" in host.check_output("journalctl --output=cat --unit=litekeep-prune.service")
    folder = "/var/lib/litekeep/$(ls /var/lib/litekeep)/events"
    last = json.loads(host.check_output(f"tail -n 1 {folder}/drills/history.jsonl"))
    assert (last["result"], last["in_time"], last["assertions"][0]["problem"]) == ("passed", True, "")
    # The oldest one goes when the rules say so, in the sandbox, too.
    backups = litekeep("list events")["databases"][0]["backups"]
    config = "/etc/litekeep/litekeep.json"
    host.check_output(f'cp -p {config} /run/litekeep.json && sed -i \'s/"keep_last": 500/"keep_last": 2/\' {config}')
    try:
        host.check_output("systemctl start litekeep-prune.service")
    finally:
        host.check_output(f"cp -p /run/litekeep.json {config}")
    left = litekeep("list events")["databases"][0]["backups"]
    assert 2 <= len(left) < len(backups)
    assert left[-2:] == backups[-2:]


def test_backup_playbook_from_another_directory_and_max_age(playbook):
    assert "changed=1" in playbook("backup.yml")
    assert "changed=0" in playbook("backup.yml", max_age="1h")
    assert "changed=0" in playbook("verify.yml")


def test_a_database_taken_out_of_the_list_loses_its_units_and_keeps_its_backups(host, playbook):
    listed = [{"name": "events", "path": DATABASE}, {"name": "second", "path": "/var/lib/second/app.db"}]
    host.check_output("mkdir -p /var/lib/second")
    make = "import sqlite3; d = sqlite3.connect('/var/lib/second/app.db'); d.execute('CREATE TABLE IF NOT EXISTS t(a)')"
    host.check_output("python3 -c %s", make)
    playbook("install.yml", sqlite_backup_databases=listed)
    host.check_output("systemctl start litekeep-backup@second.service")
    assert shown(host, "litekeep-backup@second.timer", "ActiveState") == {"ActiveState": "active"}
    playbook("install.yml")
    assert shown(host, "litekeep-backup@second.timer", "ActiveState", "LoadState")["ActiveState"] == "inactive"
    assert host.check_output("find /etc/systemd -name '*second*'") == ""
    assert host.check_output("find /var/lib/litekeep -path '*second*' -name manifest.json") != ""
    assert json.loads(host.check_output("litekeep config"))["databases"].keys() == {"events"}


def test_a_changed_schedule_moves_the_timer(host, playbook):
    timer = "litekeep-backup@events.timer"
    before = shown(host, timer, "TimersCalendar")["TimersCalendar"]
    playbook("install.yml", sqlite_backup_schedule="*-*-* 05:00:00")
    assert "05:00:00" in shown(host, timer, "TimersCalendar")["TimersCalendar"]
    playbook("install.yml")
    assert shown(host, timer, "TimersCalendar")["TimersCalendar"].split(";")[0] == before.split(";")[0]
