"""A repair that is killed at any point leaves the damaged database or the new one, and the next run cleans up."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from damaging import overwrite, set_of
from support import Steps, content, die_before_call, in_child, leave_wal, make_database, protect, set_bytes

from litekeep import backup, repair, restore, triage
from litekeep.errors import NoRestorePointError
from litekeep.progress import Progress


def root_of(path: Path, name: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])


def an_index(path: Path) -> None:
    overwrite(path, root_of(path, "events_kind"), bytes(4096))


def an_index_below_a_wal(path: Path) -> None:
    root = root_of(path, "events_kind")
    leave_wal(path, rows=1)
    overwrite(path, root, bytes(4096))


def a_table(path: Path) -> None:
    root = root_of(path, "events")
    leave_wal(path, rows=1)
    overwrite(path, root, bytes(4096))


def the_header(path: Path) -> None:
    leave_wal(path, rows=1)
    overwrite(path, 1, bytes(4096))


REPAIRS = [("reindex", an_index), ("reindex", an_index_below_a_wal), ("salvage", a_table), ("salvage", the_header)]


class Scene:
    """A backup, and the same database with damage."""

    def __init__(self, folder: Path, method: str, damage: Callable[[Path], None]) -> None:
        self.method = method
        self.path = make_database(folder / "data" / "events.db", rows=400)
        self.repository, self.database = protect(folder, self.path)
        backup.take(self.repository, self.database, Progress())
        damage(self.path)
        self.old, self.old_bytes = content(self.path), set_bytes(self.path)
        aside = folder / "aside" / "events.db"
        aside.parent.mkdir()
        self.repair(target=aside)
        assert set_bytes(self.path) == self.old_bytes
        self.new = content(aside)
        assert "unreadable" in self.old
        assert "unreadable" not in self.new

    def repair(self, progress: Progress | None = None, target: Path | None = None) -> repair.Repaired:
        place = None if target is None else str(target)
        return repair.repair(self.repository, self.database, self.method, progress or Progress(), place, compare=False)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))

    def kept(self) -> list[dict[str, bytes]]:
        folders = [self.path.parent / n for n in self.names() if ".before-restore-" in n]
        return [set_bytes(folder / "events.db") for folder in folders]

    def assert_whole(self) -> None:
        """Right after the kill, as an application finds it. What SQLite cannot open is moved, so it may be away."""
        now = content(self.path)
        allowed = {self.old, self.new, "missing"} if self.old.endswith("not a database") else {self.old, self.new}
        assert now in allowed, now

    def assert_next_run_cleans_up(self) -> None:
        done = content(self.path) == self.new
        with contextlib.suppress(NoRestorePointError):
            if not done:
                self.repair()
        if done:
            self.repair()
        assert content(self.path) == self.new
        assert not [name for name in self.names() if name.startswith(".litekeep") or name.endswith(".stray")]
        assert self.old_bytes in self.kept()


@pytest.mark.parametrize(("method", "damage"), REPAIRS)
def test_a_run_passes_exactly_the_named_steps_and_keeps_the_old_files(
    in_memory: Path, method: str, damage: Callable[[Path], None]
) -> None:
    scene, steps = Scene(in_memory, method, damage), Steps()
    done = scene.repair(steps)
    assert tuple(steps.seen) == repair.STEPS
    assert content(scene.path) == scene.new
    assert set_bytes(Path(done.restored.quarantine) / "events.db") == scene.old_bytes
    assert triage.triage(scene.repository, scene.database, Progress()).damage == triage.SOUND


@pytest.mark.parametrize("step", repair.STEPS)
@pytest.mark.parametrize(("method", "damage"), REPAIRS)
def test_kill_at_every_named_step(in_memory: Path, method: str, damage: Callable[[Path], None], step: str) -> None:
    scene = Scene(in_memory, method, damage)
    assert in_child(lambda: scene.repair(Steps(die_at=step))) == -signal.SIGKILL
    scene.assert_whole()
    scene.assert_next_run_cleans_up()


def test_kill_before_every_other_file_system_call(in_memory: Path) -> None:
    killed = 0
    for number in range(1, 300, 2):
        scene = Scene(in_memory / str(number), *REPAIRS[1])
        if die_before_call(number, scene.repair) == 0:
            break
        killed += 1
        scene.assert_whole()
        scene.assert_next_run_cleans_up()
    assert 8 < killed < 100


@pytest.mark.parametrize(("method", "damage"), REPAIRS)
def test_rollback_brings_the_damaged_files_back(in_memory: Path, method: str, damage: Callable[[Path], None]) -> None:
    scene = Scene(in_memory, method, damage)
    scene.repair()
    done = restore.rollback(scene.database, Progress())
    assert content(scene.path) == scene.old
    assert content(Path(done.quarantine) / "events.db") == scene.new


def test_triage_after_a_kill_says_what_waits(in_memory: Path) -> None:
    scene = Scene(in_memory, "salvage", the_header)
    assert in_child(lambda: scene.repair(Steps(die_at=restore.STEPS[4]))) == -signal.SIGKILL
    before = set_of(scene.path)
    found = triage.triage(scene.repository, scene.database, Progress())
    assert (found.damage, before) == (triage.MISSING, {})
    assert "an interrupted restore waits" in found.messages[1]
