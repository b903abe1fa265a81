# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the ansible-playbook beside this Python, on this machine, and what they reported task by task."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, make_database

from litekeep import answers, backup
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timefmt import to_text

HERE = Path(__file__).resolve().parent
Values = dict[str, Any]


@dataclass
class Outcome:
    """What one run of ansible-playbook said. tasks: one entry a host and task, in order."""

    code: int
    output: str
    tasks: list[Values] = field(default_factory=list)

    def task(self, name: str, host: str | None = None) -> Values:
        """The result of the last task whose name ends so."""
        found = [t for t in self.tasks if t["task"].endswith(name) and host in (None, t["host"])]
        assert found, f"no task {name!r} in: {[t['task'] for t in self.tasks]}\n{self.output}"
        return found[-1]["result"]

    @property
    def last(self) -> Values:
        return self.tasks[-1]["result"]

    @property
    def failures(self) -> list[str]:
        return [str(t["result"].get("msg")) for t in self.tasks if t["status"] == "failed"]

    @property
    def changed(self) -> list[str]:
        return [t["task"] for t in self.tasks if t["result"].get("changed")]


class Ansible:
    """A controller with an inventory of its own and nothing of this user's settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.reports = folder / "reports"
        self.path: list[str] = []
        self.hosts: dict[str, Values] = {"localhost": {}}

    def playbook(
        self, playbook: Path | str, *options: str, cwd: Path = ROOT, inventory: bool = True, **variables: object
    ) -> Outcome:
        results = self.folder / "results.jsonl"
        results.unlink(missing_ok=True)
        command = [str(Path(sys.executable).with_name("ansible-playbook")), *options, "-e", json.dumps(variables)]
        if inventory:
            command += ["-i", str(self._inventory())]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_REMOTE_TMP": str(self.folder / "tmp"),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_results",
            "ANSIBLE_BECOME_ALLOW_SAME_USER": "true",  # so that becoming root is seen where the tests run as root
            "TASK_RESULTS": str(results),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join([*self.path, os.environ["PATH"]]),
        }
        run = subprocess.run(
            [*command, str(playbook)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        tasks = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        return Outcome(run.returncode, run.stdout + run.stderr, tasks)

    def run(self, *tasks: Values, check: bool = False) -> Outcome:
        """Run tasks one after the other, each whatever became of the one before."""
        play = {"hosts": "all", "gather_facts": False, "ignore_errors": True, "tasks": list(tasks)}
        file = self.folder / "tasks.yml"
        file.write_text(json.dumps([play]))
        return self.playbook(file, "--diff", *(["--check"] if check else []))

    def _inventory(self) -> Path:
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {**local, **variables} for name, variables in self.hosts.items()}
        file = self.folder / "inventory.json"
        file.write_text(json.dumps({"all": {"hosts": hosts}}))
        return file


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path / "controller")


@dataclass
class Host:
    """Two databases and their repository. events is in WAL mode, orders is not."""

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "data" / "events.db"

    @property
    def orders(self) -> Path:
        return self.folder / "data" / "orders.db"

    @property
    def databases(self) -> list[Values]:
        return [{"name": "events", "path": str(self.events)}, {"name": "orders", "path": str(self.orders)}]

    @property
    def where(self) -> Values:
        """What modules are told about the repository."""
        return {"repository": str(self.folder / "repository"), "host": "app1"}

    @property
    def variables(self) -> Values:
        """What the inventory tells the playbooks."""
        return {
            "sqlite_backup_databases": self.databases,
            "sqlite_backup_repository": str(self.folder / "repository"),
            "sqlite_backup_host": "app1",
        }

    def back_up(self, *names: str) -> list[str]:
        """Take a backup of each (default: both) without Ansible, which is faster; returns the ids."""
        repository = Repository(self.where["repository"], self.where["host"])
        chosen = [each for each in self.databases if each["name"] in (names or ("events", "orders"))]
        return [backup.take(repository, Database(each["name"], each["path"]), Progress()).id for each in chosen]

    @contextlib.contextmanager
    def archiving(self) -> Iterator[None]:
        """``litekeep archive events`` meanwhile, from when moments can be restored until it took the last commits."""
        settings = {"interval": "1s", "heartbeat": "1s"}
        policy = {"path": str(self.events), "archive": True, "archive_settings": settings}
        config = self.folder.parent / "litekeep.json"
        config.write_text(json.dumps({**self.where, "databases": {"events": policy}}))
        command = [sys.executable, "-m", "litekeep", "--config", str(config), "archive", "events"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        archiver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self._until(lambda listing: listing["timelines"] and listing["timelines"][-1]["from"])
            yield
        finally:
            archiver.terminate()
            said = archiver.communicate()[0]
            assert archiver.returncode == 0, said

    def moment(self) -> str:
        """A time that is proven to have the state that events has now."""
        now = to_text(dt.datetime.now(dt.timezone.utc))
        listing = self._until(lambda listing: listing["windows"] and listing["windows"][-1]["to"] > now)
        return str(listing["windows"][-1]["to"])

    def execute(self, statement: str) -> None:
        """One commit of the application of events."""
        with contextlib.closing(sqlite3.connect(self.events, isolation_level=None)) as application:
            application.execute(statement)

    def listing(self) -> Values:
        """What there is of events."""
        return answers.listing(Repository(self.where["repository"], self.where["host"]), "events")

    def _until(self, found: Callable[[Values], Any]) -> Values:
        end = time.monotonic() + 60
        while not found(listing := self.listing()):
            assert time.monotonic() < end, listing
            time.sleep(0.1)
        return listing

    def stored(self, database: str) -> list[Path]:
        """The compressed files of its backups, oldest first."""
        return sorted((self.folder / "repository" / "app1" / database / "backups").glob("*/database.db.zst"))

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Everything there is: names, inodes, sizes, contents."""
        return {
            str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.folder.rglob("*"))
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path / "host")
    make_database(found.events, rows=200)
    make_database(found.orders, rows=100, mode="delete")
    return found
