from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Steps, content, flip, holding_open, make_database, set_bytes
from unit.crashes import leave_wal
from unit.places import Disk

from litekeep import backup, restore
from litekeep.config import Database
from litekeep.errors import (
    InUseError,
    LitekeepError,
    NoRestorePointError,
    SpaceError,
    UsageError,
    VerificationError,
)
from litekeep.planner import Point
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.timefmt import now
from litekeep.workspace import Workspace

Kept = tuple[Repository, Database]


@pytest.fixture
def changed(kept: Kept, saved: Backup, events: Path) -> str:
    """The database after the backup: other rows, some in the WAL only. Gives what an application reads now."""
    leave_wal(events, marker="after the backup")
    return content(events)


@pytest.fixture
def alone(saved: Backup, tmp_path: Path) -> Path:
    """The backup's database file, unpacked without Litekeep, in a folder of its own."""
    copy = tmp_path / "alone" / "events.db"
    copy.parent.mkdir()
    subprocess.run(["zstd", "-qd", f"{saved.folder}/database.db.zst", "-o", str(copy)], check=True)
    return copy


@pytest.fixture
def old(alone: Path) -> str:
    """What the backup holds, as an application would read it."""
    return content(alone)


def swap_in(
    kept: Kept, progress: Progress | None = None, to: str = "latest", target: Path | None = None
) -> restore.Restored:
    chosen = restore.plan(*kept, to, None if target is None else str(target))
    return restore.restore(*kept, chosen, progress or Progress())


def beside(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


@pytest.mark.usefixtures("changed")
def test_a_restore_brings_the_state_of_the_backup_back(kept: Kept, events: Path, saved: Backup, old: str) -> None:
    done = swap_in(kept)
    assert content(events) == old
    assert (done.target, done.point, done.swapped) == (str(events), saved.id, True)


def test_what_was_replaced_is_kept_whole(kept: Kept, events: Path, changed: str) -> None:
    before = set_bytes(events)
    done = swap_in(kept)
    assert done.quarantine.startswith(f"{events}.before-restore-")
    assert set_bytes(Path(done.quarantine, "events.db")) == before
    assert content(Path(done.quarantine, "events.db")) == changed


@pytest.mark.usefixtures("changed")
def test_nothing_else_is_left_beside_the_target(kept: Kept, events: Path) -> None:
    done = swap_in(kept)
    assert beside(events) == ["events.db", os.path.basename(done.quarantine)]


@pytest.mark.usefixtures("changed")
def test_every_step_is_told_in_order(kept: Kept) -> None:
    steps = Steps()
    swap_in(kept, steps)
    assert steps.seen == list(restore.STEPS)


@pytest.mark.usefixtures("changed")
def test_a_plan_says_what_would_happen_and_changes_nothing(kept: Kept, events: Path, saved: Backup) -> None:
    before = beside(events), set_bytes(events)
    found = restore.plan(*kept)
    assert (found.backup, found.target, found.prepared) == (saved, str(events), False)
    assert found.replaces == tuple(f"{events}{suffix}" for suffix in ("", "-wal", "-shm"))
    assert found.in_use.openers == ()
    assert (beside(events), set_bytes(events)) == before


def test_a_plan_names_who_is_in_the_way(kept: Kept, saved: Backup, events: Path) -> None:
    with holding_open(events) as process:
        assert [opener.pid for opener in restore.plan(*kept).in_use.openers] == [process.pid]


def test_a_database_in_use_stays_and_the_services_are_named(kept: Kept, saved: Backup, events: Path) -> None:
    database = Database("events", str(events), services=("app.service",))
    with holding_open(events):
        with pytest.raises(InUseError) as caught:
            swap_in((kept[0], database))
        assert caught.value.next_step == "systemctl stop app.service"
        assert [name for name in beside(events) if "restore" in name] == []


def test_a_lost_database_is_restored_with_the_owner_and_mode_that_it_had(kept: Kept, events: Path) -> None:
    events.chmod(0o640)
    backup.take(*kept, Progress())
    before = content(events)
    for name in os.listdir(events.parent):
        (events.parent / name).unlink()
    done = swap_in(kept)
    assert (content(events), done.quarantine) == (before, "")
    assert stat.S_IMODE(events.stat().st_mode) == 0o640
    assert beside(events) == ["events.db"]


def test_the_attributes_of_the_file_in_place_win(kept: Kept, saved: Backup, events: Path) -> None:
    events.chmod(0o604)
    os.setxattr(events, "user.note", b"mine")
    swap_in(kept)
    assert stat.S_IMODE(events.stat().st_mode) == 0o604
    assert os.getxattr(events, "user.note") == b"mine"


def test_an_older_backup_can_be_had(kept: Kept, saved: Backup, events: Path, old: str) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db, db:
        db.execute("DELETE FROM events WHERE id > 100")
    backup.take(*kept, Progress())
    assert swap_in(kept, to=saved.id).point == saved.id
    assert content(events) == old


def test_another_path_gets_a_copy_and_the_database_stays(
    kept: Kept, events: Path, tmp_path: Path, changed: str, old: str
) -> None:
    done = swap_in(kept, target=tmp_path / "copy.db")
    assert (done.target, done.quarantine) == (str(tmp_path / "copy.db"), "")
    assert content(tmp_path / "copy.db") == old
    assert content(events) == changed


@pytest.mark.parametrize("name", ["copy.db", "copy.db-wal"])
def test_another_path_must_be_free(kept: Kept, saved: Backup, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UsageError, match="already exists") as caught:
        restore.plan(*kept, "latest", str(tmp_path / "copy.db"))
    assert caught.value.found == str(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"precious"


def test_the_databases_own_path_may_be_named_as_target(kept: Kept, saved: Backup, events: Path) -> None:
    assert swap_in(kept, target=events).target == str(events)


def test_a_directory_is_no_target(kept: Kept, saved: Backup, events: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        restore.plan(*kept, "latest", str(tmp_path))
    with pytest.raises(UsageError, match="is a directory"):
        restore.plan(kept[0], Database("events", str(events.parent)))


def test_a_target_without_a_folder_is_told_before_anything_is_built(kept: Kept, saved: Backup, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        swap_in(kept, target=tmp_path / "none" / "copy.db")
    assert "mkdir -p" in caught.value.next_step


def test_a_link_to_a_database_is_followed_to_the_real_one(
    kept: Kept, saved: Backup, events: Path, tmp_path: Path, old: str
) -> None:
    (tmp_path / "link.db").symlink_to(events)
    database = Database("events", str(tmp_path / "link.db"))
    flip(events, 4096 * 3, 200)
    assert swap_in((kept[0], database)).target == str(events)
    assert content(events) == old
    assert (tmp_path / "link.db").is_symlink()


def test_without_a_backup_there_is_nothing_to_restore(kept: Kept, events: Path) -> None:
    before = set_bytes(events)
    with pytest.raises(NoRestorePointError):
        swap_in(kept)
    assert set_bytes(events) == before


@pytest.mark.parametrize("harm", [lambda p: flip(p, 40), lambda p: os.truncate(p, 50), lambda p: p.unlink()])
def test_a_harmed_backup_never_reaches_the_target(
    kept: Kept, events: Path, saved: Backup, changed: str, harm: Callable[[Path], None]
) -> None:
    harm(Path(saved.folder, "database.db.zst"))
    with pytest.raises(VerificationError):
        swap_in(kept)
    assert content(events) == changed
    assert [name for name in beside(events) if "restore" in name] == []


@pytest.mark.parametrize("step", restore.STEPS[:-1])
def test_a_failure_at_any_step_leaves_the_old_or_the_new_state_whole(
    kept: Kept, events: Path, changed: str, old: str, step: str
) -> None:
    class Fail(Steps):
        def step(self, name: str) -> None:
            if name == step:
                raise OSError(5, "Input/output error")

    with pytest.raises(LitekeepError, match="the file system refused"):
        swap_in(kept, Fail())
    assert content(events) in (changed, old)
    assert not os.path.exists(Workspace(str(events)).folder)
    swap_in(kept)
    assert content(events) == old


def test_a_prepared_file_waits_beside_the_database_that_stays_in_use(
    kept: Kept, events: Path, changed: str, old: str
) -> None:
    with holding_open(events):
        done = restore.prepare(*kept, restore.plan(*kept), Progress())
        assert (done.swapped, done.quarantine) == (False, "")
        assert content(events) == changed
    assert restore.plan(*kept).prepared
    steps = Steps()
    swap_in(kept, steps)
    assert "restore: built" not in steps.seen
    assert content(events) == old


def test_preparing_twice_builds_once(kept: Kept, saved: Backup, events: Path) -> None:
    restore.prepare(*kept, restore.plan(*kept), Progress())
    before = os.stat(Workspace(str(events)).new).st_ino
    restore.prepare(*kept, restore.plan(*kept), Progress())
    assert os.stat(Workspace(str(events)).new).st_ino == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda new: flip(new, 8000),
        lambda new: new.unlink(),
        lambda new: os.truncate(new, 4096),
        lambda new: (shutil.copy(new, f"{new}2"), os.replace(f"{new}2", new)),
        lambda new: Path(new.parent, "restore.json").unlink(),
        lambda new: Path(new.parent, "restore.json").write_text("{"),
    ],
)
def test_a_prepared_file_that_somebody_touched_is_built_anew(
    kept: Kept, events: Path, saved: Backup, old: str, harm: Callable[[Path], object]
) -> None:
    restore.prepare(*kept, restore.plan(*kept), Progress())
    harm(Path(Workspace(str(events)).new))
    assert not restore.plan(*kept).prepared
    swap_in(kept)
    assert content(events) == old


def test_a_file_prepared_from_another_backup_is_not_used(kept: Kept, saved: Backup, events: Path) -> None:
    restore.prepare(*kept, restore.plan(*kept), Progress())
    with contextlib.closing(sqlite3.connect(events)) as db, db:
        db.execute("DELETE FROM events WHERE id > 100")
    newer = content(events)
    backup.take(*kept, Progress())
    assert not restore.plan(*kept).prepared
    swap_in(kept)
    assert content(events) == newer


def test_a_target_disk_that_is_too_small_is_told_before_anything_is_built(
    on_disk: Callable[..., None], kept: Kept, saved: Backup
) -> None:
    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError, match="Not enough space"):
            swap_in(kept, target=disk / "copy.db")
        assert os.listdir(disk.path) == []

    on_disk(work, size="15m")


def test_a_target_disk_that_fills_up_is_told_as_such_and_left_clean(
    on_disk: Callable[..., None], kept: Kept, saved: Backup
) -> None:
    class Fill(Steps):
        def __init__(self, disk: Disk) -> None:
            super().__init__()
            self.disk = disk

        def advance(self, label: str, done: int, total: int) -> None:
            self.disk.fill()

    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError, match="no space left"):
            swap_in(kept, Fill(disk), target=disk / "copy.db")
        assert os.listdir(disk.path) == ["ballast"]

    on_disk(work, size="24m")


def test_a_file_that_a_full_disk_cut_inside_its_last_page_is_never_swapped_in(
    on_disk: Callable[..., None], tmp_path: Path
) -> None:
    """SQLite counts a part of a page as a page: nothing but the write itself can notice."""
    path = tmp_path / "data" / "x.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA page_size=65536; CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(1800000));")
    kept = Repository(str(tmp_path / "repository"), "host"), Database("x", str(path))
    backup.take(*kept, Progress())
    size = path.stat().st_size

    class FillBeforeTheLastBlock(Steps):
        def advance(self, label: str, done: int, total: int) -> None:
            if done == total:
                written = os.path.getsize(Workspace(str(self.disk / "copy.db")).new)
                self.disk.fill(leave=size - written - 8192)

        def step(self, name: str) -> None:
            if name == "restore: built":
                (self.disk / "ballast").unlink()

        def __init__(self, disk: Disk) -> None:
            super().__init__()
            self.disk = disk

    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError, match="no space left"):
            swap_in(kept, FillBeforeTheLastBlock(disk), target=disk / "copy.db")
        assert not (disk / "copy.db").exists()

    on_disk(work, size="32m")


def test_a_read_only_target_is_told_as_such(on_disk: Callable[..., None], kept: Kept, saved: Backup) -> None:
    def work(disk: Disk) -> None:
        disk.seal()
        with pytest.raises(UsageError, match="cannot be written"):
            swap_in(kept, target=disk / "copy.db")

    on_disk(work)


def test_a_read_only_repository_can_be_restored_from(on_disk: Callable[..., None], events: Path) -> None:
    before = content(events)

    def work(disk: Disk) -> None:
        kept = Repository(str(disk / "repository"), "host"), Database("events", str(events))
        backup.take(*kept, Progress())
        disk.seal()
        events.unlink()
        swap_in(kept)
        assert content(events) == before

    on_disk(work, size="32m")


def test_a_rollback_brings_back_what_a_restore_replaced(kept: Kept, events: Path, changed: str, old: str) -> None:
    first = swap_in(kept)
    done = restore.rollback(kept[1], Progress())
    assert content(events) == changed
    assert done.point == os.path.basename(first.quarantine)
    assert done.quarantine.startswith(f"{events}.failed-restore-")
    assert content(Path(done.quarantine, "events.db")) == old


def test_a_rollback_without_wal_uses_the_quarantine_up(kept: Kept, saved: Backup, events: Path) -> None:
    before = content(events)
    swap_in(kept)
    restore.rollback(kept[1], Progress())
    assert content(events) == before
    with pytest.raises(NoRestorePointError, match="nothing to roll back"):
        restore.rollback(kept[1], Progress())


def test_a_damaged_set_comes_back_as_damaged_as_it_was(kept: Kept, saved: Backup, events: Path) -> None:
    leave_wal(events)
    flip(events, 16, 60)
    flip(Path(f"{events}-wal"), 56, 200)
    before = set_bytes(events)
    swap_in(kept)
    restore.rollback(kept[1], Progress())
    assert set_bytes(events) == before


def test_a_rollback_is_refused_while_the_database_is_in_use(kept: Kept, events: Path, changed: str, old: str) -> None:
    swap_in(kept)
    with holding_open(events), pytest.raises(InUseError):
        restore.rollback(kept[1], Progress())
    assert content(events) == old
    restore.rollback(kept[1], Progress())
    assert content(events) == changed


def test_a_quarantine_without_a_database_cannot_be_rolled_back_to(kept: Kept, saved: Backup, events: Path) -> None:
    leave_wal(events)
    events.unlink()
    swap_in(kept)
    before = content(events)
    with pytest.raises(NoRestorePointError, match="holds no database") as caught:
        restore.rollback(kept[1], Progress())
    assert "-wal" in caught.value.found
    assert content(events) == before


def test_there_is_nothing_to_roll_back_where_nothing_was_restored(kept: Kept, events: Path, tmp_path: Path) -> None:
    for target in (None, str(tmp_path / "none" / "x.db")):
        with pytest.raises(NoRestorePointError, match="nothing to roll back"):
            restore.last_quarantine(kept[1], target)


def test_a_rollback_can_be_rolled_back_by_hand_from_what_it_kept(
    kept: Kept, events: Path, changed: str, old: str
) -> None:
    swap_in(kept)
    done = restore.rollback(kept[1], Progress())
    assert content(events) == changed
    shutil.copy(Path(done.quarantine, "events.db"), events.parent / "by-hand.db")
    assert content(events.parent / "by-hand.db") == old


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("PRAGMA user_version=8", "user_version 7"),
        ("PRAGMA application_id=1", "application_id 1234"),
        ("CREATE TABLE more(x)", "schema_sha256"),
    ],
)
def test_a_file_that_is_not_what_the_manifest_describes_is_not_proven(
    saved: Backup, alone: Path, sql: str, what: str
) -> None:
    assert saved.manifest is not None
    restore.prove(str(alone), restore.fingerprint_in(saved.manifest))
    with contextlib.closing(sqlite3.connect(alone)) as db:
        db.execute(sql)
    with pytest.raises(VerificationError, match="is not what was stored") as caught:
        restore.prove(str(alone), restore.fingerprint_in(saved.manifest))
    assert what in caught.value.expected


def test_a_file_that_is_no_database_is_not_proven(saved: Backup, tmp_path: Path) -> None:
    assert saved.manifest is not None
    (tmp_path / "x.db").write_bytes(b"nothing like it" * 1000)
    with pytest.raises(VerificationError) as caught:
        restore.prove(str(tmp_path / "x.db"), restore.fingerprint_in(saved.manifest))
    assert "file is not a database" in caught.value.found


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_file_beside_a_strangers_sidecar_is_not_proven(saved: Backup, alone: Path, suffix: str) -> None:
    assert saved.manifest is not None
    Path(f"{alone}{suffix}").write_bytes(b"x")
    with pytest.raises(VerificationError, match="files of another database") as caught:
        restore.prove(str(alone), restore.fingerprint_in(saved.manifest))
    assert caught.value.found == f"{alone}{suffix}"


def test_a_plan_without_a_manifest_cannot_be(saved: Backup) -> None:
    bare = Backup(saved.id, saved.folder, saved.state, "", None, None)
    with pytest.raises(VerificationError):
        _ = restore.Plan(Point(bare, None, now(), None), "/x", (), restore.Look((), 0), False).manifest


def test_an_old_wal_beside_a_lost_database_never_comes_over_the_restored_one(
    kept: Kept, saved: Backup, events: Path, old: str
) -> None:
    """A good file beside a stale -wal replays the disaster, and integrity_check says ok."""
    leave_wal(events, marker="the disaster")
    wal = Path(f"{events}-wal").read_bytes()
    events.unlink()
    Path(f"{events}-shm").unlink()
    done = swap_in(kept)
    assert content(events) == old
    assert Path(done.quarantine, "events.db-wal").read_bytes() == wal


def test_databases_of_every_journal_mode_come_back(tmp_path: Path) -> None:
    for mode in ("wal", "delete"):
        path = make_database(tmp_path / mode / "x.db", mode=mode)
        kept = Repository(str(tmp_path / "repository"), "host"), Database(mode, str(path))
        backup.take(*kept, Progress())
        path.unlink()
        swap_in(kept)
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == (mode,)
