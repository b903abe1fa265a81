"""A restore that is killed at any point leaves the target old or new and whole, and the next run cleans up."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support import (
    SUFFIXES,
    Steps,
    content,
    die_before_call,
    flip,
    in_child,
    leave_hot_journal,
    leave_wal,
    make_database,
    protect,
    set_bytes,
)

from litekeep import backup, restore
from litekeep.errors import NoRestorePointError
from litekeep.progress import Progress


def at_rest(path: Path) -> None:
    make_database(path, marker="newer")


def with_commits_in_the_wal(path: Path) -> None:
    make_database(path, marker="newer")
    leave_wal(path)


def with_a_hot_journal(path: Path) -> None:
    make_database(path, mode="delete", marker="newer", rows=2000)
    leave_hot_journal(path)


def missing(path: Path) -> None:
    for suffix in SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def lost_beside_its_wal(path: Path) -> None:
    with_commits_in_the_wal(path)
    path.unlink()


def with_a_damaged_page_and_a_wal(path: Path) -> None:
    with_commits_in_the_wal(path)
    flip(path, 0, 4096)


SOUND = (at_rest, with_commits_in_the_wal, with_a_hot_journal, missing)
BROKEN = (lost_beside_its_wal, with_a_damaged_page_and_a_wal)


class Scene:
    """A backup of one state, and another state in place of it."""

    def __init__(self, tmp_path: Path, old_state: Callable[[Path], None]) -> None:
        self.path = tmp_path / "data" / "events.db"
        make_database(self.path, marker="backed up")
        self.repository, self.database = protect(tmp_path, self.path)
        backup.take(self.repository, self.database, Progress())
        self.new = content(self.path)
        if old_state is not missing:
            self.path.unlink()
        old_state(self.path)
        self.old = content(self.path)
        self.old_bytes = set_bytes(self.path)
        assert self.old != self.new

    def restore(self, progress: Progress | None = None) -> restore.Restored:
        plan = restore.plan(self.repository, self.database)
        return restore.restore(self.repository, self.database, plan, progress or Progress())

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))

    def kept_states(self) -> list[str]:
        """The content of every quarantine folder."""
        return [content(self.path.parent / n / "events.db") for n in self.names() if ".before-restore-" in n]


def assert_whole_after_kill(scene: Scene, sound: bool) -> None:
    """Right after the kill, as an application would find it."""
    now = content(scene.path)
    allowed = {scene.old, scene.new} if sound else {scene.old, scene.new, "missing"}
    assert now in allowed, f"neither old nor new: {now}"


def assert_next_run_cleans_up(scene: Scene) -> None:
    scene.restore()
    assert content(scene.path) == scene.new
    assert not [name for name in scene.names() if name.startswith(".litekeep")]
    assert not [name for name in scene.names() if name.endswith(".stray")]


@pytest.mark.parametrize("step", restore.STEPS)
@pytest.mark.parametrize("old_state", SOUND + BROKEN)
def test_kill_at_every_named_step(tmp_path: Path, old_state: Callable[[Path], None], step: str) -> None:
    scene = Scene(tmp_path, old_state)
    assert in_child(lambda: scene.restore(Steps(die_at=step))) == -signal.SIGKILL
    assert_whole_after_kill(scene, old_state in SOUND)
    was_swapped = content(scene.path) == scene.new
    assert_next_run_cleans_up(scene)
    if old_state is not missing:
        assert was_swapped or scene.old in scene.kept_states()


@pytest.mark.parametrize("old_state", SOUND + BROKEN)
def test_a_run_passes_exactly_the_named_steps(tmp_path: Path, old_state: Callable[[Path], None]) -> None:
    scene, steps = Scene(tmp_path, old_state), Steps()
    scene.restore(steps)
    assert tuple(steps.seen) == restore.STEPS


@pytest.mark.parametrize("old_state", SOUND + BROKEN)
def test_kill_before_every_file_system_call(tmp_path: Path, old_state: Callable[[Path], None]) -> None:
    killed = 0
    for number in range(1, 200):
        place = tmp_path / str(number)
        scene = Scene(place, old_state)
        if die_before_call(number, scene.restore) == 0:
            break
        killed += 1
        assert_whole_after_kill(scene, old_state in SOUND)
        assert_next_run_cleans_up(scene)
    assert 20 < killed < 150


@pytest.mark.parametrize("old_state", SOUND + BROKEN)
def test_the_old_files_stay_in_quarantine_byte_for_byte(tmp_path: Path, old_state: Callable[[Path], None]) -> None:
    scene = Scene(tmp_path, old_state)
    done = scene.restore()
    assert content(scene.path) == scene.new
    if old_state is missing:
        assert done.quarantine == ""
    else:
        assert set_bytes(Path(done.quarantine) / "events.db") == scene.old_bytes


ROLLED_BACK = (at_rest, with_commits_in_the_wal, with_a_hot_journal, with_a_damaged_page_and_a_wal)


@pytest.mark.parametrize("old_state", ROLLED_BACK)
def test_rollback_brings_the_old_state_back(tmp_path: Path, old_state: Callable[[Path], None]) -> None:
    scene = Scene(tmp_path, old_state)
    scene.restore()
    leave_wal(scene.path, "written after the restore")
    written = content(scene.path)
    done = restore.rollback(scene.database, Progress())
    assert content(scene.path) == scene.old
    assert content(Path(done.quarantine) / "events.db") == written
    assert not [name for name in scene.names() if name.startswith(".litekeep")]


@pytest.mark.parametrize("old_state", ROLLED_BACK)
def test_rollback_killed_before_every_file_system_call(tmp_path: Path, old_state: Callable[[Path], None]) -> None:
    killed = 0
    for number in range(1, 200):
        scene = Scene(tmp_path / str(number), old_state)
        scene.restore()
        leave_wal(scene.path, "written after the restore")
        written = content(scene.path)
        if die_before_call(number, lambda scene=scene: restore.rollback(scene.database, Progress())) == 0:
            break
        killed += 1
        now = content(scene.path)
        assert now in {scene.old, written} or (old_state not in SOUND and now == "missing"), number
        # Only the last calls, when all is done, leave nothing to go back to.
        with contextlib.suppress(NoRestorePointError):
            restore.rollback(scene.database, Progress())
        assert content(scene.path) == scene.old, number
        assert not [name for name in scene.names() if name.startswith(".litekeep")]
    assert 15 < killed < 150
