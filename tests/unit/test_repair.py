from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from damaging import overwrite, rows_of
from support import content, flip, holding_open, set_bytes
from unit.crashes import leave_wal
from unit.places import Disk

from litekeep import backup, repair
from litekeep.config import Database
from litekeep.difference import Difference
from litekeep.errors import InUseError, SourceError, SpaceError, UsageError, VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

Kept = tuple[Repository, Database]
SIZE = 4096


def root_of(path: Path, name: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])


def leaves(path: Path) -> list[tuple[int, int]]:
    """The leaves of the table: page, and how many rows it holds."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return db.execute(
            "SELECT pageno, ncell FROM dbstat WHERE name = 'events' AND pagetype = 'leaf' ORDER BY path"
        ).fetchall()


def mend(kept: Kept, method: str, target: Path | None = None, compare: bool = True) -> repair.Repaired:
    place = None if target is None else str(target)
    return repair.repair(*kept, method, Progress(), place, compare)


def test_reindex_brings_back_every_row(kept: Kept, events: Path) -> None:
    rows = rows_of(events)
    overwrite(events, root_of(events, "events_kind"), os.urandom(SIZE))
    assert "unreadable" in content(events)
    before = set_bytes(events)
    done = mend(kept, "reindex")
    assert rows_of(events) == rows
    assert done.rows == {"events": 200}
    assert set_bytes(Path(done.restored.quarantine) / "events.db") == before


def test_the_new_file_has_the_mode_and_the_settings_of_the_old_one(kept: Kept, events: Path) -> None:
    events.chmod(0o640)
    overwrite(events, root_of(events, "events_kind"), bytes(SIZE))
    mend(kept, "reindex")
    assert events.stat().st_mode & 0o777 == 0o640
    with contextlib.closing(sqlite3.connect(events)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA user_version").fetchone() == (7,)


def test_a_sound_database_may_be_made_anew(kept: Kept, events: Path) -> None:
    leave_wal(events)
    before = content(events)
    mend(kept, "reindex")
    assert content(events) == before


def test_reindex_refuses_where_rows_would_be_lost(kept: Kept, events: Path) -> None:
    overwrite(events, leaves(events)[1][0], bytes(SIZE))
    before = set_bytes(events)
    with pytest.raises(VerificationError, match="more damaged than its indexes") as refused:
        mend(kept, "reindex")
    assert "salvage" in refused.value.next_step
    assert set_bytes(events) == before
    assert sorted(os.listdir(events.parent)) == ["events.db"]


def test_salvage_says_how_it_differs_from_the_newest_backup(kept: Kept, saved: Backup, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("UPDATE events SET payload = 'changed since' WHERE id IN (1, 2, 3)")
        db.execute("INSERT INTO events(kind) VALUES('came since')")
    gone = leaves(events)
    page, count = gone[len(gone) // 2]
    overwrite(events, page, b"\xde\xad" * (SIZE // 2))
    done = mend(kept, "salvage")
    assert done.against == saved.id
    assert done.differences == (Difference("events", gone=count, came=1, changed=3),)
    assert done.rows == {"events": 201 - count}
    assert "table events: 1 pages cannot be read" in done.restored.notes
    assert "unreadable" not in content(events)


def test_a_target_leaves_the_place_alone(kept: Kept, events: Path, tmp_path: Path) -> None:
    page, count = leaves(events)[0]
    overwrite(events, page, bytes(SIZE))
    leave_wal_beside = set_bytes(events)
    target = tmp_path / "elsewhere" / "new.db"
    target.parent.mkdir()
    done = mend(kept, "salvage", target)
    assert set_bytes(events) == leave_wal_beside
    assert sorted(os.listdir(events.parent)) == ["events.db"]
    assert done.restored.target == str(target)
    assert len(rows_of(target)["events"]) == 200 - count
    assert os.listdir(target.parent) == ["new.db"]


def test_the_first_page_comes_from_the_newest_backup(kept: Kept, saved: Backup, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db, db:
        db.executemany("INSERT INTO events(kind, payload) VALUES('since', ?)", [("x" * 500,)] * 300)
    rows = rows_of(events)
    overwrite(events, 1, os.urandom(SIZE))
    done = mend(kept, "salvage")
    assert rows_of(events) == rows
    assert any(f"its first page was taken from the backup {saved.id}" in note for note in done.restored.notes)
    assert done.differences == (Difference("events", came=300),)


def test_without_a_header_and_without_a_backup_nothing_is_replaced(kept: Kept, events: Path) -> None:
    overwrite(events, 1, bytes(SIZE))
    before = set_bytes(events)
    with pytest.raises(VerificationError, match="Nothing could be read out"):
        mend(kept, "salvage")
    assert set_bytes(events) == before
    assert sorted(os.listdir(events.parent)) == ["events.db"]


def test_a_comparison_that_fails_is_told_and_no_obstacle(kept: Kept, saved: Backup, events: Path) -> None:
    flip(Path(saved.folder) / "database.db.zst", 3000, 40)
    done = mend(kept, "reindex")
    assert done.against == saved.id
    assert "the comparison failed" in done.differences[0].note


@pytest.mark.parametrize("method", repair.METHODS)
def test_refused_while_somebody_has_it_open(kept: Kept, events: Path, method: str) -> None:
    before = set_bytes(events)
    with holding_open(events), pytest.raises(InUseError):
        mend(kept, method)
    assert set_bytes(events)[""] == before[""]
    assert not [name for name in os.listdir(events.parent) if "litekeep" in name or "before" in name]


def test_bad_words(kept: Kept, events: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no way to repair"):
        mend(kept, "pray")
    with pytest.raises(UsageError, match="already exists"):
        mend(kept, "salvage", events)
    with pytest.raises(UsageError, match="does not exist"):
        mend(kept, "salvage", tmp_path / "no" / "folder.db")
    events.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        mend(kept, "salvage")


@pytest.mark.parametrize("method", repair.METHODS)
@pytest.mark.parametrize("leave", [0, 40 << 10, 120 << 10])
def test_no_space(
    on_disk: Callable[..., None], kept: Kept, events: Path, monkeypatch: pytest.MonkeyPatch, method: str, leave: int
) -> None:
    """Seen before anything is written; and, where somebody else writes meanwhile, when the disk fills up."""
    damaged = events.read_bytes()

    def work(disk: Disk) -> None:
        place = disk / "events.db"
        place.write_bytes(damaged)
        database = Database("events", str(place))
        disk.fill(leave)
        if leave:
            monkeypatch.setattr(repair, "require_space", lambda *_arguments: None)
        with pytest.raises(SpaceError):
            repair.repair(kept[0], database, method, Progress())
        assert place.read_bytes() == damaged
        assert sorted(os.listdir(disk.path)) == ["ballast", "events.db"]

    on_disk(work, size="24m")


def test_an_interrupted_restore_is_undone_first(kept: Kept, saved: Backup, events: Path) -> None:
    """The files that it had moved into quarantine are the ones to repair."""
    rows = rows_of(events)
    overwrite(events, root_of(events, "events_kind"), bytes(SIZE))
    workspace = events.parent / ".litekeep-restore-events.db"
    workspace.mkdir(mode=0o700)
    quarantine = Path(f"{events}.before-restore-20261123T000000.000Z")
    quarantine.mkdir()
    inode = events.stat().st_ino
    events.rename(quarantine / "events.db")
    (workspace / "database.db").write_bytes(b"half")
    journal = repair.Journal("moving", saved.id, quarantine=str(quarantine), old={"": inode})
    repair.Workspace(str(events)).write(journal)
    done = mend(kept, "reindex")
    assert "was undone" in done.restored.notes[0]
    assert rows_of(events) == rows


def test_rows_that_point_nowhere_are_told(kept: Kept, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db:
        db.executescript("CREATE TABLE child(event REFERENCES events(id)); INSERT INTO child VALUES(999)")
    assert mend(kept, "reindex").restored.notes == ("foreign key violations in child -> events: 1",)


def test_a_restore_point_is_taken_afterwards(kept: Kept, events: Path) -> None:
    overwrite(events, root_of(events, "events_kind"), bytes(SIZE))
    mend(kept, "reindex")
    assert backup.take(*kept, Progress()).state == "verified"
