from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Steps, content, flip, in_child, make_database, set_bytes
from unit.crashes import leave_wal

from litekeep import swap
from litekeep.progress import Progress
from litekeep.swap import BEFORE, STEPS, Swap
from litekeep.swaprecovery import inside, recover
from litekeep.workspace import BUILDING, MOVING, READY, Journal, Workspace


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "data").mkdir(exist_ok=True)
    found = Workspace(str(tmp_path / "data" / "events.db"))
    with found.locked():
        shutil.move(make_database(tmp_path / "made.db", rows=30, mode="delete", marker="new"), found.new)
        yield found


def sound(target: Path) -> None:
    make_database(target)
    leave_wal(target)


def damaged(target: Path) -> None:
    sound(target)
    flip(target, 16, 60)
    flip(Path(f"{target}-wal"), 56, 200)


def die(space: Workspace, step: str) -> None:
    """A real swap that is killed at a step, in a process of its own."""
    code = in_child(lambda: Swap(space, (), lambda _path: None, Steps(step)).run(Journal(backup="some-id"), BEFORE))
    assert code == -9


def beside(space: Workspace) -> list[str]:
    return sorted(name for name in os.listdir(os.path.dirname(space.target)) if not name.startswith("."))


def test_nothing_is_done_where_nothing_was_begun(space: Workspace, events: Path) -> None:
    before = set_bytes(events)
    for journal in (None, Journal(BUILDING, "some-id"), Journal(READY, "some-id")):
        if journal:
            space.write(journal)
        assert recover(space) == ""
    assert set_bytes(events) == before


@pytest.mark.parametrize("step", STEPS[:3])
def test_before_the_last_rename_the_sound_old_state_stays(space: Workspace, step: str) -> None:
    target = Path(space.target)
    sound(target)
    before = content(target)
    die(space, step)
    said = recover(space)
    assert "interrupted restore of some-id" in said
    assert "had not replaced" in said
    assert content(target) == before


def test_second_names_alone_are_no_quarantine(space: Workspace) -> None:
    make_database(Path(space.target))
    die(space, STEPS[0])
    assert recover(space) == "an interrupted restore of some-id had not replaced anything yet"
    assert beside(space) == ["events.db"]


def test_the_raw_files_are_kept_once_their_wal_was_taken_in(space: Workspace) -> None:
    target = Path(space.target)
    sound(target)
    before = set_bytes(target)
    die(space, STEPS[2])
    said = recover(space)
    (kept,) = swap.quarantines(space.target)
    assert said.endswith(f"the raw files of before are kept in {kept}")
    assert set_bytes(Path(kept, "events.db")) == before


@pytest.mark.parametrize("old", [sound, damaged])
@pytest.mark.parametrize("step", STEPS[3:])
def test_after_the_last_rename_the_new_state_stays(space: Workspace, old: Callable[[Path], None], step: str) -> None:
    target = Path(space.target)
    old(target)
    before, new = set_bytes(target), content(Path(space.new))
    die(space, step)
    said = recover(space)
    (kept,) = swap.quarantines(space.target)
    assert said == f"an interrupted restore of some-id was complete; the old files are in {kept}"
    assert content(target) == new
    assert set_bytes(Path(kept, "events.db")) == before


@pytest.mark.parametrize("step", STEPS[:3])
def test_a_damaged_old_set_that_was_on_its_way_is_put_back(space: Workspace, step: str) -> None:
    target = Path(space.target)
    damaged(target)
    before = set_bytes(target)
    die(space, step)
    assert "undone, the old files stand in their place again" in recover(space)
    assert set_bytes(target) == before
    assert swap.quarantines(space.target) == []


@pytest.mark.parametrize("gone", [["-wal"], ["", "-wal"], ["", "-wal", "-shm"]])
def test_a_move_that_was_killed_between_two_files_is_put_back(space: Workspace, gone: list[str]) -> None:
    target = Path(space.target)
    damaged(target)
    before = set_bytes(target)
    old = {suffix: os.stat(f"{target}{suffix}").st_ino for suffix in ("", "-wal", "-shm")}
    quarantine = f"{target}{BEFORE}1"
    os.mkdir(quarantine)
    for suffix in gone:
        os.rename(f"{target}{suffix}", f"{quarantine}/events.db{suffix}")
    space.write(Journal(MOVING, "some-id", quarantine=quarantine, old=old))
    recover(space)
    assert set_bytes(target) == before
    assert not os.path.exists(quarantine)


def test_what_an_application_made_meanwhile_is_kept_aside(space: Workspace) -> None:
    target = Path(space.target)
    damaged(target)
    before = set_bytes(target)
    die(space, STEPS[1])
    make_database(target, rows=3, mode="delete", marker="started without its data")
    stranger = target.read_bytes()
    said = recover(space)
    strays = said.rpartition(" ")[2]
    assert strays.endswith(".stray")
    assert set_bytes(target) == before
    assert Path(strays, "events.db").read_bytes() == stranger
    assert swap.quarantines(space.target) == []


def test_a_restore_into_an_empty_place_that_was_killed_leaves_it_empty(space: Workspace) -> None:
    space.write(Journal(MOVING, "some-id", quarantine=space.target + BEFORE + "1"))
    assert "undone" in recover(space)
    assert beside(space) == []


def test_a_complete_restore_into_an_empty_place_names_no_old_files(space: Workspace) -> None:
    new = content(Path(space.new))
    assert in_child(lambda: Swap(space, (), lambda _path: None, Steps(STEPS[3])).run(Journal(backup="b"), BEFORE)) == -9
    assert recover(space) == "an interrupted restore of b was complete"
    assert content(Path(space.target)) == new


def test_a_rollback_is_called_one(space: Workspace) -> None:
    make_database(Path(space.target))
    journal = Journal(backup="the files", rollback_of=f"{space.target}{BEFORE}1")
    assert in_child(lambda: Swap(space, (), lambda _path: None, Steps(STEPS[0])).run(journal, BEFORE)) == -9
    assert recover(space).startswith("an interrupted rollback to the files ")


def test_recovering_twice_is_the_same(space: Workspace) -> None:
    target = Path(space.target)
    damaged(target)
    before = set_bytes(target)
    die(space, STEPS[1])
    recover(space)
    recover(space)
    assert set_bytes(target) == before


def test_a_swap_after_a_recovery_ends_well(space: Workspace) -> None:
    target = Path(space.target)
    sound(target)
    new = content(Path(space.new))
    die(space, STEPS[2])
    recover(space)
    for leftover in (space.undo, space.settled):
        if os.path.exists(leftover):
            os.unlink(leftover)
    Swap(space, (), lambda _path: None, Progress()).run(Journal(), BEFORE)
    assert content(target) == new


def test_the_same_name_in_another_folder() -> None:
    assert inside("/q", "/data/events.db-wal") == "/q/events.db-wal"
