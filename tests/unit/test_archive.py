"""The archive service, in a thread of its own: real databases, real base backups, no waiting for a clock."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ROOT, in_child, make_database
from unit.archives import Kept, connect, dump_of

from litekeep import archive, backup, restore
from litekeep.archive import Archiver
from litekeep.config import ArchiveSettings
from litekeep.errors import BusyError, LitekeepError, SourceError, UsageError
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timefmt import from_text
from litekeep.timeline import Timeline

QUIET = Progress()
BRISK = ArchiveSettings(interval=0, heartbeat=0, reserve=0)


class Service:
    """An archiver at work, and what it said."""

    def __init__(self, kept: Kept, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.problem: BaseException | None = None
        self.archiver = Archiver(*kept, start, self.say)
        self.thread = threading.Thread(target=self.run)

    def say(self, line: str) -> None:
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def run(self) -> None:
        try:
            self.archiver.run()
        except BaseException as problem:
            self.problem = problem
        finally:
            self.say("ended")

    def wait_for(self, words: str, times: int = 1) -> str:
        """The line with these words, once it was said."""

        def found() -> list[str]:
            return [line for line in self.lines if words in line]

        with self.changed:
            assert self.changed.wait_for(lambda: len(found()) >= times, 60), self.lines
        return found()[-1]

    def end(self) -> None:
        self.archiver.stop.set()
        self.thread.join()
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def policy(kept: Kept) -> Kept:
    return kept[0], dataclasses.replace(kept[1], archive=True, archive_settings=BRISK)


@pytest.fixture
def app(events: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect(events)) as db:
        db.execute("INSERT INTO events(kind) VALUES('before')")
        yield db


@contextlib.contextmanager
def service(kept: Kept) -> Iterator[Service]:
    """Started; stopped at the end, and what it raised is raised here."""
    repository, database = kept
    words = ["--database", database.path, "--repository", repository.root, "--host", "host", "backup", database.name]

    def start() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        return subprocess.Popen([sys.executable, "-m", "litekeep", *words], env=environment, stdout=subprocess.DEVNULL)

    found = Service(kept, start)
    found.thread.start()
    try:
        yield found
    finally:
        found.end()


def timelines(kept: Kept) -> list[Timeline]:
    return kept[0].timelines("events")


def restored(kept: Kept, tmp_path: Path, to: str = "latest") -> str:
    """What a restore to another path brings."""
    target = tmp_path / "restored.db"
    target.unlink(missing_ok=True)
    restore.restore(*kept, restore.plan(*kept, to, str(target)), QUIET)
    with contextlib.closing(sqlite3.connect(target)) as db:
        return dump_of(db)


def wait_until(condition: Callable[[], object]) -> None:
    give_up = threading.Event()
    for _look in range(6000):
        if condition():
            return
        give_up.wait(0.01)
    pytest.fail("it never came")


def test_all_that_was_committed_until_it_is_stopped_can_be_restored(
    policy: Kept, app: sqlite3.Connection, tmp_path: Path
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
        for _n in range(20):
            app.execute("INSERT INTO events(kind) VALUES('archived')")
    (timeline,) = timelines(policy)
    assert (timeline.problems, timeline.state, timeline.reason) == ((), "stopped", "archiving began")
    assert restored(policy, tmp_path) == dump_of(app)
    assert policy[0].catalogue("events").newest.timeline == timeline.id  # type: ignore[union-attr]


def test_a_restart_goes_on_with_the_same_timeline_and_its_base(
    policy: Kept, app: sqlite3.Connection, tmp_path: Path
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
    app.execute("INSERT INTO events(kind) VALUES('while nobody looked')")
    with service(policy) as running:
        assert running.wait_for("going on with timeline")
        running.wait_for("has its base backup")
    assert len(timelines(policy)) == len(policy[0].catalogue("events").backups) == 1
    assert restored(policy, tmp_path) == dump_of(app)


def test_a_wal_that_began_anew_while_nobody_looked_begins_a_timeline_with_its_own_base(
    policy: Kept, app: sqlite3.Connection, tmp_path: Path
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
    app.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    app.execute("INSERT INTO events(kind) VALUES('after the reset')")
    with service(policy) as running:
        assert "began anew" in running.wait_for("begins: ")
        running.wait_for("has its base backup")
        app.execute("INSERT INTO events(kind) VALUES('archived')")
    first, second = timelines(policy)
    assert (first.state, second.state, second.number) == ("ended", "stopped", 2)
    assert len(policy[0].catalogue("events").restore_points) == 2
    assert restored(policy, tmp_path) == dump_of(app)


def test_a_clock_that_was_set_back_begins_a_timeline(
    policy: Kept, app: sqlite3.Connection, clock: Callable[..., None]
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
    clock(-3600, archive)
    with service(policy) as running:
        assert "the clock was set back" in running.wait_for("begins: ")


def test_a_database_that_is_not_there_yet_is_waited_for(policy: Kept, events: Path, tmp_path: Path) -> None:
    block = events.read_bytes()
    events.unlink()
    with service(policy) as running:
        running.wait_for("it is not there yet")
        assert timelines(policy) == []
        events.write_bytes(block)
        running.wait_for("has its base backup")
    with service((policy[0], dataclasses.replace(policy[1], path=str(tmp_path / "none" / "x.db")))) as running:
        running.wait_for("it is not there yet")


def test_a_database_that_is_replaced_begins_a_timeline_of_the_new_one(policy: Kept, events: Path) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
        make_database(events.parent / "other.db", rows=3, marker="new")
        os.replace(events.parent / "other.db", events)
        for suffix in ("-wal", "-shm"):
            Path(f"{events}{suffix}").unlink(missing_ok=True)
        assert "continuity is lost" in running.wait_for("was replaced by another file")
        assert running.wait_for("begins: ", times=2)
        running.wait_for("has its base backup", times=2)
    assert [timeline.number for timeline in timelines(policy)] == [1, 2]
    assert "was replaced by another file" in timelines(policy)[1].reason


def test_a_base_backup_that_fails_is_told_and_archiving_goes_on(
    policy: Kept, app: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Service(policy, lambda: subprocess.Popen(["false"]))
    found.thread.start()
    try:
        found.wait_for("the base backup failed (exit code 1)")
        app.execute("INSERT INTO events(kind) VALUES('archived')")
        wait_until(lambda: sum(s.commits for s in timelines(policy)[0].segments) >= 2)
    finally:
        found.end()


def test_a_lost_lock_and_other_trouble_go_on_with_the_same_timeline_where_nothing_was_lost(
    policy: Kept, app: sqlite3.Connection, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = archive.Follower.turn
    trouble: list[OSError] = []

    def turning(follower: archive.Follower, last: bool = False) -> None:
        if trouble:
            raise trouble.pop()
        turn(follower, last)

    monkeypatch.setattr(archive.Follower, "turn", turning)
    with service(policy) as running:
        running.wait_for("has its base backup")
        # POSIX drops the locks of a process that closes any descriptor of the file.
        os.close(os.open(f"{events}-shm", os.O_RDONLY))
        running.wait_for("continuity is lost")
        running.wait_for("has its base backup", times=2)
        app.execute("INSERT INTO events(kind) VALUES('archived')")
        trouble.append(BlockingIOError("Resource temporarily unavailable"))
        running.wait_for("Resource temporarily unavailable")
        running.wait_for("going on with timeline", times=2)
        app.execute("INSERT INTO events(kind) VALUES('archived, too')")
    assert len(timelines(policy)) == 1
    assert restored(policy, tmp_path) == dump_of(app)


def test_a_timeline_gets_a_name_of_its_own_when_two_begin_in_one_millisecond(tmp_path: Path) -> None:
    moment = from_text("2026-11-22T02:00:00.000Z")
    for name in ("20261122T020000.000Z", "20261122T020000.001Z"):
        assert archive._fresh_name(str(tmp_path), moment) == name
        (tmp_path / name).mkdir()


def test_a_database_that_stays_locked_is_waited_for(policy: Kept, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("INSERT INTO events(kind) VALUES('alone')")
        with service(policy) as running:
            running.wait_for("is locked")
            db.close()
            running.wait_for("has its base backup")


def test_a_database_that_is_no_longer_one_is_told_and_waited_for(policy: Kept, events: Path) -> None:
    block = events.read_bytes()
    with service(policy) as running:
        running.wait_for("has its base backup")
        other = events.parent / "other"
        other.write_bytes(b"no database" * 1000)
        os.replace(other, events)
        running.wait_for("continuity is lost")
        running.wait_for("file is not a database")
        other.write_bytes(block)
        os.replace(other, events)
        running.wait_for("has its base backup", times=2)


def test_a_backup_under_way_is_ended_with_the_archiver(policy: Kept, app: sqlite3.Connection) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen(["sleep", "600"]))
        return children[0]

    found = Service(policy, start)
    found.thread.start()
    try:
        wait_until(lambda: children)
    finally:
        found.end()
    assert children[0].returncode == -15


def test_only_one_archiver_of_a_database_runs(policy: Kept, app: sqlite3.Connection) -> None:
    with service(policy) as running:
        running.wait_for("begins: ")
        assert policy[0].is_archiving("events")
        with pytest.raises(BusyError) as caught, service(policy):
            pass
        assert f"archive of events, process {os.getpid()}" in caught.value.found
    assert not policy[0].is_archiving("events")


def test_a_database_in_another_mode_is_refused_and_what_goes_on_is_said(policy: Kept, tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with (
        pytest.raises(SourceError, match="not in WAL mode") as caught,
        service((policy[0], dataclasses.replace(policy[1], path=str(path)))),
    ):
        pass
    assert "backups go on" in caught.value.safe
    path.write_bytes(b"something else")
    with (
        pytest.raises(SourceError, match="is not a SQLite database"),
        service((policy[0], dataclasses.replace(policy[1], path=str(path)))),
    ):
        pass


def test_a_wal_that_is_too_large_to_begin_with_is_waited_for(policy: Kept, app: sqlite3.Connection) -> None:
    settings = dataclasses.replace(BRISK, relief=10_000, max_wal=100_000)
    with service((policy[0], dataclasses.replace(policy[1], archive_settings=settings))) as running:
        running.wait_for("begins: ")
    for _n in range(40):
        app.execute("INSERT INTO events(payload) VALUES(hex(randomblob(3000)))")
    with service((policy[0], dataclasses.replace(policy[1], archive_settings=settings))) as running:
        running.wait_for("waiting for a checkpoint")
        app.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        app.execute("INSERT INTO events(kind) VALUES('small again')")
        running.wait_for("begins: ")


def test_a_repository_that_cannot_be_written_is_told(policy: Kept, app: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with (
        pytest.raises((LitekeepError, NotADirectoryError)),
        service((Repository(str(tmp_path / "file"), "host"), policy[1])),
    ):
        pass


def test_without_zstandard_nothing_begins(policy: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.store, "zstandard", None)
    with pytest.raises(UsageError, match="zstandard"), service(policy):
        pass


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    words: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)

        def heard() -> list[str]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    words.append(listener.recv(4096).decode())
            return words

        yield heard


def test_systemd_is_told_of_every_stage(
    policy: Kept, app: sqlite3.Connection, systemd: Callable[[], list[str]]
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
        wait_until(lambda: any(word.startswith("STATUS=archiving") for word in systemd()))
        wait_until(lambda: systemd().count("WATCHDOG=1") > 1)
    assert systemd()[0] == "READY=1"
    assert systemd()[-1] == "STOPPING=1"


def test_a_service_whose_directory_appears_later_ends_so_that_it_is_started_anew(
    policy: Kept, tmp_path: Path, systemd: Callable[[], list[str]]
) -> None:
    """Its sandbox cannot write into a directory that was made after it."""
    path = tmp_path / "later" / "events.db"
    found = Service((policy[0], dataclasses.replace(policy[1], path=str(path))), lambda: subprocess.Popen(["true"]))
    found.thread.start()
    try:
        found.wait_for("it is not there yet")
        path.parent.mkdir()
        found.wait_for("the directory of")
        found.wait_for("ended")
    finally:
        found.end()


def test_beside_an_archiver_the_application_can_do_all_it_could(
    policy: Kept, app: sqlite3.Connection, tmp_path: Path
) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
        app.execute("PRAGMA busy_timeout=20000")
        app.execute("CREATE TABLE more(x)")
        app.execute("PRAGMA wal_checkpoint(PASSIVE)")
        app.execute("DELETE FROM events WHERE id % 2")
        app.execute("VACUUM")
        app.execute("PRAGMA wal_checkpoint(FULL)")
        app.execute("INSERT INTO more VALUES(1)")
    assert restored(policy, tmp_path) == dump_of(app)


def test_a_backup_in_the_middle_becomes_a_base_of_the_timeline(policy: Kept, app: sqlite3.Connection) -> None:
    with service(policy) as running:
        running.wait_for("has its base backup")
        app.execute("INSERT INTO events(kind) VALUES('archived')")
        assert in_child(lambda: backup.take(*policy, QUIET)) == 0
        taken = policy[0].catalogue("events").newest
        wait_until(lambda: taken in [base for _p, base in archive.moments.bases_of(
            timelines(policy)[0].runs[-1], policy[0].catalogue("events").restore_points)])  # fmt: skip
