from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from support import flip

from litekeep import backup, capture, status
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.status import status_of

Kept = tuple[Repository, Database]
HOUR, DAY = 3600, 86400


def test_a_young_verified_backup_of_a_database_that_is_there_is_protection(kept: Kept, saved: Backup) -> None:
    found = status_of(*kept)
    assert (found.findings, found.exit_code) == ((), 0)
    assert found.age is not None
    assert 0 <= found.age < 60
    assert found.catalogue.newest == saved


def test_no_backup_is_a_finding_of_its_own(kept: Kept) -> None:
    found = status_of(*kept)
    assert (found.exit_code, found.age) == (4, None)
    assert found.findings == ("there is no restore point; take one: litekeep backup events",)


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
        assert "the objective is" in found.findings[0]
        assert "litekeep-backup@events.timer" in found.findings[0]


def test_a_backup_from_the_future_is_a_finding_about_the_clock(
    kept: Kept, saved: Backup, clock: Callable[..., None]
) -> None:
    clock(-HOUR, status)
    found = status_of(*kept)
    assert found.exit_code == 3
    assert "clock" in found.findings[0]


def test_a_missing_source_is_a_finding_even_with_good_backups(kept: Kept, saved: Backup, events: Path) -> None:
    events.unlink()
    found = status_of(*kept)
    assert found.exit_code == 8
    assert "does not exist" in found.findings[0]
    assert "litekeep restore events" in found.findings[0]


def test_a_missing_source_without_backups_keeps_the_sources_code(kept: Kept, events: Path) -> None:
    events.unlink()
    found = status_of(*kept)
    assert (found.exit_code, len(found.findings)) == (8, 2)


def test_a_damaged_backup_stays_a_finding_beside_good_ones(kept: Kept, saved: Backup) -> None:
    backup.take(*kept, Progress())
    kept[0].record_verification("events", saved.id, "flipped")
    found = status_of(*kept)
    assert found.exit_code == 3
    assert f"backup {saved.id} does not count (damaged): flipped" in found.findings


def test_a_damaged_source_is_history_once_a_good_backup_follows(kept: Kept, saved: Backup, events: Path) -> None:
    good = events.read_bytes()
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, Progress())
    found = status_of(*kept)
    assert found.exit_code == 3
    assert any("bad source" in finding for finding in found.findings)
    events.write_bytes(good)
    backup.take(*kept, Progress())
    assert status_of(*kept).findings == ()


def test_a_backup_that_nobody_read_for_two_weeks_is_a_finding(
    kept: Kept, clock: Callable[..., None], events: Path
) -> None:
    database = dataclasses.replace(kept[1], rpo=100 * DAY)
    clock(-16 * DAY, backup, capture)
    taken = backup.take(*kept, Progress())
    found = status_of(kept[0], database)
    assert found.exit_code == 3
    assert found.findings[0].endswith("run: litekeep verify events")
    kept[0].record_verification("events", taken.id, "")
    assert status_of(kept[0], database).findings == ()
