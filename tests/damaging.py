"""Databases of many kinds, ways to damage them, and what an application would read, row by row."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from pathlib import Path

from support import SUFFIXES

Rows = dict[str, list[str]]

TABLES = """
CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, kind TEXT COLLATE NOCASE, amount REAL, body BLOB);
CREATE INDEX events_at ON events(at);
CREATE INDEX events_length ON events(length(body), kind DESC);
CREATE INDEX events_large ON events(amount) WHERE amount > 20;
CREATE TABLE names(name TEXT UNIQUE, note, twice AS (note || note) STORED);
CREATE TABLE settings(area TEXT COLLATE NOCASE, key INTEGER, value, PRIMARY KEY(key DESC, area)) WITHOUT ROWID;
CREATE INDEX settings_value ON settings(value);
CREATE TABLE empty(a);
CREATE VIEW kinds AS SELECT kind, count(*) FROM events GROUP BY kind;
CREATE TRIGGER noted AFTER DELETE ON events BEGIN INSERT INTO names(note) VALUES(old.kind); END;
"""
SEARCH = "CREATE VIRTUAL TABLE search USING fts5(body);"
STRICT = "CREATE TABLE exact(a INTEGER NOT NULL, b TEXT, c ANY) STRICT; CREATE INDEX exact_b ON exact(b, a);"


def make(
    path: Path,
    *,
    page_size: int = 1024,
    encoding: str = "UTF-8",
    auto_vacuum: int = 0,
    mode: str = "wal",
    search: bool = False,
    rows: int = 120,
    overflow: bool = True,
    free: int = 0,
) -> Path:
    """A database at rest. free: pages on the free list, more or less."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(
            f"PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={auto_vacuum};"
            f"PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF; PRAGMA user_version=7; PRAGMA application_id=1234;"
        )
        db.executescript(TABLES)
        strict = sqlite3.sqlite_version_info >= (3, 37)
        db.executescript(STRICT if strict else STRICT.replace(" STRICT", ""))
        db.execute("BEGIN")
        for number in range(1, rows + 1):
            size = page_size * 3 if overflow and not number % 30 else 40
            body = f"{number} ".encode() + chance.randbytes(size)
            db.execute(
                "INSERT INTO events(at, kind, amount, body) VALUES(?, ?, ?, ?)",
                (f"2026-11-{number % 28 + 1:02d}T{number:06d}", f"Kind{number % 5}", number / 2, body),
            )
            db.execute("INSERT INTO names(name, note) VALUES(?, ?)", (f"näme {number}", None if number % 7 else number))
            db.execute("INSERT INTO settings VALUES(?, ?, ?)", (f"area {number % 3}", number, f"value {number * 7}"))
            db.execute("INSERT INTO exact VALUES(?, ?, ?)", (number, f"b{number % 9}", chance.randbytes(9)))
        db.execute("DELETE FROM events WHERE id = ?", (rows // 2,))
        db.execute("ALTER TABLE names ADD COLUMN later TEXT DEFAULT 'before'")
        if search:
            db.execute(SEARCH)
            db.execute("INSERT INTO search SELECT kind || ' ' || at FROM events")
        db.execute("COMMIT")
        if free:
            # In a transaction of its own: its pages are written, and keep their rows when they become free.
            db.execute("BEGIN")
            db.execute("CREATE TABLE gone(a)")
            db.executemany("INSERT INTO gone VALUES(?)", [(chance.randbytes(page_size - 100),) for _n in range(free)])
            db.execute("COMMIT")
            db.execute("PRAGMA secure_delete=OFF")
            db.execute("DROP TABLE gone")
    return path


def rows_of(path: Path) -> Rows:
    """Every row of every table with its rowid, without any index, and the schema. The file is only read."""
    found: Rows = {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        schema = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        found["schema"] = [repr(entry) for entry in schema]
        pragmas = ("page_size", "encoding", "auto_vacuum", "user_version", "application_id", "journal_mode")
        found["settings"] = [str(db.execute(f"PRAGMA {name}").fetchone()) for name in pragmas]
        for kind, name, _table, sql in schema:
            if kind == "table" and not sql.upper().startswith("CREATE VIRTUAL"):
                with_rowid = "WITHOUT ROWID" not in sql.upper()
                what = f'rowid, * FROM "{name}" NOT INDEXED' if with_rowid else f'* FROM "{name}"'
                found[name] = sorted(repr(row) for row in db.execute(f"SELECT {what}"))
    return found


def set_of(path: Path) -> dict[str, bytes]:
    """The bytes of all four files."""
    return {s: Path(f"{path}{s}").read_bytes() for s in SUFFIXES if os.path.exists(f"{path}{s}")}


def overwrite(path: Path, page: int, block: bytes) -> None:
    """Put other bytes in the place of a page; the first is 1."""
    with open(path, "r+b") as stream:
        stream.seek((page - 1) * len(block))
        stream.write(block)


def page_of(path: Path, page: int, size: int) -> bytes:
    """The bytes of a page."""
    with open(path, "rb") as stream:
        stream.seek((page - 1) * size)
        return stream.read(size)


def owners(path: Path) -> dict[int, tuple[str, str]]:
    """What each page belongs to, and its kind: leaf, internal, overflow. Pages of the free list are missing."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return {page: (name, kind) for name, page, kind in db.execute("SELECT name, pageno, pagetype FROM dbstat")}
