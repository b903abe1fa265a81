# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is killed while it is written to, its disk is deleted, and recover_hardware_failure.yml runs, once."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import testinfra
from conftest import DATABASE, ROOT, Application
from recovering import Loss, Runbook, backed_up_under_load, lose, podman, text_of
from watching import eventually, running_timeline

SCENARIO = Path(__file__).resolve().parents[1]
APP, SERVER, NEW = "litekeep-hw-app1", "litekeep-hw-backup", "litekeep-hw-app2"
KEYS = ROOT / ".cache/hardware_failure"
INTERVAL = 2  # seconds between two pushes, as in the inventory
# How many events stand there before the load begins: 3,300,000 are a gigabyte.
ROWS = int(os.environ.get("LITEKEEP_ROWS", "0"))
GROW = f"""
import random, sqlite3
database = sqlite3.connect("{DATABASE}", timeout=60)
rng = random.Random(1)
for start in range(0, {ROWS}, 50000):
    rows = (("2026-01-01T00:00:00.000Z", "old", rng.randbytes(90).hex()) for _ in range(min(50000, {ROWS} - start)))
    database.executemany("INSERT INTO events (timestamp, kind, payload) VALUES (?, ?, ?)", rows)
    database.commit()
"""
testinfra_hosts = [f"podman://{NEW}"]


@pytest.fixture(scope="module")
def server():
    return testinfra.get_host(f"podman://{SERVER}")


@pytest.fixture(scope="module")
def loss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hardware")
    app = testinfra.get_host(f"podman://{APP}")
    if ROWS:
        app.check_output("python3 -c %s", GROW)
    load = backed_up_under_load(APP, folder / "acknowledged", 60 + ROWS / 5000)
    failed = lose(APP)
    runbook = Runbook(SCENARIO, folder, {"failed_host": APP, "replacement": NEW, "failed_at": text_of(failed)})
    runbook.run()
    return Loss(runbook, load, failed, runbook.report())


def test_the_application_works_on_the_new_host(host, loss):
    loss.check_application(host)


def test_only_what_came_after_the_recovered_moment_is_lost_and_the_report_says_so(host, loss):
    # The archive's second, the push interval, and what both take on a machine that is busy.
    loss.check_rows(host, youngest=1 + INTERVAL + 20)


def test_the_report_has_every_step_and_its_time(loss, capsys):
    phases = loss.report["phases"]
    steps = ["look", "provision", "install", "fence", "restore", "configure", "start", "health", "protect"]
    assert [step for step in steps if phases.get(step, -1) < 0] == []
    assert loss.report["recovery_seconds"] == pytest.approx(sum(phases.values()), abs=0.1)
    assert 0 < loss.report["recovery_time_seconds"] <= loss.report["recovery_seconds"] + 1
    assert loss.report["fenced"] == [SERVER]
    with capsys.disabled():  # the figures of docs/performance.md
        size = loss.report["databases"][0]["backup"]["size"]
        print(f"\n{size:,} bytes, seconds: {json.dumps({**phases, 'all': loss.report['recovery_seconds']})}")


def test_backups_go_on_with_a_new_timeline_and_the_first_is_sealed(host, server, loss):
    assert running_timeline(host)["id"] != loss.report["databases"][0]["point"]["timeline"]
    first = loss.report["databases"][0]["new_backup"]
    folder = f"/srv/litekeep/{NEW}/events/backups"
    eventually(lambda: first in server.check_output(f"ls {folder}").split())
    assert "protected" in host.check_output("litekeep status events")


def assert_shut_out():
    """The lost host, with its key."""
    address = podman("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", SERVER).strip()
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["sftp", *options, "-i", str(KEYS / "app1"), f"lk-{APP}@{address}"]
    done = subprocess.run(command, input="ls\n", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


def test_the_lost_host_can_send_nothing_any_more(loss):
    assert_shut_out()
    # The inventory names it still; who was shut out comes in again only by `admit`.
    Runbook(SCENARIO, loss.runbook.folder, playbook="backup_server.yml").run()
    assert_shut_out()


@pytest.mark.parametrize("unit", ["litekeep-seal.service", "litekeep-eject.service"])
def test_the_backup_servers_services_leave_little_exposed(server, unit):
    """The threshold is a tenth of a point: 20 is an exposure of 2.0."""
    server.check_output(f"systemd-analyze security --threshold=20 --no-pager {unit}")


def test_the_sender_leaves_little_exposed(host, loss):
    host.check_output("systemd-analyze security --threshold=20 --no-pager litekeep-push@events.service")


def test_what_is_sealed_is_roots_and_nobody_can_write_there(server, loss):
    for name in (APP, NEW):
        found = server.check_output(f"find /srv/litekeep/{name}/events -printf '%y %u %m\\n' | sort -u").splitlines()
        assert {"f root 440"} <= set(found) <= {"f root 440", "d root 750"}, found


def test_the_ways_to_read_are_gone(host, loss):
    assert not host.file("/run/litekeep-recovery").exists
    assert host.check_output("find /run /tmp /var/tmp -name '*.conf' -path '*litekeep*'") == ""


def test_it_is_not_done_twice_without_a_confirmation(host, loss):
    app = Application(host)
    app.add("newer")
    count = app.count()
    output = loss.runbook.run(code=2)
    assert "Not confirmed" in output
    assert f"restore_confirm={NEW}:events" in output
    assert app.count() == count
