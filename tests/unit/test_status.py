from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from support import flip
from unit.archives import Scene, archiving

from litekeep import backup, capture, status
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.status import Status, status_of

Kept = tuple[Repository, Database]
HOUR, DAY = 3600, 86400


def told(found: Status) -> tuple[str, ...]:
    return tuple(map(str, found.findings))


def test_a_young_verified_backup_of_a_database_that_is_there_is_protection(kept: Kept, saved: Backup) -> None:
    found = status_of(*kept)
    assert (told(found), found.exit_code) == ((), 0)
    assert found.age is not None
    assert 0 <= found.age < 60
    assert found.catalogue.newest == saved


def test_no_backup_is_a_finding_of_its_own(kept: Kept) -> None:
    found = status_of(*kept)
    assert (found.exit_code, found.age) == (4, None)
    assert told(found) == ("there is no restore point; run: litekeep backup events",)


def test_a_backup_that_does_not_count_is_no_restore_point(kept: Kept, saved: Backup) -> None:
    kept[0].record_verification("events", saved.id, "flipped")
    assert status_of(*kept).exit_code == 4


@pytest.mark.parametrize(
    ("rpo", "age", "healthy"),
    [(None, 25 * HOUR, True), (None, 27 * HOUR, False), (HOUR, HOUR / 2, True), (HOUR, 2 * HOUR, False), (0, 5, False)],
)
def test_a_backup_older_than_the_objective_is_stale(
    kept: Kept, saved: Backup, clock: Callable[..., None], rpo: int | None, age: float, healthy: bool
) -> None:
    clock(age, status)
    found = status_of(kept[0], dataclasses.replace(kept[1], rpo=rpo))
    assert found.exit_code == (0 if healthy else 3)
    if not healthy:
        assert "the objective is" in told(found)[0]
        assert "litekeep-backup@events.timer" in told(found)[0]


def test_a_backup_from_the_future_is_a_finding_about_the_clock(
    kept: Kept, saved: Backup, clock: Callable[..., None]
) -> None:
    clock(-HOUR, status)
    found = status_of(*kept)
    assert found.exit_code == 3
    assert "clock" in told(found)[0]


def test_a_missing_source_is_a_finding_even_with_good_backups(kept: Kept, saved: Backup, events: Path) -> None:
    events.unlink()
    found = status_of(*kept)
    assert found.exit_code == 8
    assert "does not exist" in told(found)[0]
    assert "litekeep restore events" in told(found)[0]


def test_a_missing_source_without_backups_keeps_the_sources_code(kept: Kept, events: Path) -> None:
    events.unlink()
    found = status_of(*kept)
    assert (found.exit_code, len(told(found))) == (8, 2)


def test_a_damaged_backup_stays_a_finding_beside_good_ones(kept: Kept, saved: Backup) -> None:
    backup.take(*kept, Progress())
    kept[0].record_verification("events", saved.id, "flipped")
    found = status_of(*kept)
    assert found.exit_code == 3
    assert f"backup {saved.id} does not count (damaged): flipped" in told(found)


def test_a_damaged_source_is_history_once_a_good_backup_follows(kept: Kept, saved: Backup, events: Path) -> None:
    good = events.read_bytes()
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, Progress())
    found = status_of(*kept)
    assert found.exit_code == 3
    assert any("bad source" in finding for finding in told(found))
    events.write_bytes(good)
    backup.take(*kept, Progress())
    assert told(status_of(*kept)) == ()


def test_a_backup_that_nobody_read_for_two_weeks_is_a_finding(
    kept: Kept, clock: Callable[..., None], events: Path
) -> None:
    database = dataclasses.replace(kept[1], rpo=100 * DAY)
    clock(-16 * DAY, backup, capture)
    taken = backup.take(*kept, Progress())
    found = status_of(kept[0], database)
    assert found.exit_code == 3
    assert told(found)[0].endswith("run: litekeep verify events")
    kept[0].record_verification("events", taken.id, "")
    assert told(status_of(kept[0], database)) == ()


# -- the archive


@pytest.fixture
def archived(kept: Kept) -> Kept:
    return kept[0], dataclasses.replace(kept[1], archive=True)


def test_what_was_never_archived_has_no_archive(kept: Kept, saved: Backup) -> None:
    assert status_of(*kept).archive is None


def test_an_archiver_that_runs_and_has_its_base_is_protection(archived: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup()
    scene.heartbeat(2)
    found = status_of(*archived)
    assert (told(found), found.exit_code) == ((), 0)
    assert found.archive is not None
    assert (found.archive.running, found.archive.timeline, found.archive.gaps) == (True, scene.writer.id, 0)
    assert found.archive.proven_until == scene.at(2)


def test_an_archiver_that_does_not_run_is_a_finding(archived: Kept, saved: Backup) -> None:
    found = status_of(*archived)
    assert found.exit_code == 3
    assert told(found) == ("the archive does not run; run: systemctl status litekeep-archive@events.service",)
    assert found.archive is not None
    assert (found.archive.running, found.archive.timeline, found.archive.proven_until) == (False, None, None)


def test_an_archive_that_was_switched_off_is_still_told_and_its_stop_is_no_finding(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup()
    found = status_of(*kept)
    assert (told(found), found.archive is not None) == ((), True)


def test_a_timeline_without_a_base_is_a_finding(archived: Kept, saved: Backup, scene: Scene) -> None:
    scene.insert(5)
    scene.relieve(1)
    scene.commit(2)
    found = status_of(*archived)
    assert found.exit_code == 3
    assert f"the timeline {scene.writer.id} has no base backup yet, so it restores nothing" in told(found)


def test_an_archiver_that_records_nothing_any_more_is_a_finding(
    archived: Kept, scene: Scene, clock: Callable[..., None]
) -> None:
    scene.commit(1)
    scene.backup()
    clock(59, status)
    assert told(status_of(*archived)) == ()
    clock(70, status)
    assert any("has recorded nothing since" in finding for finding in told(status_of(*archived)))


def test_what_keeps_the_archiver_from_storing_is_a_finding(archived: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup()
    scene.writer.heartbeat(scene.at(2), "less than 1.0 GB free")
    assert any("less than 1.0 GB free" in finding for finding in told(status_of(*archived)))


def test_damage_is_a_finding(archived: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup()
    scene.commit(2)
    (scene.folder / scene.read().segments[-1].name).unlink()
    found = status_of(*archived)
    assert found.exit_code == 3
    assert any(finding.startswith("the archive is damaged: the segment ") for finding in told(found))
    assert found.archive is not None
    assert set(found.archive.findings) <= set(found.findings)


def test_a_gap_is_news_for_a_day(archived: Kept, clock: Callable[..., None]) -> None:
    with archiving(archived) as scene:
        scene.commit(1)
        scene.backup(1.5)
    with archiving(archived, shift=100) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.heartbeat(20)
        found = status_of(*archived)
        assert found.archive is not None
        assert found.archive.gaps == 1
        assert any("can be restored: reason 2" in finding for finding in told(found))
        clock(2 * DAY, status)
        scene.heartbeat(2 * DAY)
        assert not any("reason 2" in finding for finding in told(status_of(*archived)))
        assert status_of(*archived).archive.gaps == 1  # type: ignore[union-attr]
