from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import flip, make_database
from unit.crashes import leave_wal
from unit.places import Disk

from litekeep import backup, repository, verify
from litekeep.config import Database
from litekeep.errors import BusyError, NoRestorePointError, SourceError, VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

Kept = tuple[Repository, Database]


def run(kept: Repository, backup_id: str | None = None, everything: bool = False) -> dict[str, verify.Result]:
    catalogue = kept.catalogue("events")
    chosen = verify.select(catalogue, backup_id, everything)
    return {result.id: result for result in verify.verify_backups(kept, "events", chosen, Progress())}


def stored(found: Backup) -> Path:
    return Path(found.folder, "database.db.zst")


def state(kept: Repository, backup_id: str) -> str:
    found = kept.catalogue("events").find(backup_id)
    assert found is not None
    return found.state


def test_a_good_backup_passes_and_the_time_is_remembered(kept: Kept, saved: Backup) -> None:
    result = run(kept[0])[saved.id]
    assert (result.passed, result.state, result.problem, result.recorded) == (True, "verified", "", True)
    assert result.stored_size == stored(saved).stat().st_size
    found = kept[0].catalogue("events").newest
    assert found is not None
    assert found.last_verified is not None
    assert saved.last_verified is not None
    assert found.last_verified > saved.last_verified


@pytest.mark.parametrize("harm", [lambda p: flip(p, 40), lambda p: os.truncate(p, 50), lambda p: p.unlink()])
def test_a_harmed_backup_no_longer_counts_and_counts_again_when_it_is_mended(
    kept: Kept, saved: Backup, harm: Callable[[Path], None]
) -> None:
    good = stored(saved).read_bytes()
    harm(stored(saved))
    result = run(kept[0])[saved.id]
    assert (result.passed, result.intact, result.state) == (False, False, repository.DAMAGED)
    assert "expected" in result.problem
    assert state(kept[0], saved.id) == repository.DAMAGED
    stored(saved).write_bytes(good)
    assert state(kept[0], saved.id) == repository.DAMAGED
    assert run(kept[0])[saved.id].passed
    assert state(kept[0], saved.id) == repository.VERIFIED


def test_the_newest_is_read_when_nothing_else_is_said(kept: Kept, saved: Backup) -> None:
    newest = backup.take(*kept, Progress())
    assert list(run(kept[0])) == [newest.id]
    assert list(run(kept[0], saved.id)) == [saved.id]
    assert list(run(kept[0], everything=True)) == [saved.id, newest.id]


def test_a_damaged_newest_is_looked_at_again_and_not_passed_over(kept: Kept, saved: Backup) -> None:
    newest = backup.take(*kept, Progress())
    flip(stored(newest), 40)
    run(kept[0])
    assert list(run(kept[0])) == [newest.id]


def test_a_bad_source_stays_bad_and_is_not_the_newest_to_verify(kept: Kept, saved: Backup, events: Path) -> None:
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, Progress())
    bad = kept[0].catalogue("events").backups[-1]
    assert list(run(kept[0])) == [saved.id]
    result = run(kept[0], bad.id)[bad.id]
    assert (result.state, result.passed, result.intact, result.recorded) == (repository.BAD_SOURCE, False, True, False)
    flip(stored(bad), 40)
    assert run(kept[0], bad.id)[bad.id].intact is False


def test_a_backup_without_a_readable_manifest_cannot_pass(kept: Kept, saved: Backup) -> None:
    Path(saved.folder, "manifest.json").write_text("{")
    result = run(kept[0])[saved.id]
    assert (result.state, result.passed, result.stored_size) == ("unreadable", False, 0)
    assert (result.intact, result.recorded) == (False, False)


def test_there_must_be_something_to_verify(kept: Kept, saved: Backup) -> None:
    with pytest.raises(NoRestorePointError, match="'nothing'"):
        run(kept[0], "nothing")
    with pytest.raises(NoRestorePointError, match="to verify"):
        run(Repository(kept[0].root, "other"))


def test_a_read_only_repository_is_verified_and_the_answer_says_that_it_is_not_recorded(
    on_disk: Callable[..., None], events: Path
) -> None:
    def work(disk: Disk) -> None:
        kept, database = Repository(str(disk / "repository"), "host"), Database("events", str(events))
        saved = backup.take(kept, database, Progress())
        disk.seal()
        result = run(kept)[saved.id]
        assert (result.passed, result.recorded) == (True, False)

    on_disk(work, size="32m")


def test_a_full_disk_does_not_count_as_recorded(on_disk: Callable[..., None], events: Path) -> None:
    def work(disk: Disk) -> None:
        kept, database = Repository(str(disk / "repository"), "host"), Database("events", str(events))
        saved = backup.take(kept, database, Progress())
        disk.fill()
        result = run(kept)[saved.id]
        assert (result.passed, result.recorded) == (True, False)

    on_disk(work, size="32m")


def test_a_result_in_json_has_everything() -> None:
    result = verify.Result("a", "damaged", "gone", 5, 1.23456, False, True)
    assert result.to_json() == {
        "backup": "a",
        "state": "damaged",
        "problem": "gone",
        "stored_size": 5,
        "seconds": 1.235,
        "intact": False,
        "recorded": True,
    }


def test_a_sound_live_database_passes_with_what_stands_in_its_wal(kept: Kept, events: Path) -> None:
    leave_wal(events, rows=5)
    report = verify.verify_live(kept[1])
    assert report.passed
    assert report.fingerprint is not None
    assert report.fingerprint.rows == {"events": 205}


def test_a_live_database_with_a_flipped_page_does_not_pass(kept: Kept, events: Path) -> None:
    flip(events, 4096 * 3, 300)
    assert not verify.verify_live(kept[1]).passed


def test_a_live_database_that_cannot_be_read_is_a_verification_error(kept: Kept, events: Path) -> None:
    flip(events, 16, 80)
    with pytest.raises(VerificationError, match="is damaged") as caught:
        verify.verify_live(kept[1])
    assert "litekeep restore events" in caught.value.next_step


def test_a_missing_live_database_is_a_source_error(kept: Kept, events: Path) -> None:
    events.unlink()
    with pytest.raises(SourceError):
        verify.verify_live(kept[1])


def test_a_locked_live_database_is_busy(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError):
            verify.verify_live(Database("x", str(path), deadline=0))
