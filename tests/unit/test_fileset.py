from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from support import content, flip, make_database, set_bytes
from unit.crashes import leave_hot_journal, leave_wal

from litekeep import sqlitefail
from litekeep.fileset import FileSet


def settled(path: Path, tmp_path: Path) -> Path:
    place = tmp_path / "settled.db"
    FileSet(str(path)).settle_into(str(place))
    return place


def rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def test_what_is_present_is_told_by_suffix(events: Path) -> None:
    leave_wal(events)
    assert FileSet(str(events)).present() == ["", "-wal", "-shm"]
    assert FileSet(str(events)).sidecars() == ["-wal", "-shm"]
    events.unlink()
    assert FileSet(str(events)).present() == ["-wal", "-shm"]
    assert FileSet(str(events) + "x").present() == []


def test_a_dangling_link_is_present_too(tmp_path: Path) -> None:
    (tmp_path / "x.db-wal").symlink_to(tmp_path / "none")
    assert FileSet(str(tmp_path / "x.db")).present() == ["-wal"]


def test_a_database_at_rest_is_whole_by_itself(events: Path) -> None:
    assert FileSet(str(events)).is_whole_by_itself()


def test_commits_in_the_wal_make_the_file_alone_too_little(events: Path) -> None:
    leave_wal(events)
    assert not FileSet(str(events)).is_whole_by_itself()


def test_a_hot_journal_makes_the_file_alone_wrong_and_a_cold_one_does_not(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=500)
    Path(f"{path}-journal").write_bytes(bytes(512))
    assert FileSet(str(path)).is_whole_by_itself()
    Path(f"{path}-journal").unlink()
    leave_hot_journal(path)
    assert not FileSet(str(path)).is_whole_by_itself()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_every_commit_changes_the_signature(tmp_path: Path, mode: str) -> None:
    path = make_database(tmp_path / "x.db", mode=mode)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        seen = []
        for _n in range(4):
            db.execute("INSERT INTO events(kind) VALUES('x')")
            seen.append(FileSet(str(path)).signature())
    assert all(one != other for one, other in zip(seen, seen[1:]))
    assert FileSet(str(path) + "x").signature() == {}


def test_reading_does_not_change_the_signature(events: Path) -> None:
    before = FileSet(str(events)).signature()
    events.read_bytes()
    assert FileSet(str(events)).signature() == before


def test_settling_takes_the_commits_of_the_wal_in_and_leaves_the_set_alone(events: Path, tmp_path: Path) -> None:
    leave_wal(events, rows=50)
    before = set_bytes(events)
    place = settled(events, tmp_path)
    assert set_bytes(events) == before
    assert rows(place) == 250
    assert content(place) == content(events)
    assert FileSet(str(place)).present() == [""]


def test_settling_rolls_a_hot_journal_back_and_leaves_the_set_alone(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "x.db", mode="delete", rows=500)
    whole = content(path)
    leave_hot_journal(path)
    before = set_bytes(path)
    place = settled(path, tmp_path)
    assert set_bytes(path) == before
    assert content(place) == whole
    assert FileSet(str(place)).present() == [""]


def test_settling_gives_the_old_files_attributes(events: Path, tmp_path: Path) -> None:
    events.chmod(0o664)
    assert stat.S_IMODE(settled(events, tmp_path).stat().st_mode) == 0o664


def test_what_sqlite_cannot_settle_is_damaged_and_the_set_stays(events: Path, tmp_path: Path) -> None:
    leave_wal(events)
    flip(events, 0, 40)
    flip(Path(f"{events}-wal"), 0, 40)
    before = set_bytes(events)
    with pytest.raises(sqlitefail.DamagedError):
        settled(events, tmp_path)
    assert set_bytes(events) == before


def test_a_wal_with_a_broken_frame_settles_to_what_sqlite_itself_would_show(events: Path, tmp_path: Path) -> None:
    leave_wal(events, rows=50)
    flip(Path(f"{events}-wal"), os.path.getsize(f"{events}-wal") // 2, 4)
    shown = content(events)
    assert content(settled(events, tmp_path)) == shown
