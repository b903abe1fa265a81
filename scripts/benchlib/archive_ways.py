# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands beside the application in ``scripts/bench archive``: nothing, Litekeep, Litestream.

Each way has a directory of its own: the database ``events.db`` and ``stored``, where the history goes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .machine import said
from .place import HOST, NAME, WrongResultError, environment, tree_size

DATABASE, STORED = f"{NAME}.db", "stored"

Words = list["str | Path"]


class Way:
    """Nothing beside the application: a process that sleeps is watched, so that the watching is the same."""

    key, title = "none", "no archiver"
    exit_code = -15  # what it ends with when told to by SIGTERM

    def prepare(self, folder: Path) -> None:
        """Before it is started."""

    def words(self, folder: Path) -> Words:
        """The command line of the archiver."""
        return ["sleep", "infinity"]

    def ready(self, folder: Path) -> bool:
        """Whether the history begins now: the application may start."""
        return True

    def restore(self, folder: Path, target: Path) -> Words:
        """The command line that restores the newest state; empty when there is nothing to restore from."""
        return []

    def restore_checked(self, folder: Path, target: Path) -> Words:
        """The same with an integrity_check, where that is another command."""
        return []

    def aside(self, folder: Path) -> Path | None:
        """What it keeps beside the database, in addition to what is stored."""
        return None

    def problem(self, folder: Path) -> str | None:
        """What is wrong with the history, by its own words."""
        return None


class Litekeep(Way):
    """``litekeep archive``. settings: archive_settings that differ from its defaults."""

    key, title = "litekeep", "Litekeep"
    exit_code = 0

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def prepare(self, folder: Path) -> None:
        write_config(folder, self.settings)

    def words(self, folder: Path) -> Words:
        return litekeep(folder, "archive", NAME)

    def ready(self, folder: Path) -> bool:
        return archive_status(folder).get("proven_until") is not None

    def restore(self, folder: Path, target: Path) -> Words:
        return litekeep(folder, "restore", NAME, "--to", "latest", "--target", target)

    def problem(self, folder: Path) -> str | None:
        return history_problem(answer(folder, "list"))


class Litestream(Way):
    """``litestream replicate`` to a directory, with its defaults. binary: where it is."""

    key, title = "litestream", "Litestream"
    exit_code = 0

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def words(self, folder: Path) -> Words:
        return [self.binary, "replicate", folder / DATABASE, self._replica(folder)]

    def ready(self, folder: Path) -> bool:
        # Its snapshot, and the first compaction, which handles the whole database once more.
        return all(any((folder / STORED / "ltx" / level).glob("*.ltx")) for level in ("9", "1"))

    def restore(self, folder: Path, target: Path) -> Words:
        return [self.binary, "restore", "-o", target, self._replica(folder)]

    def restore_checked(self, folder: Path, target: Path) -> Words:
        return [self.binary, "restore", "-integrity-check", "full", "-o", target, self._replica(folder)]

    def aside(self, folder: Path) -> Path | None:
        return folder / f".{DATABASE}-litestream"

    def _replica(self, folder: Path) -> str:
        return f"file://{folder / STORED}"


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    """A configuration of Litekeep for the database of ``folder``. settings: archive_settings."""
    policy = {"path": str(folder / DATABASE), "archive": True, "archive_settings": settings}
    config = {"repository": str(folder / STORED), "host": HOST, "databases": {NAME: policy}}
    (folder / "litekeep.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def litekeep(folder: Path, *words: str | Path) -> Words:
    """The command line of Litekeep in this checkout, with the configuration of ``folder``."""
    return [sys.executable, "-m", "litekeep", "--config", folder / "litekeep.json", *words]


def answer(folder: Path, command: str) -> dict[str, Any]:
    """What ``litekeep COMMAND --json`` says of the database. WrongResultError when that is no answer."""
    words = [str(word) for word in litekeep(folder, command, NAME, "--json")]
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    try:
        databases: list[dict[str, Any]] = json.loads(done.stdout)["databases"]
        return databases[0]
    except (ValueError, LookupError) as problem:
        raise WrongResultError(
            f"litekeep {command} gave no answer (exit code {done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}"
        ) from problem


def archive_status(folder: Path) -> dict[str, Any]:
    """The part about the archive in ``litekeep status``; empty as long as there is none."""
    status: dict[str, Any] = answer(folder, "status").get("archive") or {}
    return status


def history_problem(catalogue: dict[str, Any]) -> str | None:
    """What a catalogue says against one unbroken history; None when it is one."""
    if catalogue["gaps"]:
        return f"{len(catalogue['gaps'])} gaps, the first: {catalogue['gaps'][0]}"
    if len(catalogue["timelines"]) != 1:
        return f"{len(catalogue['timelines'])} timelines instead of 1"
    if catalogue["timelines"][0]["problem"]:
        return f"the timeline: {catalogue['timelines'][0]['problem']}"
    return None


def aside_size(way: Way, folder: Path) -> int:
    """Bytes beside the database."""
    kept = way.aside(folder)
    return 0 if kept is None else tree_size(kept)


def described(ways: list[Way]) -> dict[str, str]:
    """Versions of those that ``machine.describe`` does not know."""
    found = {}
    for way in ways:
        if isinstance(way, Litestream):
            found["litestream"] = f"{said(str(way.binary), 'version').strip()}, replica in a directory, its defaults"
    return found
