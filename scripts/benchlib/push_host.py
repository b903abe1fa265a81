# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that sends: a database that somebody writes to, ``litekeep archive``, ``litekeep push --follow``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import archive_compare
from .archive_load import START, Crew
from .archive_ways import DATABASE, litekeep
from .place import NAME, Place, WrongResultError, environment
from .push_results import Push
from .push_server import REMOTE, Server, processor_time

LIMIT = 60.0  # seconds that a service gets to end


class Service:
    """A process that ends well on SIGTERM; its output goes to a log."""

    def __init__(self, place: Place, name: str, words: list[str | Path]) -> None:
        self._name, self._log = name, place.log(name)
        with open(self._log, "wb") as output:
            self._process = subprocess.Popen(
                [str(word) for word in words],
                cwd=place.folder,
                env=environment(place.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def cpu(self) -> float:
        """User and system seconds so far, with all that it has started."""
        return processor_time(self._process.pid)

    def require_alive(self) -> None:
        """WrongResultError, with its last words, when it is gone."""
        if self._process.poll() is not None:
            raise self._wrong(f"ended by itself with {self._process.returncode}")

    def end(self) -> None:
        """SIGTERM, and wait. WrongResultError when it does not end well."""
        self.require_alive()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.wait(LIMIT) == 0:
                return
        raise self._wrong(f"did not end well ({self._process.returncode})")

    def kill(self) -> None:
        """Whatever happened: neither it nor its children stay."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wrong(self, what: str) -> WrongResultError:
        return WrongResultError(f"{self._name} {what}:\n{self._log.read_text(errors='replace')[-2000:]}")


class Host:
    """Number ``number``, from 1 on. interval: seconds between two pushes."""

    def __init__(self, place: Place, server: Server, number: int, interval: int, relief: int) -> None:
        self.name = f"host{number}"
        self.folder = place.fresh(self.name)
        self.database = self.folder / DATABASE
        self._place, self._number = place, number
        self._pushes = self.folder / "pushes.jsonl"
        shutil.copyfile(place.database, self.database)
        remote = {
            "rclone": str(server.rclone_config(number, self.folder)),
            "path": f"{REMOTE}:",
            "incoming": ".incoming",
            "interval": interval,
        }
        policy = {"path": str(self.database), "archive": True, "archive_settings": {"relief": relief}}
        config = {
            "repository": str(self.folder / "stored"),
            "host": self.name,
            "databases": {NAME: policy},
            "remotes": {REMOTE: remote},
        }
        (self.folder / "litekeep.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        self.archiver = Service(place, f"archive-{number}", litekeep(self.folder, "archive", NAME))
        words = litekeep(self.folder, "push", NAME, "--follow")[3:]
        self.sender = Service(
            place, f"push-{number}", [sys.executable, "-m", "benchlib.push_sender", self._pushes, *words]
        )

    def write(self, writers: Crew, rate: float, seed: int) -> None:
        """Let an application begin."""
        name = f"writer-{self._number}"
        begin = time.monotonic() + START
        writers.start(
            name, "benchlib.archive_writer", self.database, rate, writers.log_of(name), seed + self._number, begin
        )

    def pushes(self) -> list[Push]:
        """All that were done so far."""
        if not self._pushes.exists():
            return []
        return [Push(**json.loads(line)) for line in self._pushes.read_text(encoding="utf-8").splitlines()]

    def push(self) -> None:
        """Send what the service had no time for at its end. WrongResultError when that fails."""
        self._place.must_run(litekeep(self.folder, "push", NAME), self._place.fresh(f"push-{self.name}"))

    def problem(self, number: int) -> str | None:
        """Restore what the server has, and compare it with the live database: None when every row is equal."""
        folder = self._place.fresh(f"restore-{number}")
        copy = folder / DATABASE
        self._place.must_run(litekeep(self.folder, "restore", NAME, "--from", REMOTE, "--target", copy), folder)
        found = archive_compare.unequal(copy, self.database)
        self._place.drop(folder.name)
        return f"{self.name}, restored out of the server: {found}" if found else None

    def kill(self) -> None:
        """Neither service stays."""
        self.sender.kill()
        self.archiver.kill()


@contextlib.contextmanager
def running(make: Callable[[int], Host], count: int) -> Iterator[list[Host]]:
    """So many hosts, gone at the end."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(1, count + 1):
            host = make(number)
            stack.callback(host.kill)
            found.append(host)
        yield found
