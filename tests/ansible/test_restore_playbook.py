# SPDX-License-Identifier: GPL-3.0-or-later
"""restore.yml: a restore, or everything as it was, and the application running in both cases."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from support import ROOT, holding_open

RESTORE = ROOT / "playbooks" / "restore.yml"
HERE = Path(__file__).resolve().parent
OLD, NEW = 200, 10  # rows in the backup, and now
ARCHIVE = "litekeep-archive@events.service"

APPLICATION = """
import signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM events").fetchone()
print("open", flush=True)
signal.pause()
"""


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM events").fetchone()[0]


def count_is(database, number):
    """A health check that passes for a database with that number of rows."""
    code = (
        "import sqlite3, sys; n = sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM events').fetchone()[0]; "
    )
    code += "print(n, 'rows'); sys.exit(n != int(sys.argv[2]))"
    return {"command": [sys.executable, "-c", code, str(database), str(number)], "retries": 0}


@pytest.fixture
def host(host):
    """events has lost rows since the backup."""
    host.back_up()
    with contextlib.closing(sqlite3.connect(host.events, isolation_level=None)) as application:
        application.execute(f"DELETE FROM events WHERE id > {NEW}")
    return host


class Services:
    """Units that have the database open while they run."""

    def __init__(self, ansible, folder, database):
        self.folder = folder / "units"
        self.folder.mkdir()
        self.database = database
        (folder / "bin").mkdir()
        command = folder / "bin" / "systemctl"
        script = HERE / "fake_systemctl.py"
        command.write_text(f"#!/bin/sh\nFAKE_UNITS='{self.folder}' exec '{sys.executable}' -I -S '{script}' \"$@\"\n")
        command.chmod(0o755)
        self.command = str(command)
        ansible.path = [str(command.parent)]

    def add(self, name, *, running=True, **more):
        unit = {
            "command": [sys.executable, "-c", APPLICATION, str(self.database)],
            "state": "inactive",
            "pid": 0,
            **more,
        }
        (self.folder / f"{name}.json").write_text(json.dumps(unit))
        if running:
            os.system(f"'{self.command}' start {name}")
            (self.folder / "log").unlink()

    def unit(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def change(self, name, **more):
        (self.folder / f"{name}.json").write_text(json.dumps({**self.unit(name), **more}))

    @property
    def log(self):
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def running(self):
        """Those whose process is there."""
        return sorted(
            file.stem
            for file in self.folder.glob("*.json")
            if Path(f"/proc/{self.unit(file.stem)['pid']}/fd").is_dir() and self.unit(file.stem)["pid"]
        )


@pytest.fixture
def services(ansible, host, tmp_path):
    found = Services(ansible, tmp_path, host.events)
    yield found
    for file in found.folder.glob("*.json"):
        pid = json.loads(file.read_text())["pid"]
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def restore(ansible, host, tmp_path):
    """Run restore.yml for events; what it needs is given unless a test says otherwise."""

    def run(*options, policy=None, **more):
        databases = [{**host.databases[0], **(policy or {})}, host.databases[1]]
        variables = {
            **host.variables,
            "sqlite_backup_databases": databases,
            "database": "events",
            "restore_confirm": "localhost:events",
            "recovery_stop_timeout": 2,
            "recovery_start_timeout": 2,
            "__recovery_record": str(tmp_path / "record.json"),
            **more,
        }
        return ansible.playbook(RESTORE, *options, **variables)

    return run


def report(tmp_path):
    """The report of the one run."""
    (file,) = (tmp_path / "controller" / "data" / "litekeep" / "reports").glob("*.json")
    assert file.with_suffix(".md").exists()
    return json.loads(file.read_text())


def quarantines(host):
    return sorted(host.events.parent.glob("events.db.before-restore-*"))


# Without services


def test_nothing_is_touched_without_the_exact_confirmation(restore, host):
    before = host.tree()
    missing = restore(restore_confirm="")
    assert missing.code != 0
    plan = str(missing.task("Show the plan")["msg"])
    for words in (str(host.events), host.stored("events")[0].parent.name, "200 rows", "age"):
        assert words in plan
    assert "run the same command with -e restore_confirm=localhost:events" in missing.failures[0]
    wrong = restore(restore_confirm="localhost:event")
    assert wrong.code != 0
    assert "restore_confirm is localhost:event." in wrong.failures[0]
    assert host.tree() == before


def test_an_unknown_database_is_refused_with_the_known_ones(restore, host):
    before = host.tree()
    outcome = restore(database="event", restore_confirm="localhost:event")
    assert outcome.code != 0
    assert 'no database called "event". Its databases: events, orders.' in outcome.failures[0]
    forgotten = restore(database="")
    assert 'no database called ""' in forgotten.failures[0]
    assert host.tree() == before


def test_a_restore_is_reported_with_its_times_and_its_loss(restore, host, tmp_path):
    outcome = restore(policy={"health_check": count_is(host.events, OLD)})
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    (quarantine,) = quarantines(host)
    assert rows(quarantine / "events.db") == NEW

    found = report(tmp_path)
    assert (found["outcome"], found["health_check"], found["failures"]) == ("restored", "passed", [])
    assert found["kept"] == str(quarantine)
    assert list(found["phases"]) == ["prepare", "stop", "swap", "start", "health"]
    assert found["recovery_seconds"] == pytest.approx(sum(found["phases"].values()), abs=0.01)
    assert found["data_loss_seconds"] > 0
    assert found["backup"]["rows"] == {"events": OLD}
    assert "# events on localhost: restored" in outcome.task("Show the report")["msg"]


def test_a_restore_that_is_only_predicted_changes_nothing(restore, host, tmp_path):
    before = host.tree()
    outcome = restore("--check", "--diff", policy={"health_check": count_is(host.events, OLD)})
    assert outcome.code == 0, outcome.output
    assert host.tree() == before
    assert "+rows: events 200" in outcome.output
    assert not (tmp_path / "controller" / "data").exists()


def test_a_failing_health_check_brings_the_old_state_back(restore, host, tmp_path):
    outcome = restore(policy={"health_check": count_is(host.events, NEW)})
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert quarantines(host) == []
    said = outcome.failures[-1]
    assert said.startswith("events was not restored. The health check does not pass: ")
    assert "Found: exit code 1, 200 rows" in said
    assert "The files of before stand in their place again" in said
    assert "Health check: passed" in said
    found = report(tmp_path)
    assert (found["outcome"], found["health_check"]) == ("rolled back", "passed")
    assert found["data_loss_seconds"] is None
    assert rows(Path(found["kept"]) / "events.db") == OLD
    assert list(found["phases"]) == ["prepare", "stop", "swap", "start", "failure", "rollback", "health"]


def test_a_database_that_was_lost_stays_restored_when_the_health_check_fails(restore, host, tmp_path):
    host.events.unlink()
    policy = {"health_check": {"command": ["sleep", "60"], "retries": 0}}
    outcome = restore(policy=policy, recovery_health_timeout=1)
    assert outcome.code != 0
    assert rows(host.events) == OLD
    assert "sleep 60. Found: exit code 124, no output" in outcome.failures[-1]
    assert "Nothing stood there before" in outcome.failures[-1]
    assert report(tmp_path)["outcome"] == "replaced, and not working"


def test_a_restore_is_refused_while_a_process_has_the_database_open(restore, host, tmp_path):
    with holding_open(host.events) as process:
        outcome = restore()
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert quarantines(host) == []
    assert f"process {process.pid}" in outcome.failures[-1]
    assert "The database was not replaced." in outcome.failures[-1]
    assert report(tmp_path)["outcome"] == "not replaced"
    # Nor is there anything left of what was built for it.
    assert [path for path in host.events.parent.iterdir() if path.name.startswith(".")] == []


def test_a_restore_to_another_path_leaves_services_and_database_alone(restore, host, services, tmp_path):
    services.add("app.service")
    target = tmp_path / "beside.db"
    policy = {"services": ["app.service"], "health_check": {"command": ["/bin/false"]}}
    outcome = restore(policy=policy, restore_target=str(target))
    assert outcome.code == 0, outcome.output
    assert (rows(target), rows(host.events)) == (OLD, NEW)
    assert services.log == []


def test_the_backup_is_the_one_that_was_asked_for(restore, host):
    oldest = host.stored("events")[0].parent.name
    host.back_up("events")
    outcome = restore(restore_to=oldest)
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    unknown = restore(restore_to="20010101T000000.000Z-full")
    assert "events has no backup '20010101T000000.000Z-full'" in unknown.failures[0]


def test_a_misspelt_key_of_the_health_check_is_refused(restore, host):
    before = host.tree()
    outcome = restore(policy={"health_check": {"comand": ["/bin/true"]}})
    assert outcome.code != 0
    assert "comand" in str(outcome.last)
    assert host.tree() == before


# With services


def test_services_are_stopped_for_the_swap_and_only_those_that_ran_are_started(restore, host, services, tmp_path):
    services.add("app.service")
    services.add("batch.service", running=False)
    services.add("crashed.service", running=False, state="failed")
    names = ["app.service", "batch.service", "crashed.service"]
    outcome = restore(policy={"services": names, "health_check": count_is(host.events, OLD)})
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    assert services.log == [
        "stop app.service",
        *("start crashed.service", "start app.service"),
    ]
    assert services.running() == ["app.service", "crashed.service"]
    found = report(tmp_path)
    assert found["services"] == {"app.service": "active", "crashed.service": "active"}
    assert 0 < found["downtime_seconds"] < found["recovery_seconds"]
    assert not (tmp_path / "record.json").exists()
    assert "app.service is active" in str(outcome.task("Show the plan")["msg"])


def test_the_health_check_is_not_asked_of_an_application_that_stood_still_before(restore, host, services, tmp_path):
    services.add("app.service", running=False)
    outcome = restore(policy={"services": ["app.service"], "health_check": {"command": ["/bin/false"]}})
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    assert services.running() == []
    assert report(tmp_path)["health_check"] == "not run or not passed"


def test_the_application_is_started_again_when_the_swap_is_refused(restore, host, services, tmp_path):
    services.add("app.service")
    with holding_open(host.events):
        outcome = restore(policy={"services": ["app.service"]})
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert services.log == ["stop app.service", "start app.service"]
    assert services.running() == ["app.service"]
    assert "The database was not replaced. Services: app.service is active." in outcome.failures[-1]


def test_nothing_is_replaced_under_a_service_that_does_not_stop(restore, host, services, tmp_path):
    services.add("other.service")
    services.add("app.service", stubborn=True)
    outcome = restore(policy={"services": ["other.service", "app.service"]})
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert quarantines(host) == []
    assert "app.service did not stop within 2 seconds. Found: it is deactivating." in outcome.failures[-1]
    assert "Services: other.service is active, app.service is deactivating." in outcome.failures[-1]
    assert "other.service" in services.running()


def test_the_old_state_comes_back_when_the_application_does_not_start_on_the_new_one(restore, host, services, tmp_path):
    services.add("app.service")
    # It starts only on the database that it had.
    picky = APPLICATION.replace(
        "print(", f"assert database.execute('SELECT count(*) FROM events').fetchone()[0] == {NEW}; print("
    )
    services.change("app.service", command=[sys.executable, "-c", picky, str(host.events)])
    outcome = restore(policy={"services": ["app.service"]})
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert services.running() == ["app.service"]
    assert "app.service did not start within 2 seconds. Found: it is failed." in outcome.failures[-1]
    assert "The files of before stand in their place again" in outcome.failures[-1]
    assert report(tmp_path)["outcome"] == "rolled back"


def test_a_rollback_that_fails_says_where_the_old_files_are(restore, host, services, tmp_path):
    services.add("app.service")
    # It stops once, and then no more.
    check = [
        "/bin/sh",
        "-c",
        f'sed -i \'s/"state"/"stubborn": true, "state"/\' {services.folder}/app.service.json; exit 1',
    ]
    health = {"command": check, "retries": 0}
    outcome = restore(policy={"services": ["app.service"], "health_check": health})
    assert outcome.code != 0
    (quarantine,) = quarantines(host)
    assert rows(host.events) == OLD
    said = outcome.failures[-1]
    assert "And then: app.service did not stop" in said
    assert f"The restored database stands in its place. The files of before are in {quarantine}." in said
    assert report(tmp_path)["outcome"] == "replaced, and not working"


def test_a_service_that_an_interrupted_run_has_stopped_is_started(restore, host, services, tmp_path):
    services.add("app.service", running=False)
    (tmp_path / "record.json").write_text('["app.service", "gone.service"]')
    outcome = restore(policy={"services": ["app.service"]})
    assert outcome.code == 0, outcome.output
    assert services.running() == ["app.service"]
    assert not (tmp_path / "record.json").exists()


def test_a_service_that_systemd_does_not_know_is_found_before_anything_is_stopped(restore, host, services):
    services.add("app.service")
    before = host.tree()
    outcome = restore(policy={"services": ["app.service", "ap.service"]})
    assert outcome.code != 0
    assert "ap.service" in outcome.output
    assert services.log == []
    assert host.tree() == before


def test_check_mode_stops_no_service(restore, host, services):
    services.add("app.service")
    before = host.tree()
    outcome = restore("--check", policy={"services": ["app.service"], "health_check": {"command": ["/bin/false"]}})
    assert outcome.code == 0, outcome.output
    assert services.log == []
    assert host.tree() == before
    assert any(name.endswith("Tell the services to stop") for name in outcome.changed)


# With an archive


def archived(services, **more):
    services.add(ARCHIVE, **{"enabled": "enabled", **more})
    return {"archive": True}


def test_the_archive_is_stopped_last_and_started_first(restore, host, services, tmp_path):
    services.add("app.service")
    outcome = restore(policy={"services": ["app.service"], **archived(services)})
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    assert services.log == ["stop app.service", f"stop {ARCHIVE}", f"start {ARCHIVE}", "start app.service"]
    assert services.running() == ["app.service", ARCHIVE]
    found = report(tmp_path)
    assert found["archive"] == {"unit": ARCHIVE, "state": "active"}
    assert found["services"] == {"app.service": "active"}
    assert f"{ARCHIVE} is stopped for the swap" in str(outcome.task("Show the plan")["msg"])
    assert any(f"{ARCHIVE} is active" in line for line in outcome.task("Show the report")["msg"])


def test_an_archive_that_should_run_and_did_not_runs_afterwards(restore, host, services):
    outcome = restore(policy=archived(services, running=False))
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == OLD
    assert services.running() == [ARCHIVE]


def test_the_archive_runs_again_after_a_rollback(restore, host, services, tmp_path):
    policy = {"health_check": {"command": ["/bin/false"], "retries": 0}, **archived(services)}
    outcome = restore(policy=policy)
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert services.log == [f"stop {ARCHIVE}", f"start {ARCHIVE}"] * 2
    assert services.running() == [ARCHIVE]
    assert "Archive: active." in outcome.failures[-1]
    assert report(tmp_path)["archive"]["state"] == "active"


def test_the_archive_runs_again_when_the_swap_is_refused(restore, host, services):
    policy = archived(services)
    with holding_open(host.events):
        outcome = restore(policy=policy)
    assert outcome.code != 0
    assert rows(host.events) == NEW
    assert services.log == [f"stop {ARCHIVE}", f"start {ARCHIVE}"]
    assert services.running() == [ARCHIVE]


def test_an_archive_that_does_not_start_undoes_no_restore_and_is_no_success(restore, host, services, tmp_path):
    policy = archived(services)
    services.change(ARCHIVE, command=[sys.executable, "-c", "print('no')"])
    outcome = restore(policy=policy)
    assert outcome.code != 0
    assert rows(host.events) == OLD
    assert "events was restored and stays so, but what is written now is not archived" in outcome.failures[-1]
    found = report(tmp_path)
    assert (found["outcome"], found["archive"]["state"]) == ("restored", "failed")


def test_a_restore_to_another_path_leaves_the_archive_alone(restore, host, services, tmp_path):
    outcome = restore(policy=archived(services), restore_target=str(tmp_path / "beside.db"))
    assert outcome.code == 0, outcome.output
    assert services.log == []
    assert report(tmp_path)["archive"] is None


def test_a_moment_is_recovered_and_reported(restore, host, tmp_path):
    with host.archiving():
        host.execute("DELETE FROM events WHERE id > 5")
        moment = host.moment()
        host.execute("DELETE FROM events WHERE id > 4")
        host.moment()
    before = host.tree()
    refused = restore(to="2999-01-01T00:00:00Z")
    assert refused.code != 0
    assert "it lies in the future. Found: before it: " in refused.output
    assert host.tree() == before

    outcome = restore(to=moment)
    assert outcome.code == 0, outcome.output
    assert rows(host.events) == 5
    point = report(tmp_path)["point"]
    assert point["requested"] == moment
    assert point["last_commit_observed"] <= point["recovered"] <= moment < point["next"]
    said = "\n".join(outcome.task("Show the report")["msg"])
    for time in (moment, point["recovered"], point["next"], point["last_commit_observed"]):
        assert time in said


# Several hosts


def test_only_the_confirmed_host_is_touched_and_the_report_stays_here(ansible, host, tmp_path):
    # Both are this machine; each has the database under its own path.
    other = tmp_path / "other.db"
    other.write_bytes(host.events.read_bytes())
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\necho >>{tmp_path}/sudo.log\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    sudo.chmod(0o755)
    ansible.hosts = {
        "app1": {"sqlite_backup_databases": host.databases},
        "app2": {
            "sqlite_backup_databases": [{"name": "events", "path": str(other)}],
            "ansible_become": True,
            "ansible_become_exe": str(sudo),
        },
    }
    variables = {key: value for key, value in host.variables.items() if key != "sqlite_backup_databases"}
    outcome = ansible.playbook(RESTORE, database="events", restore_confirm="app2:events", **variables)
    assert outcome.code == 0, outcome.output
    assert (rows(host.events), rows(other)) == (NEW, OLD)
    assert {task["host"] for task in outcome.tasks if task["status"] == "ok"} == {"app2"}
    # Archive, plan, build, clock, swap: the inventory's root on the host. The report is this user's, on this machine.
    assert len((tmp_path / "sudo.log").read_text()) == 5
    assert report(tmp_path)["host"] == "app2"


def test_a_confirmation_for_a_host_outside_of_the_run_is_not_passed_over(ansible, host):
    ansible.hosts = {"app1": {}, "app2": {}}
    before = host.tree()
    limited = ansible.playbook(
        RESTORE, "--limit", "app1", database="events", restore_confirm="app2:events", **host.variables
    )
    assert limited.code != 0
    assert "restore_confirm is app2:events." in limited.failures[0]
    assert host.tree() == before


def test_the_role_by_itself_is_as_careful(ansible, host):
    play = {
        "hosts": "all",
        "gather_facts": False,
        "roles": [{"role": str(ROOT / "roles" / "recovery"), "recovery_database": "events"}],
    }
    file = ansible.folder / "own.yml"
    file.write_text(json.dumps([play]))
    refused = ansible.playbook(file, **host.variables)
    assert "Not confirmed" in refused.failures[-1]
    assert rows(host.events) == NEW
    done = ansible.playbook(file, restore_confirm="localhost:events", **host.variables)
    assert done.code == 0, done.output
    assert rows(host.events) == OLD
