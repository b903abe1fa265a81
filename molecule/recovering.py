# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios share in which a host is lost: a writer that logs what was acknowledged, outside of that host; its
end; the runbook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pytest
import testinfra
from conftest import ADDRESS, ROOT, Application, query, shown
from watching import ALL_ROWS, eventually

# Each line: id, number, when it was sent, when it was acknowledged.
WRITER = f"""
import json, sys, time, urllib.request
number = 0
while True:
    number += 1
    body = json.dumps({{"kind": "load", "payload": "x" * 200 + str(number)}}).encode()
    sent = time.time()
    try:
        with urllib.request.urlopen("{ADDRESS}/events", body, timeout=20) as answer:
            print(json.load(answer)["id"], number, sent, time.time(), flush=True)
    except OSError:
        time.sleep(0.05)
    time.sleep(0.01)
"""


def moment(text):
    """Seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def text_of(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def podman(*words, check=True):
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


class Load:
    """The writer in a container; its log is here, so that it outlives the container."""

    def __init__(self, container, log):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(["podman", "exec", container, "python3", "-c", WRITER], stdout=out)

    def events(self):
        """What was acknowledged: (id, payload), sent, acknowledged. The last line may be torn."""
        found = []
        for line in self.log.read_text().splitlines():
            words = line.split()
            if len(words) == 4:
                found.append(((int(words[0]), "x" * 200 + words[1]), float(words[2]), float(words[3])))
        return found

    def more(self, count):
        """Wait until that many more are acknowledged."""
        enough, end = len(self.events()) + count, time.monotonic() + 120
        while len(self.events()) < enough:
            assert time.monotonic() < end, f"{len(self.events())} of {enough} events"
            time.sleep(0.2)


def backed_up_under_load(container, log, patience=60):
    """The load of an application that goes on, with a backup off the host in the midst of it."""
    app = testinfra.get_host(f"podman://{container}")
    load = Load(container, log)
    load.more(300)
    app.check_output("systemctl start litekeep-backup@events.service")
    load.more(500)
    eventually(lambda: "MISSING" not in app.run("litekeep status events").stdout, patience)
    return load


def lose(container):
    """The end of a host, without warning, with its disk. When that was."""
    podman("kill", "--signal=KILL", container)
    failed = time.time()
    podman("rm", "--force", "--volumes", container)
    return failed


@dataclass
class Runbook:
    """A playbook, as a user runs it; its output and its reports."""

    scenario: Path
    folder: Path
    variables: dict = field(default_factory=dict)
    playbook: str = "recover_hardware_failure.yml"
    output: str = ""

    def start(self, *options, **more):
        variables = {"recovery_reports": str(self.folder / "reports"), **self.variables, **more}
        command = [str(Path(sys.executable).with_name("ansible-playbook"))]
        command += [str(ROOT / "playbooks" / self.playbook)]
        command += ["-i", str(ROOT / "molecule/shared/inventory"), "-i", str(self.scenario / "inventory.yml")]
        command += ["-e", json.dumps(variables), *options]
        settings = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
            "CONTAINERS_CONF": str(ROOT / ".cache/containers.conf"),
            "MOLECULE_SCENARIO_NAME": self.scenario.name,
        }
        return subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options, code=0, **more):
        """To its end."""
        process = self.start(*options, **more)
        self.output = process.communicate()[0]
        assert (process.returncode == 0) == (code == 0), self.output
        return self.output

    def kill_at(self, words):
        """Kill it, and all that it has started, when its output has these words."""
        process = self.start()
        seen = []
        for line in process.stdout:
            seen.append(line)
            if words in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        self.output = "".join(seen)
        assert words in self.output, self.output

    def report(self):
        """The only one."""
        (found,) = (self.folder / "reports").glob("*.json")
        assert found.with_suffix(".md").read_text()
        return json.loads(found.read_text())


@dataclass
class Loss:
    """A host that was lost, and what became of it. failed: when, in seconds since 1970."""

    runbook: Runbook
    load: Load
    failed: float
    report: dict

    def check_application(self, host):
        """It works, and starts with the host."""
        app = Application(host)
        before = app.count()
        app.add("after")
        assert app.count() == before + 1
        assert shown(host, "litekeep-example.service", "UnitFileState") == {"UnitFileState": "enabled"}

    def check_rows(self, host, youngest):
        """Lost is what came after the recovered moment, nothing else, and the report tells that moment. youngest: no
        row is lost that was acknowledged more than so many seconds before the end."""
        (events,) = self.report["databases"]
        recovered = moment(events["point"]["recovered"])
        there = {(row[0], row[3]) for row in query(host, ALL_ROWS) if row[2] == "load"}
        acknowledged = self.load.events()
        lost = [when for event, _sent, when in acknowledged if event not in there]
        assert len(acknowledged) > 800 > len(lost)
        # A row belongs to the state of a moment when it was committed by then: between sent and acknowledged.
        assert all(when >= recovered for when in lost)
        assert all(sent <= recovered for event, sent, _when in acknowledged if event in there)
        assert events["lost"]["known"] is True
        assert events["lost"]["seconds"] == pytest.approx(self.failed - recovered, abs=0.002)
        assert all(when > self.failed - youngest for when in lost)
