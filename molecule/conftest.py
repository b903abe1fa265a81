# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share: the application, the command line on the host, the playbooks as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATABASE = "/var/lib/litekeep-example/events.db"
SERVICE = "litekeep-example.service"
ADDRESS = "http://127.0.0.1:8080"


class Application:
    """The example service of one host."""

    def __init__(self, host):
        self.host = host

    def add(self, kind):
        """One event, acknowledged."""
        body = json.dumps({"kind": kind, "payload": kind})
        self.host.check_output("curl -fsS --data %s %s/events", body, ADDRESS)

    def count(self):
        """How many events the service says it has."""
        return json.loads(self.host.check_output("curl -fsS %s/count", ADDRESS))["count"]

    def kinds(self):
        """The kinds of all events, read past the service."""
        return {row[0] for row in query(self.host, "SELECT DISTINCT kind FROM events")}


def query(host, sql, database=DATABASE):
    """The rows, past the service."""
    program = f"import json, sqlite3; print(json.dumps(sqlite3.connect('file:{database}?mode=ro', uri=True)"
    program += f".execute({sql!r}).fetchall()))"
    return json.loads(host.check_output("python3 -c %s", program))


def shown(host, unit, *names):
    """Properties of a unit as systemd understood them."""
    lines = host.check_output(f"systemctl show --property={','.join(names)} {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def app(host):
    return Application(host)


@pytest.fixture
def litekeep(host):
    """The command line on the host; the answer as values."""

    def run(words, code=0):
        done = host.run(f"litekeep {words} --json")
        assert done.rc == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def playbook(request, host, tmp_path):
    """Run a playbook on this host alone, from a directory that is not the project's."""
    name = host.backend.name
    scenario = request.path.parents[1]

    def run(book, *options, code=0, **extra):
        variables = {"recovery_reports": str(tmp_path / "reports"), **extra}
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "playbooks" / book)]
        command += ["-i", str(ROOT / "molecule/shared/inventory"), "-i", str(scenario / "inventory.yml")]
        command += ["--limit", name, "-e", json.dumps(variables), *options]
        settings = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
            "CONTAINERS_CONF": str(ROOT / ".cache/containers.conf"),
            "MOLECULE_SCENARIO_NAME": scenario.name,
        }
        environment = {**os.environ, **settings}
        done = subprocess.run(
            command, cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == (code == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    run.host = name
    run.reports = tmp_path / "reports"
    return run
