"""What a process that died leaves beside a database, made without a process: bytes are read before SQLite tidies up."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path


def _freeze(path: Path, setup: str, statements: list[str], suffixes: tuple[str, ...]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(setup)
        for statement in statements:
            db.execute(statement)
        left = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in suffixes}
    for suffix, block in left.items():
        Path(f"{path}{suffix}").write_bytes(block)


def leave_wal(path: Path, marker: str = "in the wal", rows: int = 50) -> None:
    """Commits that stand in the WAL only; -wal and -shm stay behind."""
    insert = f"INSERT INTO events(timestamp, kind, payload) VALUES('2026', 'wal', '{marker} ' || random())"
    setup = "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;"
    _freeze(path, setup, [insert] * rows, ("", "-wal", "-shm"))
    assert os.path.getsize(f"{path}-wal") > 0


def leave_hot_journal(path: Path) -> None:
    """A transaction that has changed the database file already, and the journal that would undo it."""
    change = ["BEGIN", "UPDATE events SET payload = 'torn ' || payload", "INSERT INTO events SELECT NULL, 1, 2, 3"]
    # A cache of two pages spills; a spill syncs the journal first, so that its header counts its pages.
    _freeze(path, "PRAGMA cache_size=2;", change, ("", "-journal"))
    assert os.path.getsize(f"{path}-journal") > 0
