from __future__ import annotations

import dataclasses
import datetime as dt
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Steps, flip, make_database, protect, writing
from unit.places import Disk

from litekeep import backup, capture
from litekeep.config import Database
from litekeep.errors import BusyError, LitekeepError, SourceError, SpaceError, UsageError, VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

Kept = tuple[Repository, Database]


class At(Steps):
    """Does something when a step is reached."""

    def __init__(self, step: str, work: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.work = step, work

    def step(self, name: str) -> None:
        super().step(name)
        if name == self.at:
            self.work()


def left_behind(kept: Repository) -> list[str]:
    return sorted(os.listdir(os.path.join(kept.folder("events"), "backups")))


def test_a_backup_is_verified_and_stands_in_the_repository(kept: Kept) -> None:
    taken = backup.take(*kept, Progress())
    assert taken.state == "verified"
    assert kept[0].catalogue("events").newest == taken
    assert sorted(os.listdir(taken.folder)) == ["database.db.zst", "manifest.json"]


def test_the_source_is_left_as_it_was(kept: Kept, events: Path) -> None:
    before = events.read_bytes(), events.stat().st_mtime_ns, events.stat().st_ino
    backup.take(*kept, Progress())
    assert (events.read_bytes(), events.stat().st_mtime_ns, events.stat().st_ino) == before


def test_every_step_is_told_once_and_the_manifest_comes_last(kept: Kept) -> None:
    steps = Steps()
    backup.take(*kept, steps)
    assert sorted(steps.seen) == sorted(backup.STEPS)
    assert steps.seen[:3] == list(backup.STEPS[:3])
    assert steps.seen[-4:] == list(backup.STEPS[-4:])


@pytest.mark.parametrize("step", backup.STEPS[:-1])
def test_a_backup_counts_only_when_it_is_committed(kept: Kept, step: str) -> None:
    seen: list[int] = []
    backup.take(*kept, At(step, lambda: seen.append(len(kept[0].catalogue("events").backups))))
    assert seen == [0]


@pytest.mark.parametrize("step", [s for s in backup.STEPS if s != "backup: committed"])
def test_a_failure_at_any_step_leaves_nothing_behind(kept: Kept, step: str) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(LitekeepError, match="refused"):
        backup.take(*kept, At(step, fail))
    if os.path.exists(kept[0].folder("events")):
        assert left_behind(kept[0]) == []
    assert threading.active_count() == 1
    backup.take(*kept, Progress())


def test_what_the_disk_gives_back_differently_never_becomes_a_backup(kept: Kept) -> None:
    def change_it() -> None:
        (folder,) = Path(kept[0].folder("events"), "backups").iterdir()
        flip(folder / "database.db.zst", 30)

    steps = At("backup: compressed", change_it)
    with pytest.raises(VerificationError, match="is not what was stored"):
        backup.take(*kept, steps)
    assert left_behind(kept[0]) == []
    assert "backup: checked" not in steps.seen


def test_a_damaged_source_is_kept_as_evidence_and_its_newest_good_backup_named(kept: Kept, events: Path) -> None:
    good = backup.take(*kept, Progress())
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError) as caught:
        backup.take(*kept, Progress())
    assert good.id in caught.value.safe
    assert caught.value.found.startswith("the source did not pass its checks: ")
    assert caught.value.next_step.endswith(f"litekeep restore events --to {good.id}")
    bad = kept[0].catalogue("events").backups[-1]
    assert (bad.state, bad.last_verified) == ("bad source", None)
    assert kept[0].catalogue("events").newest == good


def test_a_damaged_source_without_any_good_backup_says_so(kept: Kept, events: Path) -> None:
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError) as caught:
        backup.take(*kept, Progress())
    assert "there is no verified backup" in caught.value.safe
    assert "recover" in caught.value.next_step


def test_a_source_that_sqlite_cannot_read_is_kept_raw(kept: Kept, events: Path) -> None:
    flip(events, 16, 80)
    with pytest.raises(VerificationError):
        backup.take(*kept, Progress())
    found = kept[0].catalogue("events").backups[-1]
    assert found.state == "bad source"
    assert found.manifest is not None
    assert found.manifest.size == events.stat().st_size


def test_a_missing_source_makes_no_repository(kept: Kept, events: Path) -> None:
    events.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        backup.take(*kept, Progress())
    assert not os.path.exists(kept[0].root)
    assert not events.exists()


def test_a_backup_waits_for_another_one_up_to_the_deadline_and_the_first_goes_on(kept: Kept) -> None:
    repository, database = kept
    hurried = dataclasses.replace(database, deadline=1)

    def second() -> None:
        with pytest.raises(BusyError, match="Another Litekeep process"):
            backup.take(repository, hurried, Progress())

    assert backup.take(*kept, At("backup: copied", second)).state == "verified"
    assert len(left_behind(repository)) == 1


class Waits(Progress):
    """Calls ``lead`` when it has to wait for the first time."""

    def __init__(self, lead: threading.Event) -> None:
        self.lead = lead
        self.holders: set[str] = set()

    def waiting(self, holder: str) -> None:
        self.holders.add(holder)
        self.lead.set()


@pytest.mark.parametrize(("max_age", "taken"), [(3600, 1), (None, 2)])
def test_a_backup_that_another_process_takes_meanwhile_counts(kept: Kept, max_age: int | None, taken: int) -> None:
    waits = Waits(threading.Event())
    answers: list[tuple[backup.Intent, Any]] = []
    second = threading.Thread(target=lambda: answers.append(backup.ensure(*kept, waits, max_age)))

    def meanwhile() -> None:
        second.start()
        assert waits.lead.wait(60)

    first = backup.take(*kept, At("backup: copied", meanwhile))
    second.join()
    (intent, found) = answers[0]
    assert waits.holders == {f"backup of events, process {os.getpid()}"}
    assert len(left_behind(kept[0])) == taken
    assert (intent.needed, found.id == first.id) == (taken == 2, taken == 1)


def test_a_database_can_be_backed_up_while_it_is_written_to(kept: Kept, events: Path) -> None:
    with writing(events, rate=100):
        taken = backup.take(*kept, Progress())
    assert taken.manifest is not None
    assert taken.manifest.part("rows")["events"] > 200  # type: ignore[operator]
    assert taken.manifest.part("wal")


def test_an_own_staging_directory_is_used_and_left_clean(events: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    kept, database = protect(tmp_path, events, staging=str(staging))
    seen: list[list[str]] = []
    taken = backup.take(kept, database, At("backup: copied", lambda: seen.append(os.listdir(staging))))
    assert seen == [[f".partial-events@{taken.id}"]]
    assert os.listdir(staging) == []


def test_the_level_is_used(events: Path, tmp_path: Path) -> None:
    sizes = []
    for level in (1, 19):
        taken = backup.take(*protect(tmp_path / str(level), events, compression_level=level), Progress())
        assert taken.manifest is not None
        assert taken.manifest.part("compression")["level"] == level
        sizes.append(taken.manifest.stored_size)
    assert sizes[1] < sizes[0]


def test_a_repository_that_fills_up_in_the_middle_is_told_as_such_and_left_clean(
    on_disk: Callable[..., None], tmp_path: Path
) -> None:
    path = make_database(tmp_path / "data" / "x.db", mode="delete", rows=5000)

    def work(disk: Disk) -> None:
        staging = tmp_path / "staging"
        staging.mkdir()
        kept = Repository(str(disk / "repository"), "host")
        database = Database("events", str(path), staging=str(staging))
        with pytest.raises(SpaceError, match="no space left") as caught:
            backup.take(kept, database, At("backup: copied", lambda: disk.fill(leave=8192)))
        assert str(disk.path) in caught.value.what
        assert os.listdir(staging) == left_behind(kept) == []

    on_disk(work, size="24m")


def test_a_read_only_repository_is_told_as_such(on_disk: Callable[..., None], events: Path) -> None:
    def work(disk: Disk) -> None:
        disk.seal()
        with pytest.raises(UsageError, match="cannot be written"):
            backup.take(Repository(str(disk / "repository"), "host"), Database("events", str(events)), Progress())

    on_disk(work)


def test_without_a_limit_a_backup_is_always_due(kept: Kept) -> None:
    assert backup.plan(*kept).newest is None
    taken = backup.take(*kept, Progress())
    intent = backup.plan(*kept)
    assert (intent.needed, intent.newest) == (True, taken)
    assert "old" in intent.reason


def test_without_any_backup_one_is_due_whatever_the_limit(kept: Kept) -> None:
    intent = backup.plan(*kept, max_age=10**9)
    assert (intent.needed, intent.reason) == (True, "there is no verified backup yet")


@pytest.mark.parametrize(
    ("ahead", "limit", "needed"),
    [(0, 3600, False), (3500, 3600, False), (3700, 3600, True), (0, 0, True), (-1000, 3600, True)],
    ids=["young", "just young enough", "too old", "no age is young enough", "clock was set back"],
)
def test_a_backup_is_due_by_the_age_of_the_newest(
    kept: Kept, saved: Backup, clock: Callable[..., None], ahead: float, limit: int, needed: bool
) -> None:
    clock(ahead, backup)
    intent = backup.plan(*kept, max_age=limit)
    assert (intent.needed, intent.newest) == (needed, saved)
    assert "the limit is" in intent.reason


def test_a_backup_of_exactly_the_limit_is_young_enough(
    kept: Kept, saved: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved.manifest is not None
    moment = saved.manifest.snapshot + dt.timedelta(hours=1)
    monkeypatch.setattr(backup, "now", lambda: moment)
    assert not backup.plan(*kept, max_age=3600).needed
    assert backup.plan(*kept, max_age=3599).needed


def test_a_damaged_or_bad_backup_does_not_make_the_next_one_wait(kept: Kept, saved: Backup) -> None:
    kept[0].record_verification("events", saved.id, "flipped")
    assert backup.plan(*kept, max_age=3600).needed


def test_a_backup_from_the_future_does_not_stop_backups_nor_hide_new_ones(
    kept: Kept, clock: Callable[..., None]
) -> None:
    clock(86400, backup, capture)
    future = backup.take(*kept, Progress())
    clock(0, backup, capture)
    assert backup.plan(*kept, max_age=3600).needed
    taken = backup.take(*kept, Progress())
    assert {found.id for found in kept[0].catalogue("events").restore_points} == {future.id, taken.id}


def test_planning_changes_nothing_and_needs_a_source(kept: Kept, events: Path) -> None:
    backup.plan(*kept, max_age=5)
    assert not os.path.exists(kept[0].root)
    events.unlink()
    with pytest.raises(SourceError):
        backup.plan(*kept)
