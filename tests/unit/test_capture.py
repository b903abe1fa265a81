from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Steps, flip, make_database, protect
from unit.crashes import leave_hot_journal, leave_wal
from unit.places import Disk

from litekeep import backup, capture
from litekeep.capture import staging_folder
from litekeep.config import Database
from litekeep.errors import SourceError, SpaceError, UsageError
from litekeep.progress import Progress
from litekeep.repository import Partial, Repository
from litekeep.timefmt import now


@pytest.fixture
def partial(kept: tuple[Repository, Database]) -> Partial:
    with kept[0].writing("events"):
        return kept[0].begin("events", "full", now())


def test_staging_is_inside_the_partial_backup_and_goes_with_the_work(
    kept: tuple[Repository, Database], partial: Partial
) -> None:
    with staging_folder(kept[1], partial) as folder:
        assert os.path.dirname(folder) == partial.folder
        assert os.stat(folder).st_mode & 0o777 == 0o700
        Path(folder, "database.db").write_bytes(b"x")
    assert not os.path.exists(folder)


def test_staging_goes_after_a_failure_too(kept: tuple[Repository, Database], partial: Partial) -> None:
    folders: list[str] = []

    def fail() -> None:
        with staging_folder(kept[1], partial) as folder:
            Path(folder, "database.db").write_bytes(b"x")
            folders.append(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [os.path.exists(folder) for folder in folders] == [False]


def test_a_staging_directory_of_its_own_is_cleaned_of_this_databases_leftovers_only(
    tmp_path: Path, partial: Partial
) -> None:
    staging = tmp_path / "staging"
    for name in (".partial-events@old", ".partial-events2@old", ".partial-other@old", "mine"):
        (staging / name).mkdir(parents=True)
    database = Database("events", "/x", staging=str(staging))
    with staging_folder(database, partial) as folder:
        assert folder == str(staging / f".partial-events@{partial.id}")
        assert ".partial-events@old" not in os.listdir(staging)
    assert sorted(os.listdir(staging)) == [".partial-events2@old", ".partial-other@old", "mine"]


def test_a_missing_staging_directory_is_told_by_name(tmp_path: Path, partial: Partial) -> None:
    database = Database("events", "/x", staging=str(tmp_path / "none"))
    with pytest.raises(UsageError) as caught, staging_folder(database, partial):
        pytest.fail("no staging")
    assert str(tmp_path / "none") in str(caught.value)


def take(kept: tuple[Repository, Database], tmp_path: Path) -> capture.Capture:
    (tmp_path / "staging").mkdir(exist_ok=True)
    return capture.capture(*kept, str(tmp_path / "staging"), Progress())


def test_a_readable_database_is_captured_with_its_description(
    kept: tuple[Repository, Database], events: Path, tmp_path: Path
) -> None:
    before = now()
    found = take(kept, tmp_path)
    assert found.files == [str(tmp_path / "staging" / "database.db")]
    assert (found.damage, found.source["path"], found.source["journal_mode"]) == ("", str(events), "wal")
    assert before <= found.taken <= now()


def test_a_damaged_database_is_captured_byte_for_byte(
    kept: tuple[Repository, Database], events: Path, tmp_path: Path
) -> None:
    leave_wal(events)
    flip(events, 16, 80)
    flip(Path(f"{events}-wal"), 0, 60)
    found = take(kept, tmp_path)
    assert found.damage
    assert found.wal is None
    assert [Path(path).read_bytes() for path in found.files] == [
        events.read_bytes(),
        Path(f"{events}-wal").read_bytes(),
    ]


def test_a_copy_that_broke_off_in_the_middle_leaves_nothing_of_itself_in_the_raw_one(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "x.db", mode="delete", rows=2000)
    os.truncate(path, path.stat().st_size // 2)
    found = take(protect(tmp_path, path), tmp_path)
    assert found.damage
    assert Path(found.files[0]).read_bytes() == path.read_bytes()


def test_a_hot_journal_is_no_damage_and_is_not_captured(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "x.db", mode="delete", rows=500)
    leave_hot_journal(path)
    with pytest.raises(SourceError, match="waits for a rollback"):
        take(protect(tmp_path, path), tmp_path)
    assert os.listdir(tmp_path / "staging") == []


def test_space_is_asked_for_before_anything_is_copied(
    on_disk: Callable[..., None], events: Path, tmp_path: Path
) -> None:
    def work(disk: Disk) -> None:
        steps = Steps()
        with pytest.raises(SpaceError, match="Not enough space") as caught:
            capture.capture(
                Repository(str(tmp_path / "repository"), "host"), Database("events", str(events)), str(disk.path), steps
            )
        assert str(disk.path) in caught.value.what
        assert os.listdir(disk.path) == []

    on_disk(work, size="15m")


def test_space_for_a_damaged_database_is_asked_for_too(
    on_disk: Callable[..., None], events: Path, tmp_path: Path
) -> None:
    flip(events, 16, 80)

    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError, match="Not enough space"):
            capture.capture(
                Repository(str(tmp_path / "repository"), "host"),
                Database("events", str(events)),
                str(disk.path),
                Progress(),
            )
        assert os.listdir(disk.path) == []

    on_disk(work, size="15m")


def test_the_stored_size_is_guessed_as_half_and_then_from_the_newest_backup(
    on_disk: Callable[..., None], tmp_path: Path
) -> None:
    """A database that packs to a hundredth fits where half of its size would not."""

    def work(disk: Disk) -> None:
        path = make_database(tmp_path / "data" / "big.db", mode="delete", rows=40_000)
        kept = Repository(str(disk / "repository"), "host")
        database = Database("events", str(path), staging=str(tmp_path))
        quarter, margin = path.stat().st_size // 4 // 4096 * 4096, 16 << 20
        disk.fill(leave=margin + quarter)
        with pytest.raises(SpaceError):
            backup.take(kept, database, Progress())
        for room in (3 * quarter, quarter):
            (disk / "ballast").unlink()
            disk.fill(leave=margin + room)
            backup.take(kept, database, Progress())
        assert len(kept.catalogue("events").restore_points) == 2

    on_disk(work, size="48m")
