"""Salvage, for every page of a small database in turn: what is not on that page comes back, and nothing is made up."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest
from damaging import Rows, make, overwrite, owners, rows_of

from litekeep import integrity
from litekeep.progress import Progress
from litekeep.salvage import salvage

KINDS: dict[str, dict[str, Any]] = {
    "wal": {"free": 3},
    "512, full": {"page_size": 512, "auto_vacuum": 1, "rows": 60},
    "1024, UTF-16": {"encoding": "UTF-16le", "overflow": False},
}


def salvaged(damaged: Path, new: Path) -> tuple[Rows, list[str]]:
    new.unlink(missing_ok=True)
    notes = salvage(str(damaged), str(new), Progress())
    assert integrity.look(str(new)).is_sound
    return rows_of(new), notes


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_database_comes_out_as_it_was(in_memory: Path, name: str) -> None:
    path = make(in_memory / "good.db", **KINDS[name])
    found, notes = salvaged(path, in_memory / "new.db")
    assert (found, notes) == (rows_of(path), [])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("how", ["zeros", "random"])
def test_only_what_stood_on_the_page_is_lost(in_memory: Path, name: str, how: str) -> None:
    good = make(in_memory / "good.db", **KINDS[name])
    size, rows, belongs = KINDS[name].get("page_size", 1024), rows_of(good), owners(good)
    path, chance = in_memory / "events.db", random.Random(4)
    for page in range(2, good.stat().st_size // size + 1):
        shutil.copyfile(good, path)
        overwrite(path, page, bytes(size) if how == "zeros" else chance.randbytes(size))
        found, notes = salvaged(path, in_memory / "new.db")
        owner, kind = belongs.get(page, ("", ""))
        if owner == "sqlite_schema":
            continue
        for table in rows:
            lost, came = set(rows[table]) - set(found[table]), set(found[table]) - set(rows[table])
            # The end of a long value cannot be told from a good one; rows of a cut-off free list are lost_and_found.
            known = (kind == "overflow" and len(came) <= 1) or (not owner and table == "schema")
            assert not came or known, (page, owner, kind, table)
            if table != owner:
                assert not lost, (page, owner, kind, table)
            elif kind == "internal" and table != "settings":
                assert not lost, "the pages below it hang nowhere, and are put back"
            elif lost:
                assert notes or kind == "overflow", (page, owner, kind)
                assert len(lost) <= max(1, size // 8)


def test_rows_of_an_unknown_table_are_lost_and_found(in_memory: Path) -> None:
    """The entry of the table stood on a page of the schema that is gone."""
    path = make(in_memory / "events.db", page_size=512)
    rows, belongs = rows_of(path), owners(path)
    pages = [
        page for page, (owner, kind) in belongs.items() if owner == "sqlite_schema" and page > 1 and kind == "leaf"
    ]
    overwrite(path, pages[0], bytes(512))
    found, notes = salvaged(path, in_memory / "new.db")
    assert "the schema cannot be read to its end: tables may be in lost_and_found" in notes
    gone = [name for name in rows if name not in found]
    assert gone
    assert len(found["lost_and_found"]) >= sum(len(rows[name]) for name in gone if name in ("events", "names", "exact"))


def test_a_tree_deeper_than_sqlite_follows_ends(in_memory: Path) -> None:
    """Each page of the table names the next one as its only child, thousands of times."""
    path = in_memory / "events.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("PRAGMA page_size=512; CREATE TABLE deep(a); CREATE TABLE other(a)")
        db.execute("INSERT INTO other VALUES(7)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'deep'").fetchone()
        db.execute("INSERT INTO deep VALUES(zeroblob(2000000))")
        count = db.execute("PRAGMA page_count").fetchone()[0]
    chain = [root, *range(10, count + 1)]
    for page, child in zip(chain, chain[1:]):
        # "Database File Format", section 1.6: the interior page of a table, without cells.
        overwrite(path, page, struct.pack(">BHHHBI", 5, 0, 0, 512, 0, child).ljust(512, b"\0"))
    found, notes = salvaged(path, in_memory / "new.db")
    assert (found["deep"], found["other"]) == ([], ["(1, 7)"])
    assert any("deep" in note for note in notes)
