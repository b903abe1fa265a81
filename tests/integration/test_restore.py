"""Restores in place and elsewhere; what may come between; and the way back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import content, holding_open, leave_wal, make_database, protect, run_python

from litekeep import backup, restore, swap
from litekeep.config import Database
from litekeep.errors import InUseError, NoRestorePointError, UsageError, VerificationError
from litekeep.progress import Progress
from litekeep.repository import Repository


class At(Progress):
    """Does something at a step."""

    def __init__(self, step: str, action: Callable[[], object]) -> None:
        self.name, self.action = step, action

    def step(self, name: str) -> None:
        if name == self.name:
            self.action()


def scene(tmp_path: Path, **policy: object) -> tuple[Path, Repository, Database, str]:
    """A backed-up database that has since gone on; the content of the backup."""
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path, **policy)
    backup.take(repository, database, Progress())
    wanted = content(path)
    leave_wal(path)
    return path, repository, database, wanted


def commit(path: Path, words: str) -> None:
    """A short-lived writer, such as a cron job: it opens, commits and closes."""
    run_python(
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('INSERT INTO events(kind) VALUES(?)', (sys.argv[2],)); d.close()",
        path,
        words,
    )


def kinds(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {row[0] for row in db.execute("SELECT DISTINCT kind FROM events")}


@pytest.mark.parametrize("step", ["restore: workspace made", "restore: proven", *swap.STEPS[:3]])
def test_a_commit_that_comes_between_is_never_lost(tmp_path: Path, step: str) -> None:
    path, repository, database, wanted = scene(tmp_path)
    plan = restore.plan(repository, database)
    progress = At(step, lambda: commit(path, "came between"))
    if step in swap.STEPS:
        with pytest.raises(InUseError, match="written to during the restore") as caught:
            restore.restore(repository, database, plan, progress)
        assert "all that was written to it" in caught.value.safe
        assert "came between" in kinds(path)
    else:
        done = restore.restore(repository, database, plan, progress)
        assert content(path) == wanted
        assert "came between" in kinds(Path(done.quarantine) / "events.db")


@pytest.mark.parametrize("step", swap.STEPS[:3])
def test_a_process_that_opens_the_old_database_in_between_keeps_it(tmp_path: Path, step: str) -> None:
    path, repository, database, _wanted = scene(tmp_path, services=("events.service",))
    plan = restore.plan(repository, database)
    with contextlib.ExitStack() as stack:
        progress = At(step, lambda: stack.enter_context(holding_open(path, "INSERT INTO events(kind) VALUES('slip')")))
        with pytest.raises(InUseError) as caught:
            restore.restore(repository, database, plan, progress)
        assert caught.value.next_step == "systemctl stop events.service"
        assert kinds(path) >= {"slip", "wal"}
    assert kinds(path) >= {"slip", "wal"}


def test_a_process_that_opens_the_new_database_at_once_keeps_that(tmp_path: Path) -> None:
    path, repository, database, wanted = scene(tmp_path)
    plan = restore.plan(repository, database)
    with contextlib.ExitStack() as stack:
        add = "INSERT INTO events(kind) VALUES('new')"
        progress = At("restore: swapped", lambda: stack.enter_context(holding_open(path, add)))
        restore.restore(repository, database, plan, progress)
        assert "new" in kinds(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM events WHERE kind='new'")
        db.commit()
    assert content(path) == wanted


def test_a_stale_wal_that_a_dying_process_leaves_in_between_is_noticed(tmp_path: Path) -> None:
    path, repository, database, wanted = scene(tmp_path)
    plan = restore.plan(repository, database)
    with pytest.raises((InUseError, VerificationError)):
        restore.restore(repository, database, plan, At("restore: sidecars gone", lambda: leave_wal(path, "dying")))
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM events WHERE payload LIKE 'dying%'").fetchone() == (50,)
    restore.restore(repository, database, plan, Progress())
    assert content(path) == wanted


def test_a_prepared_restore_is_used_as_it_is(tmp_path: Path) -> None:
    path, repository, database, wanted = scene(tmp_path)
    plan = restore.plan(repository, database)
    with holding_open(path):
        done = restore.prepare(repository, database, plan, Progress())
        assert not done.swapped
    assert restore.plan(repository, database).prepared
    stored = Path(plan.backup.folder) / "database.db.zst"
    stored.rename(stored.with_suffix(".away"))
    restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert content(path) == wanted


def test_a_prepared_file_that_was_touched_is_built_anew(tmp_path: Path) -> None:
    path, repository, database, wanted = scene(tmp_path)
    restore.prepare(repository, database, restore.plan(repository, database), Progress())
    workspace = restore.Workspace(str(path))
    with open(workspace.new, "r+b") as stream:
        stream.write(b"overwritten")
    assert not restore.plan(repository, database).prepared
    restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert content(path) == wanted


def test_a_restore_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    path, repository, database, _wanted = scene(tmp_path)
    before = content(path)
    with holding_open(path), pytest.raises(InUseError):
        restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert content(path) == before
    assert not [name for name in os.listdir(path.parent) if "restore" in name]


def test_owner_mode_and_acl_come_back(tmp_path: Path) -> None:
    path, repository, database, wanted = scene(tmp_path)
    os.chown(path, 1234, 2345)
    os.chmod(path, 0o640)
    os.setxattr(path, "user.note", b"mine")
    restore.restore(repository, database, restore.plan(repository, database), Progress())
    state = os.stat(path)
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (1234, 2345, 0o640)
    assert os.getxattr(path, "user.note") == b"mine"
    assert content(path) == wanted


def test_a_lost_database_gets_the_recorded_mode(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    os.chmod(path, 0o640)
    repository, database = protect(tmp_path, path)
    backup.take(repository, database, Progress())
    for name in os.listdir(path.parent):
        os.unlink(path.parent / name)
    restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert os.stat(path).st_mode & 0o777 == 0o640


def test_a_database_behind_a_symbolic_link_is_replaced_where_it_really_is(tmp_path: Path) -> None:
    path, repository, _database, wanted = scene(tmp_path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = Database("events", str(link))
    restore.restore(repository, linked, restore.plan(repository, linked), Progress())
    assert link.is_symlink()
    assert content(path) == wanted


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems without hard links do."""

    def refused(*_arguments: object, **_named: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)


def test_where_hard_links_are_refused_the_files_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, repository, database, wanted = scene(tmp_path)
    old = content(path)
    refuse_links(monkeypatch)
    done = restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert content(path) == wanted
    assert content(Path(done.quarantine) / "events.db") == old


def test_the_old_database_needs_no_copy_when_it_is_whole(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path)
    backup.take(repository, database, Progress())
    inode = os.stat(path).st_ino
    done = restore.restore(repository, database, restore.plan(repository, database), Progress())
    assert os.stat(Path(done.quarantine) / "events.db").st_ino == inode


def test_a_file_that_appears_while_the_database_is_away_is_kept_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that starts between the moves finds nothing and makes an empty database."""
    path, repository, database, _wanted = scene(tmp_path)
    os.unlink(f"{path}-wal")
    with open(path, "r+b") as stream:
        stream.write(bytes(4096))
    refuse_links(monkeypatch)
    old = path.read_bytes()

    def appear() -> None:
        path.write_bytes(b"")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore.restore(repository, database, restore.plan(repository, database), At(swap.STEPS[1], appear))
    assert path.read_bytes() == old
    strays = [name for name in os.listdir(path.parent) if name.endswith(".stray")]
    assert os.listdir(path.parent / strays[0]) == ["events.db"]


def test_rollback_twice_does_not_go_further_back(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", marker="first")
    repository, database = protect(tmp_path, path)
    first = backup.take(repository, database, Progress())
    commit(path, "second")
    second = content(path)
    restore.restore(repository, database, restore.plan(repository, database, first.id), Progress())
    restore.rollback(database, Progress())
    assert content(path) == second
    with pytest.raises(NoRestorePointError):
        restore.rollback(database, Progress())
    assert content(path) == second


def test_rollback_of_nothing_says_so(tmp_path: Path) -> None:
    _path, _repository, database, _wanted = scene(tmp_path)
    with pytest.raises(NoRestorePointError, match="nothing to roll back"):
        restore.rollback(database, Progress())


def test_restore_into_a_missing_directory_or_onto_one(tmp_path: Path) -> None:
    _path, repository, database, _wanted = scene(tmp_path)
    plan = restore.plan(repository, database, target=str(tmp_path / "none" / "events.db"))
    with pytest.raises(UsageError, match="does not exist"):
        restore.restore(repository, database, plan, Progress())
    with pytest.raises(UsageError, match=r"exists|directory"):
        restore.plan(repository, database, target=str(tmp_path))


def test_the_restored_file_is_read_by_plain_sqlite(tmp_path: Path) -> None:
    _path, repository, database, _wanted = scene(tmp_path)
    plan = restore.plan(repository, database, target=str(tmp_path / "restored.db"))
    restore.restore(repository, database, plan, Progress())
    answer = subprocess.run(
        [
            "sqlite3",
            tmp_path / "restored.db",
            "PRAGMA integrity_check; PRAGMA journal_mode; SELECT count(*) FROM events",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "ok\nwal\n200\n"
