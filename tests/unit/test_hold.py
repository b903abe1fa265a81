from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SUFFIXES, make_database, run_python
from unit.archives import connect
from unit.places import as_nobody, open_to_all

from litekeep import hold as holds
from litekeep.hold import Hold, LostError
from litekeep.walfile import IndexState


@pytest.fixture
def app(events: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect(events)) as db:
        yield db


@pytest.fixture
def held(events: Path, app: sqlite3.Connection) -> Iterator[Hold]:
    with contextlib.closing(Hold(str(events))) as hold:
        yield hold


def insert(app: sqlite3.Connection, count: int = 1) -> None:
    for _n in range(count):
        app.execute("INSERT INTO events(kind) VALUES('new')")


def elsewhere(path: Path, sql: str) -> str:
    """One statement of another process; its row, or why not."""
    return run_python(
        """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
        db.execute("PRAGMA wal_autocheckpoint=0")
        try:
            print(db.execute(sys.argv[2]).fetchone())
        except sqlite3.Error as problem:
            print(problem)
        """,
        path, sql,
    ).stdout.strip()  # fmt: skip


def nothing(_state: IndexState) -> None:
    """Nothing to copy."""


@pytest.mark.parametrize("kind", ["RESTART", "TRUNCATE"])
def test_no_checkpoint_of_another_process_gets_past_commits_that_are_held(
    held: Hold, app: sqlite3.Connection, events: Path, kind: str
) -> None:
    insert(app, 3)
    with held.step() as state:
        pass
    size = Path(f"{events}-wal").stat().st_size
    for _again in range(2):
        answer = elsewhere(events, f"PRAGMA wal_checkpoint({kind})")
        assert answer.startswith("(1, "), answer
        elsewhere(events, "INSERT INTO events(kind) VALUES('after')")
    assert held.look().position.salts == state.position.salts
    assert held.look().position.frame > state.position.frame
    assert Path(f"{events}-wal").stat().st_size >= size


def test_the_wal_is_held_while_one_transaction_takes_over_from_the_other(
    held: Hold, app: sqlite3.Connection, events: Path
) -> None:
    for _again in range(4):
        insert(app)
        with held.step() as state:
            assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)").startswith("(1, ")
            assert held.look().position == state.position


def test_all_of_it_in_the_database_file_lets_the_wal_begin_anew_once(
    held: Hold, app: sqlite3.Connection, events: Path
) -> None:
    insert(app)
    with held.step() as state:
        pass
    elsewhere(events, "PRAGMA wal_checkpoint(PASSIVE)")
    with held.step() as done:
        assert done.backfilled == done.position.frame
    insert(app)
    salts = held.look().position.salts
    assert salts != state.position.salts
    for _again in range(3):
        assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)").startswith("(1, ")
        insert(app)
    assert held.look().position.salts == salts, "no second time before the next step"


def test_without_a_hold_the_same_checkpoint_goes_through(app: sqlite3.Connection, events: Path) -> None:
    insert(app, 3)
    assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)") == "(0, 0, 0)"
    assert Path(f"{events}-wal").stat().st_size == 0


def test_a_step_that_fails_keeps_what_was_held(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    insert(app)
    with held.step():
        pass
    insert(app)
    with pytest.raises(OSError, match="full"), held.step():
        raise OSError("full")
    elsewhere(events, "PRAGMA wal_checkpoint(PASSIVE)")
    state = held.look()
    assert state.backfilled < state.position.frame
    assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)").startswith("(1, ")
    with held.step() as again:
        assert again.position == state.position


def test_the_state_is_that_of_the_last_commit(held: Hold, app: sqlite3.Connection) -> None:
    insert(app)
    before = held.look()
    app.execute("BEGIN")
    insert(app)
    assert held.look() == before
    app.execute("COMMIT")
    after = held.look()
    assert after.position.frame > before.position.frame
    assert after.page_count == app.execute("PRAGMA page_count").fetchone()[0]
    assert after.page_size == 4096
    frame = os.pread(held.wal, 24, 32 + (after.position.frame - 1) * 4120)
    assert frame[16:24] == after.checksum


# -- relief


def test_relief_empties_the_wal_and_hands_out_what_was_in_it(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    insert(app, 5)
    seen: list[IndexState] = []
    before = held.look().position
    assert held.relieve(seen.append, 1.0)
    assert [state.position for state in seen] == [before, before]
    insert(app)
    after = held.look().position
    assert after.salts != before.salts
    assert after.frame < before.frame
    assert app.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_relief_waits_for_no_writer_longer_than_it_was_told(held: Hold, app: sqlite3.Connection) -> None:
    insert(app)
    app.execute("BEGIN IMMEDIATE")
    assert not held.relieve(lambda _state: pytest.fail("copied beside a writer"), 0.05)
    app.execute("COMMIT")
    assert held.relieve(nothing, 1.0)


def test_relief_gets_the_lock_between_two_writes(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    insert(app)
    begun, stop = threading.Event(), threading.Event()

    def write() -> None:
        with contextlib.closing(connect(events)) as db:
            while not stop.is_set():
                with contextlib.suppress(sqlite3.OperationalError):
                    db.execute("BEGIN IMMEDIATE")
                    insert(db)
                    db.execute("COMMIT")
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(20)
    try:
        # The writer reads before it has the lock: then it can stand in the way, once.
        assert any(held.relieve(nothing, 20.0) for _try in range(100))
    finally:
        stop.set()
        writer.join()


def test_relief_beside_an_old_reader_says_that_it_could_not(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    insert(app)
    with contextlib.closing(connect(events)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        insert(app)
        assert not held.relieve(nothing, 1.0)
    assert held.relieve(nothing, 1.0)


def test_relief_that_could_not_copy_lets_writers_go_on_and_loses_nothing(
    held: Hold, app: sqlite3.Connection, events: Path
) -> None:
    insert(app, 2)
    with held.step():
        pass
    insert(app)
    before = held.look().position

    def fail(_state: IndexState) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        held.relieve(fail, 1.0)
    insert(app)
    assert held.look().position.salts == before.salts
    assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)").startswith("(1, ")


def test_a_lock_that_cannot_be_had_for_another_reason_is_told(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as closed:
        pass
    closed.close()
    with pytest.raises(sqlite3.ProgrammingError):
        holds._lock(closed, 0.0)


# -- what is held


def test_the_lock_is_listed_by_the_kernel_as_long_as_it_is_held(held: Hold, events: Path) -> None:
    assert held._lock_is_listed()
    held.check()
    # What POSIX does when any descriptor of the file is closed.
    os.close(os.open(f"{events}-shm", os.O_RDONLY))
    assert not held._lock_is_listed()
    with pytest.raises(LostError, match="no longer lists"):
        held.check()


def test_a_machine_without_a_list_of_locks_is_no_loss(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hold, "_lock_is_listed", lambda _self: False)
    with contextlib.closing(Hold(str(events))) as hold:
        hold.check()


def test_a_list_of_locks_that_cannot_be_read_lists_none(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise PermissionError("/proc/locks")

    monkeypatch.setattr(holds, "open", refuse, raising=False)
    assert not held._lock_is_listed()
    assert (holds._end_of("EOF"), holds._end_of("128")) == (1 << 62, 128)


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_was_deleted_or_replaced_ends_the_hold(held: Hold, events: Path, suffix: str, how: str) -> None:
    held.check()
    path = Path(f"{events}{suffix}")
    if how == "replaced":
        (events.parent / "other").write_bytes(b"x")
        os.replace(events.parent / "other", path)
    else:
        path.unlink()
    with pytest.raises(LostError, match=f"{path} was {how}"):
        held.check()


def test_the_inode_is_the_databases(held: Hold, events: Path) -> None:
    assert held.inode == (events.stat().st_dev, events.stat().st_ino)


def test_only_a_wal_can_be_held(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    with pytest.raises(LostError, match="its journal mode is delete"):
        Hold(str(path))


def test_what_is_no_database_or_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Hold(str(tmp_path / "none.db"))
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        Hold(str(tmp_path / "x.db"))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_hold_that_fails_or_ends_leaves_nothing_open(tmp_path: Path, events: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete")
    before = open_descriptors()
    for _again in range(3):
        with pytest.raises(LostError):
            Hold(str(path))
        hold = Hold(str(events))
        hold.relieve(nothing, 1.0)
        hold.close()
        hold.close()
    assert open_descriptors() == before


def test_a_hold_that_ends_lets_go_of_the_wal(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    insert(app)
    with held.step():
        pass
    held.relieve(nothing, 1.0)
    held.close()
    insert(app)
    assert elsewhere(events, "PRAGMA wal_checkpoint(TRUNCATE)") == "(0, 0, 0)"


def test_the_application_closes_without_losing_what_is_held(held: Hold, app: sqlite3.Connection, events: Path) -> None:
    """The last one to close would checkpoint and delete the WAL; an archiver is still there."""
    insert(app, 3)
    with held.step() as state:
        pass
    app.close()
    held.check()
    assert held.look().position == state.position


def test_a_path_with_odd_letters_is_that_path(tmp_path: Path) -> None:
    path = make_database(tmp_path / "odd #?%41 ü" / "e v.db")
    with contextlib.closing(connect(path)) as app, contextlib.closing(Hold(str(path))) as hold:
        insert(app)
        assert hold.relieve(nothing, 1.0)


def test_a_torn_index_is_waited_for_and_given_up_on(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = held.look()
    answers: list[IndexState | None] = [None, None, whole]
    monkeypatch.setattr(holds, "read_index", lambda _descriptor: answers.pop(0))
    assert held.look() == whole
    monkeypatch.setattr(holds, "read_index", lambda _descriptor: None)
    monkeypatch.setattr(holds.time, "sleep", lambda _seconds: None)
    moments = iter(range(100))
    monkeypatch.setattr(holds.time, "monotonic", lambda: float(next(moments)))
    with pytest.raises(sqlite3.OperationalError, match="is locked"):
        held.look()


def test_a_transaction_that_cannot_begin_leaves_none_open(events: Path, app: sqlite3.Connection) -> None:
    insert(app)
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.set_authorizer(lambda action, *_rest: 1 if action == sqlite3.SQLITE_PRAGMA else 0)
        with pytest.raises(sqlite3.DatabaseError):
            holds._begin(db)
        assert not db.in_transaction


def test_without_the_right_to_write_beside_it_a_database_cannot_be_held(
    events: Path,
) -> None:
    open_to_all(events)
    events.parent.chmod(0o555)
    events.chmod(0o444)

    def work() -> None:
        with pytest.raises(sqlite3.OperationalError, match=r"readonly|unable to open"):
            Hold(str(events))

    try:
        as_nobody(work)
    finally:
        events.parent.chmod(0o755)
