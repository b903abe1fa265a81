from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from damaging import make, overwrite, owners, set_of
from support import flip, holding_open, litekeep
from unit.crashes import leave_hot_journal, leave_wal
from unit.places import Disk, as_nobody, open_to_all

from litekeep import integrity, triage
from litekeep.config import Database
from litekeep.errors import LitekeepError, SpaceError
from litekeep.pages import Pages, Text, parse_header
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.sqlitefail import DamagedError

Kept = tuple[Repository, Database]
SIZE = 4096


def triaged(kept: Kept) -> triage.Triage:
    before = set_of(Path(kept[1].path))
    found = triage.triage(*kept, Progress())
    assert set_of(Path(kept[1].path)) == before
    folder = Path(kept[0].folder(kept[1].name))
    assert not [name for name in os.listdir(folder) if "scratch" in name]
    return found


def page_of(path: Path, owner: str, kind: str) -> int:
    return next(page for page, found in sorted(owners(path).items()) if found == (owner, kind))


def test_sound(kept: Kept) -> None:
    found = triaged(kept)
    assert (found.damage, found.messages, found.rows) == (triage.SOUND, (), {"events": 200})


def test_a_header_that_is_overwritten_on_the_disk_and_sound_in_the_wal(kept: Kept, events: Path) -> None:
    # The file grows, and page 1 has its size.
    leave_wal(events, rows=500)
    with open(events, "r+b") as file:
        file.write(b"\xde\xad" * 50)
    found = triaged(kept)
    assert found.damage == triage.SOUND
    assert found.rows["events"] == 700
    assert "SQLite reads its first page in the -wal" in found.messages[0]


def test_rows_that_point_nowhere_are_no_damage(kept: Kept, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db:
        db.executescript("CREATE TABLE child(event REFERENCES events(id)); INSERT INTO child VALUES(999)")
    found = triaged(kept)
    assert (found.damage, found.messages) == (triage.FOREIGN_KEYS, ("child -> events: 1",))


@pytest.mark.parametrize("kind", ["leaf", "internal"])
def test_an_index(kept: Kept, events: Path, kind: str) -> None:
    overwrite(events, page_of(events, "events_kind", kind), os.urandom(SIZE))
    found = triaged(kept)
    assert found.damage == triage.INDEX
    assert found.messages[0] == "index events_kind of table events cannot be read to its end"
    assert found.rows == {"events": 200}


def test_a_hundred_pages_that_nothing_owns_are_one_message(kept: Kept, events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db, db:
        db.executemany("INSERT INTO events(kind, timestamp) VALUES(?, ?)", [("k" * 300, n) for n in range(3000)])
    overwrite(events, page_of(events, "events_kind", "internal"), bytes(SIZE))
    found = triaged(kept)
    assert found.damage == triage.INDEX
    assert not any("never used" in message for message in found.messages)
    assert found.messages[-1].endswith("pages that no table or index owns")
    assert len(found.messages) < 6


def test_a_table(kept: Kept, events: Path) -> None:
    overwrite(events, page_of(events, "events", "leaf"), os.urandom(SIZE))
    found = triaged(kept)
    assert found.damage == triage.PAGES
    assert found.messages[0].startswith("table events: ")
    assert found.rows == {"events": None}


def test_a_table_without_rowid_is_not_told_by_its_indexes(tmp_path: Path) -> None:
    path = make(tmp_path / "data" / "events.db")
    kept = Repository(str(tmp_path / "repository"), "host"), Database("events", str(path))
    overwrite(path, page_of(path, "settings", "leaf"), bytes(1024))
    found = triaged(kept)
    assert (found.damage, found.rows["settings"]) == (triage.PAGES, None)


def test_commits_in_the_wal_and_a_hot_journal_are_taken_along(kept: Kept, events: Path) -> None:
    leave_wal(events)
    assert triaged(kept).rows == {"events": 250}
    for suffix in ("-wal", "-shm"):
        os.unlink(f"{events}{suffix}")
    with contextlib.closing(sqlite3.connect(events)) as db:
        db.execute("PRAGMA journal_mode=delete")
    leave_hot_journal(events)
    assert triaged(kept).rows == {"events": 200}


def test_while_an_application_works_with_it(kept: Kept, events: Path) -> None:
    leave_wal(events)
    with holding_open(events):
        assert triage.triage(*kept, Progress()).rows == {"events": 250}
        overwrite(events, page_of(events, "events_kind", "internal"), bytes(SIZE))
        assert triage.triage(*kept, Progress()).damage in (triage.INDEX, triage.SOUND)
        flip(events, 0, 16)
        found = triage.triage(*kept, Progress())
        assert found.damage in (triage.HEADER, triage.INDEX, triage.SOUND)


@pytest.mark.parametrize(
    ("block", "words"), [(b"hello" * 900, "another file"), (bytes(range(256)) * 16, "without any pattern")]
)
def test_no_database(kept: Kept, events: Path, block: bytes, words: str) -> None:
    events.write_bytes(block)
    found = triaged(kept)
    assert found.damage == triage.HEADER
    assert words in found.messages[1]


def test_a_file_that_may_not_be_read_is_not_called_damaged(kept: Kept, events: Path, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    events.chmod(0)

    def work() -> None:
        with pytest.raises(LitekeepError, match="Triage") as refused:
            triage.triage(Repository("/nonexistent/repository", "host"), kept[1], Progress())
        assert "damage" not in str(refused.value)

    as_nobody(work)


def test_no_room_for_the_copies(on_disk: Callable[..., None], events: Path) -> None:
    def work(disk: Disk) -> None:
        database = Database("events", str(events), staging=str(disk.path))
        disk.fill()
        with pytest.raises(SpaceError):
            triage.triage(Repository(str(disk / "repository"), "host"), database, Progress())

    on_disk(work, size="20m")


def test_the_command_says_it_and_its_exit_code_too(kept: Kept, events: Path) -> None:
    words = ["--database", events, "--repository", kept[0].root, "--host", "host", "triage", "events"]
    assert "events: sound" in litekeep(*words, check=0).stdout
    overwrite(events, page_of(events, "events_kind", "internal"), bytes(SIZE))
    said = litekeep(*words, check=3).stdout
    assert "events: index: only indexes or free pages are damaged" in said
    assert "found     index events_kind of table events cannot be read to its end" in said
    answer = json.loads(litekeep(*words, "--json", check=3).stdout)["databases"][0]
    assert (answer["damage"], answer["rows"]) == ("index", {"events": 200})


def test_messages_are_summed_up() -> None:
    rows = [
        "*** in database main ***",
        "Page 7 is never used",
        "Page 8: never used",
        "Tree 5 page 9: btreeInitPage() returns error code 11",
        *(f"row {n} missing from index events_kind" for n in range(500)),
        "row 3 missing from index other",
        "wrong # of entries in index events_kind",
    ]
    found = integrity.sum_up(rows, {5: "index events_kind"})
    assert found.unowned == {7, 8}
    assert found.words() == (
        "index events_kind: page 9: btreeInitPage() returns error code 11",
        "500 rows missing from index events_kind",
        "1 rows missing from index other",
        "wrong # of entries in index events_kind",
        "and 2 pages that no table or index owns",
    )
    many = integrity.sum_up([f"On page {n}: bad" for n in range(90)])
    assert many.words()[-1] == "and 70 further messages of integrity_check"
    assert integrity.sum_up(["ok"]).is_sound


def test_pages_that_are_no_pages(tmp_path: Path) -> None:
    path = make(tmp_path / "events.db")
    with Pages(str(path)) as pages:
        for number in (0, pages.count + 1):
            with pytest.raises(DamagedError, match="there is no page"):
                pages.page(number)
        assert parse_header(b"SQLite format 3\0" + bytes(84)) is None
        for payload in (b"", b"\xff" * 9, b"\x05\x0a", b"\x02\x04", b"\x02\x17\x41"):
            with pytest.raises(DamagedError):
                pages.record(payload)
        assert pages.record(b"\x02\x0f\xff") == (Text(b"\xff"),)
        assert pages.record(bytes([7, 0, 8, 9, 1, 6, 7]) + b"\xff" + b"\x80" + bytes(7) + b"\x7f\xf0" + bytes(6)) == (
            None, 0, 1, -1, -(1 << 63), float("inf"),
        )  # fmt: skip
    path.write_bytes(bytes(100))
    with pytest.raises(DamagedError, match="no header"):
        Pages(str(path))
