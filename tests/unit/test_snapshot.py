from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import make_database
from unit.crashes import leave_hot_journal, leave_wal
from unit.places import Disk

from litekeep import snapshot, sqlitefail
from litekeep.errors import BusyError, SpaceError
from litekeep.progress import Progress
from litekeep.source import open_source


class Between(Progress):
    """Does something after every step of a copy."""

    def __init__(self, work: Callable[[int], object]) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.work = work

    def advance(self, label: str, done: int, total: int) -> None:
        self.calls.append((label, done, total))
        self.work(len(self.calls))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)


def copy(path: Path, staged: Path, deadline: int = 5, progress: Progress | None = None) -> None:
    with open_source(str(path), deadline) as source:
        snapshot.copy_snapshot(source, str(staged), deadline, progress or Progress())


def ask(path: Path, sql: str) -> object:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return db.execute(sql).fetchone()[0]


def without_counters(path: Path) -> bytes:
    """The file without its change counter, version-valid-for and SQLite version ("Database File Format", 1.3)."""
    block = path.read_bytes()
    return block[:24] + block[28:92] + block[100:]


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_the_copy_is_the_source_page_for_page(tmp_path: Path, mode: str) -> None:
    path = make_database(tmp_path / "x.db", mode=mode)
    copy(path, tmp_path / "copy.db")
    assert without_counters(tmp_path / "copy.db") == without_counters(path)
    assert [name for name in os.listdir(tmp_path) if name.startswith("copy")] == ["copy.db"]


@pytest.mark.parametrize(
    "settings",
    [
        "PRAGMA page_size=512",
        "PRAGMA page_size=65536",
        "PRAGMA encoding='UTF-16le'",
        "PRAGMA auto_vacuum=FULL",
        "PRAGMA page_size=1024; PRAGMA journal_mode=wal",
    ],
)
def test_every_setting_of_the_source_is_kept(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"{settings}; CREATE TABLE t(x); INSERT INTO t VALUES('a'), ('b'); DROP TABLE t;")
        db.executescript("CREATE TABLE u(x); INSERT INTO u VALUES('ä'); PRAGMA user_version=9;")
    copy(path, tmp_path / "copy.db")
    assert without_counters(tmp_path / "copy.db") == without_counters(path)


def test_an_application_with_prepared_statements_sees_the_same_schema_cookie(tmp_path: Path, events: Path) -> None:
    copy(events, tmp_path / "copy.db")
    assert ask(tmp_path / "copy.db", "PRAGMA schema_version") == ask(events, "PRAGMA schema_version")


def test_what_stands_in_the_wal_only_is_copied_too(tmp_path: Path, events: Path) -> None:
    leave_wal(events, rows=50)
    copy(events, tmp_path / "copy.db")
    assert ask(tmp_path / "copy.db", "SELECT count(*) FROM events") == 250
    assert ask(tmp_path / "copy.db", "PRAGMA integrity_check") == "ok"


@pytest.mark.usefixtures("small_steps")
def test_commits_during_the_copy_neither_restart_it_nor_get_in_wal(tmp_path: Path, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None, timeout=0)) as db:
        between = Between(lambda _n: db.execute("INSERT INTO events(kind) VALUES('live')"))
        copy(events, tmp_path / "copy.db", progress=between)
    done = [done for _label, done, _total in between.calls]
    assert done == sorted(done)
    assert len(set(done)) > 5
    assert ask(tmp_path / "copy.db", "SELECT count(*) FROM events") == 200
    assert ask(tmp_path / "copy.db", "PRAGMA integrity_check") == "ok"


@pytest.mark.usefixtures("small_steps")
def test_one_commit_during_the_copy_starts_it_again_without_wal(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:

        def once(number: int) -> None:
            if number == 5:
                db.execute("INSERT INTO events(kind) VALUES('live')")

        copy(path, tmp_path / "copy.db", progress=Between(once))
    assert ask(tmp_path / "copy.db", "SELECT count(*) FROM events") == 201
    assert ask(tmp_path / "copy.db", "PRAGMA integrity_check") == "ok"


@pytest.mark.usefixtures("small_steps")
def test_a_source_that_never_rests_is_busy_after_the_deadline(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        begun = time.monotonic()
        with pytest.raises(BusyError, match="stayed locked"):
            copy(
                path,
                tmp_path / "copy.db",
                deadline=1,
                progress=Between(lambda _n: db.execute("INSERT INTO events(kind) VALUES('live')")),
            )
        assert 0.9 < time.monotonic() - begun < 5


@pytest.mark.usefixtures("small_steps")
def test_a_lock_taken_during_the_copy_is_busy_after_the_deadline(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:

        def lock(number: int) -> None:
            if number == 3:
                db.execute("BEGIN EXCLUSIVE")

        begun = time.monotonic()
        with pytest.raises(BusyError, match="stayed locked"):
            copy(path, tmp_path / "copy.db", deadline=1, progress=Between(lock))
        assert time.monotonic() - begun < 6


@pytest.mark.usefixtures("small_steps")
def test_progress_ends_with_all_bytes(tmp_path: Path, events: Path) -> None:
    between = Between(lambda _n: None)
    copy(events, tmp_path / "copy.db", progress=between)
    size = events.stat().st_size
    assert {total for _label, _done, total in between.calls} == {size}
    assert between.calls[-1] == ("copy", size, size)


def test_a_truncated_source_is_damaged(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=2000)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(sqlitefail.DamagedError):
        copy(path, tmp_path / "copy.db")


@pytest.mark.parametrize("room", [0, 5 * 4096], ids=["no page fits", "some pages fit"])
def test_a_full_staging_disk_is_told_as_such_and_not_as_damage(
    on_disk: Callable[..., None], events: Path, room: int
) -> None:
    def work(disk: Disk) -> None:
        disk.fill(leave=room)
        with pytest.raises(SpaceError, match="staged copy") as caught:
            copy(events, disk / "copy.db")
        assert "staging" in caught.value.next_step

    on_disk(work)


def test_a_raw_copy_takes_every_byte_and_what_belongs_to_it(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=500)
    leave_hot_journal(path)
    between = Between(lambda _n: None)
    staged = tmp_path / "staged"
    assert snapshot.copy_raw(str(path), str(staged), between) == [str(staged), f"{staged}-journal"]
    assert staged.read_bytes() == path.read_bytes()
    assert Path(f"{staged}-journal").read_bytes() == Path(f"{path}-journal").read_bytes()
    assert between.calls[0] == ("copy", path.stat().st_size, path.stat().st_size)


def test_a_raw_copy_takes_the_wal_and_leaves_the_index(tmp_path: Path, events: Path) -> None:
    leave_wal(events)
    staged = tmp_path / "staged"
    assert snapshot.copy_raw(str(events), str(staged), Progress()) == [str(staged), f"{staged}-wal"]
    assert Path(f"{staged}-wal").read_bytes() == Path(f"{events}-wal").read_bytes()
