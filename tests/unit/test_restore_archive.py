"""Restores out of an archive: the very state of a moment, or the old one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import content, flip
from unit.archives import Kept, Scene, archiving, connect, dump
from unit.places import Disk

from litekeep import restore
from litekeep.errors import NoRestorePointError, SpaceError, VerificationError
from litekeep.progress import Progress
from litekeep.replay import commits_of
from litekeep.repository import Repository
from litekeep.timefmt import to_text
from litekeep.workspace import Workspace

QUIET = Progress()


@pytest.fixture
def story(kept: Kept) -> Scene:
    """Three rounds of commits after a base, and a stopped archiver."""
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        for second in range(2, 8):
            scene.commit(second, count=2)
            if second % 3 == 0:
                scene.relieve(second + 0.5)
                scene.writer.merge()
        scene.heartbeat(60)
    return scene


def swap_in(kept: Kept, to: str = "latest", target: Path | None = None, nearest: bool = False) -> restore.Restored:
    chosen = restore.plan(*kept, to, None if target is None else str(target), nearest)
    return restore.restore(*kept, chosen, QUIET)


def test_every_moment_comes_back_as_the_application_saw_it(kept: Kept, story: Scene, tmp_path: Path) -> None:
    for second, state in zip(range(1, 8), [story.states[p] for p in sorted(story.states)]):
        for moment in (second, second + 0.9):
            target = tmp_path / f"{moment}.db"
            done = swap_in(kept, to_text(story.at(moment)), target)
            assert dump(target) == state, moment
            assert done.point.startswith(f"{story.folder.name}@")


def test_a_restore_in_place_and_its_rollback(kept: Kept, story: Scene, events: Path) -> None:
    before = content(events)
    swap_in(kept, to_text(story.at(3)))
    assert dump(events) == story.states[sorted(story.states)[2]]
    restore.rollback(kept[1], QUIET)
    assert content(events) == before


def test_latest_is_what_the_application_saw_last(kept: Kept, story: Scene, events: Path) -> None:
    last = story.states[max(story.states)]
    for name in os.listdir(events.parent):
        (events.parent / name).unlink()
    swap_in(kept)
    assert dump(events) == last


def test_a_prepared_point_is_used_also_when_the_archive_has_gone_on(kept: Kept, story: Scene, events: Path) -> None:
    chosen = restore.plan(*kept, to_text(story.at(4)))
    restore.prepare(*kept, chosen, QUIET)
    new = os.stat(Workspace(str(events)).new).st_ino
    with archiving(kept, shift=100) as scene:
        scene.commit(1)
    again = restore.plan(*kept, chosen.point.id)
    assert again.prepared
    assert not restore.plan(*kept, to_text(story.at(5))).prepared
    restore.restore(*kept, again, QUIET)
    assert events.stat().st_ino == new
    assert dump(events) == story.states[sorted(story.states)[3]]


def test_a_commit_between_two_looks_comes_back_and_a_frame_inside_a_transaction_does_not(
    kept: Kept, tmp_path: Path
) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        states = []
        for size in (100, 30_000, 100):
            scene.insert(size=size)
            states.append(dump(scene.path))
        scene.take(2)
        scene.writer.flush()
        segment = scene.read().segments[-1]
    ends = commits_of(segment)
    assert (len(ends), ends[-1]) == (3, segment.last)
    for end, state in zip(ends, states):
        target = tmp_path / f"{end}.db"
        done = swap_in(kept, f"{story_id(scene)}@{segment.round}.{end}", target)
        assert dump(target) == state
        assert done.point == f"{story_id(scene)}@{segment.round}.{end}"
    before = content(scene.path)
    for inside in set(range(segment.first, segment.last)) - set(ends):
        with pytest.raises(NoRestorePointError, match="is inside a transaction") as caught:
            swap_in(kept, f"{story_id(scene)}@{segment.round}.{inside}")
        assert "nothing was replaced" in caught.value.safe
    assert content(scene.path) == before


def story_id(scene: Scene) -> str:
    return scene.folder.name


def test_the_archiver_is_among_the_services_that_must_be_stopped(kept: Kept) -> None:
    database = dataclasses.replace(kept[1], services=("app.service",))
    assert restore.units(database) == ("app.service",)
    database = dataclasses.replace(database, archive=True)
    assert restore.units(database) == ("app.service", "litekeep-archive@events.service")


def test_a_harmed_segment_never_reaches_the_target(kept: Kept, story: Scene, events: Path) -> None:
    before = content(events)
    path = sorted(story.folder.glob("*.wal.zst"))[0]
    flip(path, path.stat().st_size // 2)
    for to in ("latest", to_text(story.at(7)), to_text(story.at(3))):
        with pytest.raises(VerificationError, match="is not what was archived"):
            swap_in(kept, to)
        assert content(events) == before
        assert [name for name in os.listdir(events.parent) if "restore" in name] == []
    assert swap_in(kept, to_text(story.at(1))).swapped, "the base needs no segment"


def test_a_moment_at_which_the_database_was_damaged_is_refused_with_what_to_do(
    kept: Kept, events: Path, tmp_path: Path
) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.db.execute("PRAGMA writable_schema=ON")
        scene.db.execute("UPDATE sqlite_master SET rootpage = 3 WHERE name = 'events_kind'")
        assert scene.take(2)
        scene.writer.flush()
    with pytest.raises(VerificationError, match="does not pass its checks") as caught:
        swap_in(kept, to_text(scene.at(2)), tmp_path / "copy.db")
    assert "an earlier one with --to TIME" in caught.value.next_step
    assert swap_in(kept, to_text(scene.at(1)), tmp_path / "copy.db").swapped


def test_broken_foreign_keys_are_told_and_do_not_stop_a_restore(kept: Kept, tmp_path: Path) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.db.execute("CREATE TABLE child(x REFERENCES events(id))")
        scene.db.execute("INSERT INTO child VALUES(99999)")
        assert scene.take(2)
        scene.writer.flush()
    done = swap_in(kept, to_text(scene.at(2)), tmp_path / "copy.db")
    assert any("foreign key violations in" in note for note in done.notes)


def test_the_schema_of_the_moment_is_proven_not_that_of_the_base(kept: Kept, tmp_path: Path) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.db.execute("CREATE TABLE more(x)")
        scene.db.execute("PRAGMA user_version=99")
        assert scene.take(2)
        scene.writer.flush()
    swap_in(kept, to_text(scene.at(2)), tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
        assert db.execute("SELECT count(*) FROM more").fetchone() == (0,)


def test_the_room_for_what_the_archive_adds_is_asked_for_before_anything_is_built(
    on_disk: Callable[..., None], kept: Kept
) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.insert(20, size=500_000)
        assert scene.take(2)
        scene.writer.flush()

    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError, match="Not enough space"):
            swap_in(kept, target=disk / "copy.db", nearest=True, to=to_text(scene.at(2)))
        assert os.listdir(disk.path) == []
        swap_in(kept, target=disk / "copy.db", to=to_text(scene.at(1)))

    on_disk(work, size="20m")


def test_a_read_only_repository_with_an_archive_can_be_restored_from(
    on_disk: Callable[..., None], kept: Kept, tmp_path: Path
) -> None:
    def work(disk: Disk) -> None:
        there = Repository(str(disk / "repository"), "host"), kept[1]
        with archiving(there) as scene:
            scene.commit(1)
            scene.backup(1.5)
            end = scene.commit(2)
        disk.seal()
        swap_in(there, to_text(scene.at(2)), tmp_path / "copy.db")
        assert dump(tmp_path / "copy.db") == scene.states[end]

    on_disk(work, size="32m")


def test_a_moment_that_cannot_be_had_changes_nothing(kept: Kept, story: Scene, events: Path) -> None:
    before = content(events)
    with pytest.raises(NoRestorePointError):
        swap_in(kept, to_text(story.at(0.5)))
    assert content(events) == before


def test_a_restored_database_begins_a_new_timeline_and_both_can_be_had(
    kept: Kept, story: Scene, events: Path, tmp_path: Path
) -> None:
    swap_in(kept, to_text(story.at(4)))
    with contextlib.closing(connect(events)):
        pass
    with archiving(kept, shift=100) as after:
        after.commit(1)
        after.backup(1.5)
        end = after.commit(2)
        after.heartbeat(10)
    swap_in(kept, to_text(after.at(2)), tmp_path / "new.db")
    assert dump(tmp_path / "new.db") == after.states[end]
    swap_in(kept, to_text(story.at(7)), tmp_path / "old.db")
    assert dump(tmp_path / "old.db") == story.states[max(story.states)]
