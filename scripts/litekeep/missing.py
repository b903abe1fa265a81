# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which rows of a table are missing, and what became of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from .difference import Pair, rowid_of
from .tables import Table, listed, quoted

_SAMPLE = 5


@dataclass
class Undeleted:
    """What became of one table.

    missing: rows of then whose key is not there now. put_back: how many of them are there again. conflicts: why the
    others are not, by key (the first ones). changed: rows with the same key and another content now, which stay as they
    are. sample: some of the missing rows. made_again: the table was gone itself. note: why it was left alone.
    """

    table: str
    missing: int = 0
    put_back: int = 0
    conflicts: list[str] = field(default_factory=list)
    changed: int = 0
    changed_keys: list[str] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)
    made_again: bool = False
    note: str = ""


@dataclass
class Task:
    """One table of then, and where its missing rows are: in a temporary table, by what finds them in the past state.

    pair: None as long as the table is not there now. reasons: why rows stay out, in this attempt; refused: how many
    a constraint or a trigger refused.
    """

    number: int
    table: Table
    found: Undeleted
    pair: Pair | None = None
    reasons: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def missing(self) -> str:
        """The temporary table. Its name is none that an application would use."""
        return f'temp."litekeep missing {self.number}"'

    @property
    def places(self) -> tuple[str, ...]:
        """What finds a row of then: its rowid, or the key of a table without one."""
        rowid = rowid_of(self.table)
        return (rowid,) if rowid else self.table.key

    @property
    def then(self) -> str:
        """FROM of the missing rows ``o`` as they were; ``m.rowid`` counts them."""
        same = " AND ".join(f"o.{quoted(name)} = m.p{n}" for n, name in enumerate(self.places))
        return f"FROM {self.missing} AS m CROSS JOIN past.{quoted(self.table.name)} AS o ON {same}"

    def remember(self, connection: sqlite3.Connection, part: str) -> None:
        """Note which rows are missing."""
        places = ", ".join(f"o.{quoted(name)} AS p{n}" for n, name in enumerate(self.places))
        connection.execute(f"CREATE TABLE {self.missing} AS SELECT {places} {part}")
        self.found.missing = number_of(connection, f"FROM {self.missing}")

    @property
    def there(self) -> Pair:
        """The pair, once the table is there."""
        if self.pair is None:
            raise LookupError(self.table.name)
        return self.pair


def number_of(connection: sqlite3.Connection, part: str) -> int:
    """How many rows FROM and WHERE give."""
    return int(connection.execute(f"SELECT count(*) {part}").fetchone()[0])


def rows_of(connection: sqlite3.Connection, names: Sequence[str], part: str) -> list[str]:
    """Some of the rows ``o``, in words."""
    found = connection.execute(f"SELECT {listed(names, 'o.')} {part} LIMIT {_SAMPLE}").fetchall()
    return [shown(names, row) for row in found]


def shown(names: Sequence[str], row: Sequence[object]) -> str:
    """A row in one line, cut where a field is long."""
    parts = []
    for name, value in zip(names, row):
        text = value if isinstance(value, str) else f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)
        parts.append(f"{name}={text if len(text) <= 60 else text[:57] + '...'}")
    return ", ".join(parts)
