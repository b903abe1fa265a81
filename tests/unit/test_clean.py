from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import content, flip
from unit.archives import Scene, archiving

from litekeep import clean, restore
from litekeep.config import Database
from litekeep.errors import NoRestorePointError, SpaceError
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timeline import Position

Kept = tuple[Repository, Database]


def damage(scene: Scene, second: float) -> None:
    """What a page cache gone wrong writes: the index's root is another table's page. It goes through the WAL."""
    scene.db.execute("PRAGMA writable_schema=ON")
    scene.db.execute("UPDATE sqlite_master SET rootpage = 3 WHERE name = 'events_kind'")
    assert scene.take(second)
    scene.writer.flush()


def prepared(kept: Kept) -> tuple[restore.Plan, list[str]]:
    plan, done, refused = clean.prepare_clean(*kept, Progress())
    assert not done.swapped
    return plan, refused


def restored(kept: Kept, plan: restore.Plan, tmp_path: Path) -> str:
    target = tmp_path / "copy.db"
    found = restore.plan(*kept, plan.point.id, str(target))
    restore.restore(*kept, found, Progress())
    return content(target)


def test_the_newest_state_is_taken_when_it_is_sound(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        last = scene.commit(2)
        scene.heartbeat(9)
    plan, refused = prepared(kept)
    assert (plan.point.end, refused) == (last, [])


@pytest.mark.parametrize("damaged", [4, 17, 33, 60])
def test_the_last_commit_before_the_damage(kept: Kept, tmp_path: Path, damaged: int) -> None:
    good: Position | None = None
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        for second in range(2, 62):
            if second == damaged:
                damage(scene, second)
            else:
                position = scene.commit(second)
                good = position if second < damaged else good
            if second % 20 == 0 and second < damaged:
                scene.relieve(second + 0.5)
                scene.writer.merge()
        scene.heartbeat(100)
    plan, refused = prepared(kept)
    assert plan.point.end == good
    assert len(refused) >= 1
    assert all("@" in line and "the state of" in line for line in refused)
    assert restore.plan(*kept, plan.point.id).prepared
    assert "unreadable" not in restored(kept, plan, tmp_path)


def test_each_state_is_built_once_and_there_is_a_bound(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    prepare = clean.prepare

    def counted(repository: Repository, database: Database, chosen: restore.Plan, progress: Progress) -> Any:
        built.append(chosen.point.id)
        return prepare(repository, database, chosen, progress)

    monkeypatch.setattr(clean, "prepare", counted)
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        good = scene.commit(2)
        damage(scene, 3)
        for second in range(4, 90):
            scene.commit(second)
        scene.heartbeat(100)
    plan, refused = prepared(kept)
    assert plan.point.end == good
    # The last one may have to be built again, after one that did not pass.
    assert len(built) <= len(set(built)) + 1
    assert len(built) <= 8 + 8 + 1
    assert len(refused) == len(set(refused))


def test_a_backup_is_the_last_resort(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        base = scene.backup(1.5)
        damage(scene, 2)
        scene.commit(3)
        scene.heartbeat(9)
    plan, refused = prepared(kept)
    assert plan.backup.id == base.id
    assert refused


def test_a_damaged_archive_is_passed_too(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        good = scene.commit(2)
        for second in range(3, 9):
            scene.commit(second)
        scene.heartbeat(9)
    third = sorted(scene.folder.glob("*.wal.zst"))[2]
    flip(third, third.stat().st_size // 2)
    plan, refused = prepared(kept)
    assert plan.point.end == good
    assert refused


def test_there_is_none(kept: Kept) -> None:
    with pytest.raises(NoRestorePointError, match="no clean restore point") as refused:
        clean.prepare_clean(*kept, Progress())
    assert "salvage" in refused.value.next_step


def test_other_errors_end_the_search(kept: Kept, saved: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise SpaceError("no room")

    monkeypatch.setattr(clean, "prepare", full)
    with pytest.raises(SpaceError):
        clean.prepare_clean(*kept, Progress())
