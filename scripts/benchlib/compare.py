# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two event databases, row for row."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from pathlib import Path

TABLES = ("events", "notes")
BATCH = 1000


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that creates and changes nothing in the database."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True)


def number(connection: sqlite3.Connection, sql: str, *values: object) -> int:
    """The one number that a query answers; 0 for NULL."""
    return int(connection.execute(sql, values).fetchone()[0] or 0)


def difference(copy: Path, live: Path) -> str | None:
    """What is wrong with a copy of an append-only database: None, or the first difference.

    Every table has to equal the live one up to the copy's own last id: no row missing, none changed, none too many.
    """
    with contextlib.closing(read_only(copy)) as ours, contextlib.closing(read_only(live)) as theirs:
        for table in TABLES:
            last = number(ours, f"SELECT max(id) FROM {table}")
            mine = ours.execute(f"SELECT * FROM {table} ORDER BY id")
            other = theirs.execute(f"SELECT * FROM {table} WHERE id <= ? ORDER BY id", (last,))
            while True:
                batch, expected = mine.fetchmany(BATCH), other.fetchmany(BATCH)
                if batch != expected:
                    return f"{table} differs: {_first(batch, expected)}"
                if not batch:
                    break
    return None


def _first(batch: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> str:
    for mine, other in zip(batch, expected):
        if mine != other:
            return f"found {mine!r:.200}, expected {other!r:.200}"
    return f"{len(batch)} rows instead of {len(expected)} at its end"


def last_event(database: Path) -> int:
    """The largest id of an event; 0 when there is none."""
    with contextlib.closing(read_only(database)) as connection:
        return number(connection, "SELECT max(id) FROM events")


def live_rows(copy: Path, first: int) -> tuple[int, int]:
    """How many events after the id ``first``, and how many of their notes, a copy holds.

    The writer commits one of each together: two different numbers are a torn transaction.
    """
    with contextlib.closing(read_only(copy)) as connection:
        return (
            number(connection, "SELECT count(*) FROM events WHERE id > ?", first),
            number(connection, "SELECT count(*) FROM notes WHERE event_id > ?", first),
        )
