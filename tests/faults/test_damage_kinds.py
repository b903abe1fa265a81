"""Damage of other kinds than a lost page: the header, a file cut short, writes that the disk lost, the WAL, one bit."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from damaging import Rows, make, overwrite, owners, page_of, rows_of, set_of
from support import flip, protect

from litekeep import repair, triage
from litekeep.errors import VerificationError
from litekeep.progress import Progress

SIZE = 1024


@pytest.fixture
def path(in_memory: Path) -> Path:
    return make(in_memory / "data" / "events.db", free=3)


def triaged(path: Path) -> triage.Triage:
    """What triage says; it leaves all four files as they are."""
    before = set_of(path)
    found = triage.triage(*protect(path.parent.parent, path), Progress())
    assert set_of(path) == before
    return found


def reindexed(path: Path) -> Rows:
    new = path.parent / "new.db"
    new.unlink(missing_ok=True)
    repository, database = protect(path.parent.parent, path)
    repair.repair(repository, database, "reindex", Progress(), str(new), compare=False)
    return rows_of(new)


def tables(rows: Rows) -> Rows:
    """Without what the header alone decides."""
    return {name: found for name, found in rows.items() if name != "settings"}


def test_every_byte_of_the_header(path: Path) -> None:
    rows, good = rows_of(path), path.read_bytes()
    seen = set()
    for place in range(100):
        flip(path, place)
        found = triaged(path)
        seen.add(found.damage)
        if found.damage == triage.INDEX:
            assert tables(reindexed(path)) == tables(rows), (place, found)
        elif found.damage == triage.SOUND:
            assert tables(rows_of(path)) == tables(rows), (place, found)
        path.write_bytes(good)
    assert seen >= {triage.SOUND, triage.INDEX, triage.HEADER}


@pytest.mark.parametrize("block", [bytes(100), bytes(range(100)), bytes(SIZE)], ids=["zeros", "other", "page"])
def test_no_header(path: Path, block: bytes) -> None:
    with open(path, "r+b") as stream:
        stream.write(block)
    assert triaged(path).damage == triage.HEADER


def test_missing_and_empty(path: Path) -> None:
    os.truncate(path, 0)
    assert triaged(path).damage == triage.MISSING
    path.unlink()
    assert triaged(path).damage == triage.MISSING


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_file_cut_short(in_memory: Path, mode: str) -> None:
    path = make(in_memory / "data" / "events.db", mode=mode)
    rows, good = rows_of(path), path.read_bytes()
    for length in (SIZE // 2, SIZE, 3 * SIZE, len(good) // 2, len(good) - SIZE, len(good) - 1):
        os.truncate(path, length)
        found = triaged(path)
        assert found.damage in (triage.HEADER, triage.PAGES, triage.INDEX), length
        if found.damage == triage.INDEX:
            assert reindexed(path) == rows, length
        path.write_bytes(good)


def test_only_indexes_stood_in_the_part_that_is_cut_off(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=delete")
        db.execute("VACUUM")
        db.execute("CREATE INDEX last ON events(body)")
    rows = rows_of(path)
    os.truncate(path, path.stat().st_size - 2 * SIZE)
    assert triaged(path).damage == triage.INDEX
    assert reindexed(path) == rows


def change(path: Path) -> None:
    """What an application does between two moments."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute("UPDATE events SET at = at || ' later' WHERE id % 9 = 0")
        db.execute("DELETE FROM names WHERE rowid % 5 = 0")
        db.execute("INSERT INTO events(at, kind) SELECT at || ' copy', kind FROM events WHERE id % 3 = 0")
        db.execute("INSERT INTO settings SELECT area || ' copy', key, value FROM settings WHERE key % 4 = 0")
        db.execute("INSERT INTO exact SELECT a + 1000, b, c FROM exact")
        db.execute("COMMIT")


def test_a_page_of_which_the_disk_kept_an_older_copy(path: Path) -> None:
    """The page is sound by itself. That rows are missing shows only in the indexes and in pages that nothing owns."""
    old = path.read_bytes()
    change(path)
    new, rows = path.read_bytes(), rows_of(path)
    verdicts = []
    for page in range(2, len(old) // SIZE + 1):
        block = old[(page - 1) * SIZE : page * SIZE]
        if block == page_of(path, page, SIZE):
            continue
        overwrite(path, page, block)
        found = triaged(path)
        verdicts.append(found.damage)
        if found.damage == triage.INDEX:
            assert reindexed(path) == rows, (page, found)
        if found.damage == triage.PAGES:
            with pytest.raises(VerificationError, match="more damaged than its indexes"):
                reindexed(path)
        path.write_bytes(new)
    assert verdicts.count(triage.PAGES) > len(verdicts) / 3
    assert triage.INDEX in verdicts


def root_of(path: Path, name: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])


def fill(path: Path, first: int, count: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executemany("INSERT INTO empty VALUES(?)", [(f"{number} " * 30,) for number in range(first, first + count)])


def test_rows_of_a_table_without_an_index_hang_nowhere(path: Path) -> None:
    """Its root is an older copy: SQLite finds pages that nothing owns, and nothing else."""
    fill(path, 0, 50)
    root = root_of(path, "empty")
    old = page_of(path, root, SIZE)
    fill(path, 50, 50)
    overwrite(path, root, old)
    found = triaged(path)
    assert found.damage == triage.PAGES
    assert "pages that nothing owns may hold rows of a table" in found.messages[0]


def test_a_row_of_a_table_without_an_index_is_no_longer_counted(path: Path) -> None:
    """All that is left can be read, to the end."""
    fill(path, 0, 50)
    leaf = next(page for page, found in owners(path).items() if found == ("empty", "leaf"))
    block = bytearray(page_of(path, leaf, SIZE))
    block[4] -= 1
    overwrite(path, leaf, bytes(block))
    found = triaged(path)
    assert (found.damage, found.rows["empty"]) == (triage.PAGES, 49)
    assert found.messages[0].startswith("a table is damaged: ")


def test_an_index_that_knows_of_other_values_than_its_table(path: Path) -> None:
    """One of the two is wrong, and nobody can tell which."""
    good = path.read_bytes()
    at = good.index(b"2026-11-04T000003")
    for value in (at, good.index(b"2026-11-04T000003", at + 1)):
        flip(path, value + 16)
        found = triaged(path)
        assert found.damage == triage.PAGES
        assert "has an entry for which the table events has no such row" in found.messages[0]
        path.write_bytes(good)


def test_a_bit_of_a_value_that_no_index_holds_is_not_seen(path: Path) -> None:
    """SQLite keeps no checksums; what a backup holds can be compared. A limit, told in the documentation."""
    rows = rows_of(path)
    flip(path, path.read_bytes().index(b"77 ") + 5)
    assert triaged(path).damage == triage.SOUND
    assert rows_of(path) != rows


def test_rows_that_a_unique_index_forbids_are_no_sound_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE UNIQUE INDEX once ON exact(a)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'once'").fetchone()
        db.execute("PRAGMA writable_schema=ON")
        db.execute("DELETE FROM sqlite_master WHERE name = 'once'")
        db.execute("PRAGMA writable_schema=RESET")
        db.execute("INSERT INTO exact VALUES(1, 'twice', 0)")
        db.execute("PRAGMA writable_schema=ON")
        sql = "CREATE UNIQUE INDEX once ON exact(a)"
        db.execute("INSERT INTO sqlite_master VALUES('index', 'once', 'exact', ?, ?)", (root, sql))
    found = triaged(path)
    assert found.damage == triage.PAGES
    assert any("UNIQUE constraint failed" in message for message in found.messages)


def leave_frames(path: Path, commits: int = 8) -> Rows:
    """Commits in the WAL only, as a killed application leaves them. Returns the rows."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint=0")
        for number in range(commits):
            db.execute("INSERT INTO events(at, kind) VALUES(?, 'wal')", (f"wal {number}",))
        left = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    for suffix, block in left.items():
        Path(f"{path}{suffix}").write_bytes(block)
    return rows_after(path)


def rows_after(path: Path) -> Rows:
    """Of the whole set, as SQLite recovers it."""
    folder = path.parent / "recovered"
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", folder / f"events.db{suffix}")
    with contextlib.closing(sqlite3.connect(folder / "events.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = rows_of(folder / "events.db")
    shutil.rmtree(folder)
    return found


def test_commits_in_the_wal_are_taken_along(path: Path) -> None:
    rows = leave_frames(path)
    assert len(rows["events"]) == 127
    assert triaged(path).damage == triage.SOUND


def test_an_index_is_damaged_below_commits_in_the_wal(path: Path) -> None:
    root = root_of(path, "settings_value")
    rows = leave_frames(path)
    overwrite(path, root, bytes(SIZE))
    assert triaged(path).damage == triage.INDEX
    assert reindexed(path) == rows


@pytest.mark.parametrize("frame", [0, 3, 11])
def test_a_damaged_frame_hides_the_commits_behind_it(path: Path, frame: int) -> None:
    leave_frames(path)
    flip(Path(f"{path}-wal"), 32 + frame * (24 + SIZE) + 24 + 500)
    found = triaged(path)
    assert found.damage == triage.PAGES
    assert "SQLite ignores" in found.messages[0]
    with pytest.raises(VerificationError, match="more damaged than its indexes"):
        reindexed(path)


def test_a_damaged_header_of_the_wal_hides_all_commits(path: Path) -> None:
    leave_frames(path)
    with open(f"{path}-wal", "r+b") as stream:
        stream.write(bytes(32))
    assert triaged(path).damage == triage.PAGES


def test_a_torn_tail_of_the_wal_is_no_damage(path: Path) -> None:
    """A transaction that was being written when the power went."""
    rows = leave_frames(path)
    wal = Path(f"{path}-wal")
    chance = random.Random(1)
    frame = wal.read_bytes()[32 : 32 + 24]
    wal.write_bytes(wal.read_bytes() + frame[:4] + bytes(4) + frame[8:] + chance.randbytes(SIZE) + b"torn")
    assert triaged(path).damage == triage.SOUND
    assert rows_after(path) == rows


def test_what_was_brought_into_the_database_before_the_wal_was_damaged_is_not_lost(path: Path) -> None:
    leave_frames(path)
    wal = Path(f"{path}-wal").read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = rows_of(path)
    Path(f"{path}-shm").unlink(missing_ok=True)
    Path(f"{path}-wal").write_bytes(bytes(32) + wal[32:])
    assert triaged(path).damage == triage.SOUND
    assert rows_of(path) == rows
