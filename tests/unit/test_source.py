from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import random
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import flip, holding_open, make_database, run_python
from unit.crashes import leave_hot_journal, leave_wal
from unit.places import Disk, as_nobody, contained, open_to_all

from litekeep import source, sqlitefail
from litekeep.errors import BusyError, SourceError
from litekeep.source import connect, identify, open_source


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def add_rows(path: Path, number: int = 1) -> None:
    run_python(
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for n in range(int(sys.argv[2])): db.execute(\"INSERT INTO events(kind) VALUES('later')\")",
        path,
        number,
    )


def test_the_file_is_described_as_it_stands_on_disk(events: Path) -> None:
    events.chmod(0o640)
    found, state = identify(str(events)), events.stat()
    assert found.to_json() == {
        "path": str(events),
        "device": state.st_dev,
        "inode": state.st_ino,
        "size": state.st_size,
        "owner": pwd.getpwuid(state.st_uid).pw_name,
        "group": grp.getgrgid(state.st_gid).gr_name,
        "mode": "0640",
    }
    assert found.uid == state.st_uid


def test_an_owner_without_a_name_is_told_by_number() -> None:
    assert source._user_name(4_000_000_000) == "4000000000"
    assert source._group_name(4_000_000_000) == "4000000000"


def test_a_link_leads_to_the_real_database(tmp_path: Path, events: Path) -> None:
    (tmp_path / "link.db").symlink_to(events)
    assert identify(str(tmp_path / "link.db")).path == str(events)
    with open_source(str(tmp_path / "link.db"), 5) as opened:
        assert count(opened.connection) == 200
    assert not list(tmp_path.glob("link.db-*"))


def test_a_mistyped_path_creates_no_file_and_names_what_is_there(events: Path) -> None:
    with pytest.raises(SourceError) as caught, open_source(str(events.with_name("evnets.db")), 1):
        pytest.fail("opened")
    assert caught.value.what.endswith("evnets.db does not exist")
    assert "events.db" in caught.value.found
    assert os.listdir(events.parent) == ["events.db"]


def test_a_missing_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path / "none" / "events.db"))
    assert "this directory is missing, too" in caught.value.found


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path))
    assert caught.value.found == "a directory"


def test_a_pipe_is_no_database_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path / "pipe"))
    assert caught.value.found == "no regular file"


def test_an_empty_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path / "x.db"))
    assert "0 bytes" in caught.value.found


def test_an_encrypted_database_is_told_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(random.Random(1).randbytes(8192))
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path / "x.db"))
    assert "encrypted" in caught.value.found
    assert "exports" in caught.value.next_step


@pytest.mark.parametrize("content", [b"PK\3\4" + b"text" * 2000, b"SQLite format 2\0" * 50, b"short", bytes(4096)])
def test_another_file_is_told_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        identify(str(tmp_path / "x.db"))
    assert repr(content[:16]) in caught.value.found


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, events: Path) -> None:
    open_to_all(events.parent)
    events.chmod(0)

    def work() -> None:
        with pytest.raises(SourceError) as caught:
            identify(str(events))
        assert "Permission denied" in caught.value.found

    as_nobody(work)


def test_a_wal_reader_sees_one_committed_state_while_writers_go_on(events: Path) -> None:
    leave_wal(events, rows=3)
    with open_source(str(events), 5) as opened:
        assert opened.journal_mode == "wal"
        assert opened.connection.in_transaction
        add_rows(events, 5)
        assert count(opened.connection) == 203
    with open_source(str(events), 5) as opened:
        assert count(opened.connection) == 208


def test_the_read_lock_really_stands_until_the_end(events: Path) -> None:
    checkpoint = (
        "import sqlite3, sys\n"
        "print(sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0])"
    )
    leave_wal(events, rows=3)
    with open_source(str(events), 5):
        add_rows(events)
        assert run_python(checkpoint, events).stdout == "1\n"
    assert run_python(checkpoint, events).stdout == "0\n"


def test_the_place_in_the_wal_is_that_of_the_state_that_is_read(events: Path) -> None:
    leave_wal(events, rows=4)
    frames = (os.path.getsize(f"{events}-wal") - 32) // (4096 + 24)
    with open_source(str(events), 5) as opened:
        assert opened.wal is not None
        assert opened.wal.frame == frames
        assert opened.wal.to_json()["salts"] == [
            int.from_bytes(Path(f"{events}-wal").read_bytes()[start : start + 4], "big") for start in (16, 20)
        ]


def test_the_size_counts_what_the_wal_added(events: Path) -> None:
    before = events.stat().st_size
    leave_wal(events, marker="x" * 5000, rows=20)
    assert events.stat().st_size == before
    with open_source(str(events), 5) as opened:
        assert opened.size >= before + 20 * 5000
        assert opened.size == opened.page_size * opened.page_count


def test_a_rollback_journal_database_is_read_without_holding_its_writers(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with open_source(str(path), 5) as opened:
        assert (opened.journal_mode, opened.wal, opened.connection.in_transaction) == ("delete", None, False)
        add_rows(path)
        assert count(opened.connection) == 201


def test_a_lock_that_stays_is_busy_after_the_deadline_and_not_much_later(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with holding_open(path, "BEGIN EXCLUSIVE"):
        begun = time.monotonic()
        with pytest.raises(BusyError) as caught, open_source(str(path), 1):
            pytest.fail("opened")
        assert 0.9 < time.monotonic() - begun < 5
    assert "within 1.0 s" in caught.value.expected


@pytest.mark.parametrize("deadline", [30, 4 * 7 * 86400], ids=["seconds", "four weeks"])
def test_a_long_deadline_still_waits(tmp_path: Path, deadline: int) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with holding_open(path, "BEGIN EXCLUSIVE") as holder:
        timer = threading.Timer(0.4, holder.kill)
        timer.start()
        with open_source(str(path), deadline) as opened:
            assert count(opened.connection) == 200
        timer.join()


def test_a_hot_journal_is_left_to_the_application(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=500)
    leave_hot_journal(path)
    before = path.read_bytes(), Path(f"{path}-journal").read_bytes()
    with pytest.raises(SourceError, match="waits for a rollback") as caught, open_source(str(path), 1):
        pytest.fail("opened")
    assert "start the application" in caught.value.next_step
    assert (path.read_bytes(), Path(f"{path}-journal").read_bytes()) == before


def test_a_database_that_sqlite_cannot_read_is_damaged(events: Path) -> None:
    flip(events, 16, 8)
    with pytest.raises(sqlitefail.DamagedError), open_source(str(events), 1):
        pytest.fail("opened")


def test_a_wal_database_in_a_folder_that_may_not_be_written_says_what_is_needed(events: Path) -> None:
    open_to_all(events.parent)
    owner = events.stat().st_uid

    def work() -> None:
        os.chmod(events.parent, 0o555) if os.getuid() == owner else None
        with pytest.raises(SourceError) as caught, open_source(str(events), 1):
            pytest.fail("opened")
        assert "-wal and -shm" in caught.value.expected + caught.value.found
        assert os.listdir(events.parent) == ["events.db"]

    try:
        as_nobody(work)
    finally:
        events.parent.chmod(0o755)


def test_a_stranger_leaves_no_sidecars_that_lock_the_application_out(tmp_path: Path, events: Path) -> None:
    open_to_all(events.parent)
    calm = make_database(events.with_name("calm.db"), mode="delete")

    def work() -> None:
        of_another = dataclasses.replace(identify(str(events)), uid=os.getuid() + 1, owner="app")
        with pytest.raises(SourceError) as caught:
            source.refuse_foreign_sidecars(of_another)
        assert caught.value.next_step == "run it with: sudo -u app"
        source.refuse_foreign_sidecars(dataclasses.replace(of_another, uid=os.getuid()))
        source.refuse_foreign_sidecars(dataclasses.replace(of_another, path=str(calm)))

    as_nobody(work)


def test_root_may_read_anybodys_database_because_sqlite_gives_sidecars_to_its_owner(tmp_path: Path) -> None:
    def work(disk: Disk) -> None:
        path = make_database(disk / "x.db")
        source.refuse_foreign_sidecars(dataclasses.replace(identify(str(path)), uid=4321))

    open_to_all(tmp_path)
    contained(tmp_path / "disk", work)


def test_a_connection_cannot_write(events: Path) -> None:
    with contextlib.closing(connect(str(events))) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("INSERT INTO events(kind) VALUES('x')")


def test_an_immutable_connection_looks_at_the_file_alone(events: Path) -> None:
    leave_wal(events, rows=9)
    os.unlink(f"{events}-shm")
    with contextlib.closing(connect(str(events), immutable=True)) as db:
        assert count(db) == 200
    assert not os.path.exists(f"{events}-shm")


def test_nothing_from_the_schema_is_trusted(events: Path) -> None:
    with contextlib.closing(connect(str(events))) as db:
        assert db.execute("PRAGMA trusted_schema").fetchone() == (0,)


@pytest.mark.parametrize("name", ["a?mode=rwc.db", "a#b.db", "a%20b.db", "a b ä.db", b"\xff\xfe.db"])
def test_any_file_name_can_be_opened(tmp_path: Path, name: str | bytes) -> None:
    path = tmp_path / (os.fsdecode(name) if isinstance(name, bytes) else name)
    make_database(tmp_path / "x.db", rows=3, mode="delete").rename(path)
    with open_source(str(path), 1) as opened:
        assert count(opened.connection) == 3
    assert os.listdir(tmp_path) == [path.name]


@given(st.binary(min_size=1, max_size=300))
def test_entropy_lies_between_none_and_eight_bits(block: bytes) -> None:
    assert -1e-9 <= source.entropy(block) <= 8
    assert source.entropy(bytes([block[0]]) * 300) == 0


def test_entropy_of_every_byte_alike_is_eight_bits() -> None:
    assert source.entropy(bytes(range(256))) == pytest.approx(8)
