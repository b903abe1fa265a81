from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import Steps, content, flip, holding_open, make_database, set_bytes
from unit.crashes import leave_hot_journal, leave_wal

from litekeep import swap
from litekeep.errors import InUseError, VerificationError
from litekeep.progress import Progress
from litekeep.swap import BEFORE, FAILED, STEPS, Swap, quarantines
from litekeep.workspace import Journal, Workspace


class At(Steps):
    def __init__(self, step: str, work: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.work = step, work

    def step(self, name: str) -> None:
        super().step(name)
        if name == self.at:
            self.work()


@dataclass
class Stage:
    """A target, and a new database that waits in its workspace."""

    target: Path
    space: Workspace
    new: str = ""
    proven: list[str] = field(default_factory=list)

    def prove(self, path: str) -> None:
        self.proven.append(path)

    def run(
        self,
        progress: Progress | None = None,
        prove: Callable[[str], None] | None = None,
        label: str = BEFORE,
        services: tuple[str, ...] = (),
    ) -> str:
        return Swap(self.space, services, prove or self.prove, progress or Progress()).run(Journal(), label)

    def beside(self) -> list[str]:
        return sorted(
            name
            for name in os.listdir(self.target.parent)
            if not name.startswith((".litekeep-restore-", self.target.name + "-"))
        )


def stage(tmp_path: Path) -> Iterator[Stage]:
    space = Workspace(str(tmp_path / "data" / "events.db"))
    (tmp_path / "data").mkdir()
    with space.locked():
        made = make_database(tmp_path / "made.db", rows=30, mode="delete", marker="new")
        shutil.move(made, space.new)
        found = Stage(tmp_path / "data" / "events.db", space)
        found.new = content(Path(space.new))
        yield found


@pytest.fixture(name="stage")
def stage_fixture(tmp_path: Path) -> Iterator[Stage]:
    yield from stage(tmp_path)


def old_at_rest(target: Path) -> None:
    make_database(target)


def old_with_wal(target: Path) -> None:
    make_database(target)
    leave_wal(target)


def old_with_hot_journal(target: Path) -> None:
    make_database(target, mode="delete", rows=500)
    leave_hot_journal(target)


def old_damaged_with_wal(target: Path) -> None:
    old_with_wal(target)
    flip(target, 0, 40)
    flip(Path(f"{target}-wal"), 0, 30)
    flip(Path(f"{target}-wal"), 40, 8)


def damaged_so_that_sqlite_refuses(target: Path) -> None:
    old_with_wal(target)
    flip(target, 16, 60)
    flip(Path(f"{target}-wal"), 56, 200)


OLD = [old_at_rest, old_with_wal, old_with_hot_journal, old_damaged_with_wal, damaged_so_that_sqlite_refuses]


@pytest.mark.parametrize("old", OLD)
def test_the_new_stands_alone_and_the_old_set_is_kept_byte_for_byte(stage: Stage, old: Callable[[Path], None]) -> None:
    old(stage.target)
    before = set_bytes(stage.target)
    quarantine = stage.run()
    assert content(stage.target) == stage.new
    assert [n for n in os.listdir(stage.target.parent) if n.startswith("events.db-")] == []
    assert set_bytes(Path(quarantine, "events.db")) == before
    assert stage.proven == [str(stage.target)]
    assert not os.path.exists(stage.space.new)


@pytest.mark.parametrize("old", OLD)
def test_every_step_is_told_in_order(stage: Stage, old: Callable[[Path], None]) -> None:
    old(stage.target)
    steps = Steps()
    stage.run(steps)
    assert steps.seen == list(STEPS)


@pytest.mark.parametrize("old", OLD[:3])
@pytest.mark.parametrize("step", STEPS[:3])
def test_until_the_last_rename_an_application_reads_the_old_state(
    stage: Stage, old: Callable[[Path], None], step: str
) -> None:
    old(stage.target)
    before = content(stage.target)
    seen: list[str] = []
    stage.run(At(step, lambda: seen.append(content(stage.target))))
    assert seen == [before]


@pytest.mark.parametrize("old", OLD[3:])
@pytest.mark.parametrize("step", STEPS[:3])
def test_a_damaged_old_one_makes_way_for_nothing_rather_than_for_a_mixture(
    stage: Stage, old: Callable[[Path], None], step: str
) -> None:
    old(stage.target)
    before = content(stage.target)
    seen: list[str] = []
    stage.run(At(step, lambda: seen.append(content(stage.target))))
    assert seen[0] in (before, "missing")


@pytest.mark.parametrize("old", OLD)
def test_when_the_new_one_is_not_proven_in_place_the_old_one_comes_back(
    stage: Stage, old: Callable[[Path], None]
) -> None:
    old(stage.target)
    before = content(stage.target)

    def refuse(_path: str) -> None:
        raise VerificationError("no")

    with pytest.raises(VerificationError, match="no"):
        stage.run(prove=refuse)
    assert content(stage.target) == before
    assert content(Path(stage.space.new)) == stage.new


def test_an_empty_place_is_filled_and_nothing_is_kept(stage: Stage) -> None:
    steps = Steps()
    assert stage.run(steps) == ""
    assert content(stage.target) == stage.new
    assert stage.beside() == ["events.db"]
    assert steps.seen == list(STEPS)


def test_sidecars_without_a_database_do_not_come_over_the_new_one(stage: Stage) -> None:
    old_with_wal(stage.target)
    wal = Path(f"{stage.target}-wal").read_bytes()
    stage.target.unlink()
    quarantine = stage.run()
    assert content(stage.target) == stage.new
    assert Path(quarantine, "events.db-wal").read_bytes() == wal
    assert not os.path.exists(f"{stage.target}-wal")


def test_a_new_set_with_sidecars_is_moved_as_a_set(stage: Stage, tmp_path: Path) -> None:
    """A rollback to a damaged set that SQLite cannot settle."""
    make_database(stage.target)
    damaged = tmp_path / "kept.db"
    damaged_so_that_sqlite_refuses(damaged)
    for suffix in ("", "-wal"):
        shutil.copy(f"{damaged}{suffix}", f"{stage.space.new}{suffix}")
    stage.run(label=FAILED)
    assert set_bytes(stage.target) == set_bytes(damaged)


def test_a_database_in_use_is_not_touched(stage: Stage) -> None:
    make_database(stage.target)
    with holding_open(stage.target):
        before = set_bytes(stage.target)
        with pytest.raises(InUseError) as caught:
            stage.run(services=("app.service",))
        assert caught.value.next_step == "systemctl stop app.service"
        assert set_bytes(stage.target) == before
        assert stage.beside() == ["events.db"]


@pytest.mark.parametrize("old", OLD[:3])
@pytest.mark.parametrize("step", STEPS[:3])
def test_one_who_opens_the_old_files_in_the_middle_gets_them_back(
    stage: Stage, old: Callable[[Path], None], step: str
) -> None:
    old(stage.target)
    before = content(stage.target)
    with contextlib.ExitStack() as stack, pytest.raises(InUseError):
        stage.run(At(step, lambda: stack.enter_context(open(stage.target, "rb"))))
    assert content(stage.target) == before
    assert content(Path(stage.space.new)) == stage.new


@pytest.mark.parametrize("old", OLD[:2])
@pytest.mark.parametrize("step", STEPS[:3])
def test_a_commit_that_slips_in_is_never_lost(stage: Stage, old: Callable[[Path], None], step: str) -> None:
    old(stage.target)

    def commit() -> None:
        with contextlib.closing(sqlite3.connect(stage.target, isolation_level=None)) as db:
            db.execute("INSERT INTO events(kind) VALUES('slipped in')")

    with pytest.raises(InUseError, match="written to during the restore"):
        stage.run(At(step, commit))
    with contextlib.closing(sqlite3.connect(stage.target)) as db:
        assert db.execute("SELECT count(*) FROM events WHERE kind = 'slipped in'").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("old", OLD[:2])
def test_an_old_state_that_came_back_leaves_no_second_copy_but_its_raw_files(
    stage: Stage, old: Callable[[Path], None]
) -> None:
    old(stage.target)
    before = set_bytes(stage.target)

    def refuse(_path: str) -> None:
        raise VerificationError("no")

    with pytest.raises(VerificationError):
        stage.run(prove=refuse)
    kept = [set_bytes(Path(folder, "events.db")) for folder in quarantines(str(stage.target))]
    assert kept == ([] if old is old_at_rest else [before])


def test_one_who_wrote_is_told_what_to_stop(stage: Stage) -> None:
    make_database(stage.target)

    def commit() -> None:
        with contextlib.closing(sqlite3.connect(stage.target, isolation_level=None)) as db:
            db.execute("INSERT INTO events(kind) VALUES('slipped in')")

    for services, words in (((), "cron jobs"), (("a.service", "b.service"), "stop a.service b.service,")):
        with pytest.raises(InUseError) as caught:
            stage.run(At(STEPS[0], commit), services=services)
        assert words in caught.value.next_step
        if os.path.exists(stage.space.undo):
            os.unlink(stage.space.undo)


def test_a_file_system_without_hard_links_still_swaps(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT and some network file systems; there is none to mount here, so link() says what it says there."""
    old_with_wal(stage.target)
    before = set_bytes(stage.target)

    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    quarantine = stage.run()
    assert content(stage.target) == stage.new
    assert set_bytes(Path(quarantine, "events.db")) == before


def test_two_restores_in_one_moment_keep_two_quarantines(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "to_id", lambda _moment: "20261122T020000.000Z")
    make_database(stage.target)
    first = stage.run()
    shutil.copy(make_database(tmp_path / "again.db", mode="delete"), stage.space.new)
    os.unlink(stage.space.undo)
    second = stage.run()
    assert [os.path.basename(first), os.path.basename(second)] == [
        "events.db.before-restore-20261122T020000.000Z",
        "events.db.before-restore-20261122T020000.000Z-2",
    ]
    assert quarantines(str(stage.target)) == [first, second]


def test_only_folders_of_former_restores_of_this_target_are_quarantines(tmp_path: Path) -> None:
    for name in ("events.db.before-restore-2", "events.db.before-restore-1", "events.db.failed-restore-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "events.db.before-restore-1.stray").mkdir()
    (tmp_path / "other.db.before-restore-3").mkdir()
    found = quarantines(str(tmp_path / "events.db"))
    assert found == [str(tmp_path / f"events.db.before-restore-{n}") for n in (1, 2)]


def test_a_users_own_file_with_such_a_name_is_no_quarantine(tmp_path: Path) -> None:
    (tmp_path / "events.db.before-restore-1").mkdir()
    (tmp_path / "events.db.before-restore-mine.db").write_bytes(b"a copy that the user made")
    assert quarantines(str(tmp_path / "events.db")) == [str(tmp_path / "events.db.before-restore-1")]
