from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from support import holding_open
from unit.crashes import leave_wal
from unit.places import as_nobody, open_to_all

from litekeep import openers
from litekeep.errors import InUseError
from litekeep.openers import Look, Opener, find_openers


def holder(path: Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A process that is no SQLite client and has one file open."""

    @contextlib.contextmanager
    def run():  # type: ignore[no-untyped-def]
        with open(path, "ab") as stream:
            process = subprocess.Popen(["sleep", "60"], stdin=stream)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    return run()


def test_nobody_has_a_database_at_rest_open(events: Path) -> None:
    assert find_openers(str(events)).openers == ()
    openers.refuse_openers(str(events))


def test_another_process_is_found_by_number_name_and_file(events: Path) -> None:
    with holding_open(events) as process:
        (found,) = find_openers(str(events)).openers
        assert (found.pid, found.file) == (process.pid, str(events))
        assert found.command.startswith("python")
        assert str(process.pid) in str(found)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_every_file_of_the_set_counts(events: Path, suffix: str) -> None:
    with holder(Path(f"{events}{suffix}")) as process:
        found = find_openers(str(events)).openers
        assert [(o.pid, o.command, o.file) for o in found] == [(process.pid, "sleep", f"{events}{suffix}")]


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_process_that_holds_a_deleted_file_is_found(events: Path, suffix: str) -> None:
    leave_wal(events)
    with holder(Path(f"{events}{suffix}")) as process:
        os.unlink(f"{events}{suffix}")
        (found,) = find_openers(str(events)).openers
        assert (found.pid, found.file) == (process.pid, f"{events}{suffix} (deleted)")


def test_a_process_that_opened_it_by_another_name_is_found(events: Path, tmp_path: Path) -> None:
    os.link(events, tmp_path / "other-name")
    with holder(tmp_path / "other-name") as process:
        assert [o.pid for o in find_openers(str(events)).openers] == [process.pid]


def test_this_process_itself_counts(events: Path) -> None:
    with open(events, "rb"):
        assert [o.pid for o in find_openers(str(events)).openers] == [os.getpid()]


def test_a_file_whose_name_only_begins_alike_does_not_count(events: Path) -> None:
    with holder(Path(f"{events}2")), holder(Path(f"{events}.before-restore")):
        assert find_openers(str(events)).openers == ()


def test_a_missing_database_has_no_openers(tmp_path: Path) -> None:
    assert find_openers(str(tmp_path / "none.db")).openers == ()


def test_a_process_that_may_not_be_looked_into_is_seen_by_its_lock_in_wal_mode(events: Path, tmp_path: Path) -> None:
    open_to_all(events.parent)
    with holding_open(events):
        os.chmod(f"{events}-shm", 0o666)

        def work() -> None:
            assert len(find_openers(str(events)).openers) == 1

        as_nobody(work)


def test_the_lock_of_an_open_wal_database_is_seen_without_proc(events: Path) -> None:
    assert not openers._shm_locked(str(events))
    with holding_open(events):
        assert openers._shm_locked(str(events))
    leave_wal(events)
    assert not openers._shm_locked(str(events))


def shut_away() -> int:
    """Processes whose open files this user may not list."""
    number = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            os.listdir(f"/proc/{pid}/fd")
        except PermissionError:
            number += 1
        except FileNotFoundError:
            pass
    return number


def test_processes_that_could_not_be_looked_into_are_counted() -> None:
    def work() -> None:
        for _attempt in range(50):  # others come and go meanwhile
            if shut_away() == openers.holders([]).hidden == shut_away():
                return
        pytest.fail(f"{openers.holders([]).hidden} are said, {shut_away()} are there")

    as_nobody(work)


def test_a_refusal_names_who_and_how_to_stop_it(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db:
        db.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(InUseError) as caught:
            openers.refuse_openers(str(events), ["app.service", "worker.service"])
        assert f"process {os.getpid()}" in caught.value.found
        assert caught.value.next_step == "systemctl stop app.service worker.service"
        with pytest.raises(InUseError) as caught:
            openers.refuse_openers(str(events))
        assert f"fuser -v {events}" in caught.value.next_step


def test_a_crowd_is_cut_to_five() -> None:
    look = Look(tuple(Opener(n, "app", "/x.db") for n in range(9)), 0)
    assert openers.in_use("/x.db", look, ()).found.count(";") == 4


def test_a_process_that_just_ended_is_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert openers._command(process.pid) == "a process that just ended"
