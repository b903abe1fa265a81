# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What differs between two states of a database, table by table: rows that went, rows that came, rows that changed.

Rows are told apart by their primary key, or by their rowid where there is none. Both states are schemas of one
connection, so that SQLite compares them, and memory stays flat.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .tables import ROWID_NAMES, Table, folded, listed, quoted, tables_of


@dataclass(frozen=True)
class Pair:
    """A table in both states. old, new: the names of the two schemas. Use ``Pair.of`` to make one."""

    table: Table
    now: Table
    old: str = "past"
    new: str = "main"

    @classmethod
    def of(cls, connection: sqlite3.Connection, table: Table, now: Table, old: str = "past", new: str = "main") -> Pair:
        """The pair. Where keys hold NULL, they do not tell rows apart: there it is the rowid ("CREATE TABLE", 3.5)."""
        if _has_null_keys(connection, table, old) or _has_null_keys(connection, now, new):
            table, now = _by_rowid(table), _by_rowid(now)
        return cls(table, now, old, new)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that can be written in the new state and read in the old one."""
        names = {folded(name) for name in self.now.stored}
        return tuple(name for name in self.table.all if folded(name) in names)

    @property
    def lost_columns(self) -> tuple[str, ...]:
        """Those that the new state has no place for."""
        names = {folded(column.name) for column in self.now.columns}
        return tuple(c.name for c in self.table.columns if not c.generated and folded(c.name) not in names)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns of both, without those that follow from the others in both."""
        now = {folded(column.name): column for column in self.now.columns}
        both = [(column, now[folded(column.name)]) for column in self.table.columns if folded(column.name) in now]
        return tuple(one.name for one, other in both if not (one.generated and other.generated))

    def same_key(self, one: str = "o", other: str = "n") -> str:
        """That two rows have the same key, as SQL. The old state's collation decides."""
        return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self.table.key)

    def same_content(self, one: str = "o", other: str = "n") -> str:
        """That two rows are equal to the bit in what both states have."""
        parts = [
            f"(typeof({one}.{q}) = typeof({other}.{q}) AND {one}.{q} IS {other}.{q} COLLATE BINARY)"
            for q in map(quoted, self.compared)
        ]
        return " AND ".join(parts) or "1"

    def is_new(self) -> str:
        """That the old state has no row with the key of a row ``n`` of the new one."""
        return f"NOT EXISTS (SELECT 1 FROM {self.old}.{quoted(self.table.name)} AS o WHERE {self.same_key()})"

    def is_another(self) -> str:
        """That the old state has a row with the key of ``n`` and another content."""
        return (
            f"EXISTS (SELECT 1 FROM {self.old}.{quoted(self.table.name)} AS o "
            f"WHERE {self.same_key()} AND NOT ({self.same_content()}))"
        )

    def gone(self) -> str:
        """FROM and WHERE of the rows ``o`` of the old state whose key the new one does not have."""
        return f"FROM {self.old}.{quoted(self.table.name)} AS o WHERE {self._has_no('1')}"

    def came(self) -> str:
        """FROM and WHERE of the rows ``n`` of the new state whose key the old one does not have."""
        return f"FROM {self.new}.{quoted(self.table.name)} AS n WHERE {self.is_new()}"

    def changed(self) -> str:
        """FROM and WHERE of the rows ``o`` and ``n`` that have the same key and another content."""
        name = quoted(self.table.name)
        return (
            f"FROM {self.old}.{name} AS o CROSS JOIN {self.new}.{name} AS n ON {self.same_key()} "
            f"WHERE NOT ({self.same_content()})"
        )

    def _has_no(self, more: str) -> str:
        """That the new state has no row ``n`` with the key of ``o`` for which ``more`` holds."""
        return (
            f"NOT EXISTS (SELECT 1 FROM {self.new}.{quoted(self.table.name)} AS n WHERE {self.same_key()} AND {more})"
        )

    def renumbered(self, connection: sqlite3.Connection) -> bool:
        """Whether VACUUM gave the rows other rowids, so that these no longer tell them apart ("VACUUM", section 2).

        It closes gaps: a row that was another one at its place then stands, as it was, at a lower place now.
        """
        if not self.table.by_rowid or self.table.kind != "table" or not self.compared:
            return False
        rowid, name = quoted(self.table.key[0]), quoted(self.table.name)

        def content(of: str) -> str:
            return ", ".join(f"{of}.{quoted(column)} COLLATE BINARY AS c{n}" for n, column in enumerate(self.compared))

        before = (
            f"SELECT o.{rowid} AS then_at, NULL AS now_at, {content('o')} "
            f"FROM {self.old}.{name} AS o WHERE {self._has_no(self.same_content())}"
        )
        after = (
            f"SELECT NULL, n.{rowid}, {content('n')} FROM {self.new}.{name} AS n WHERE NOT EXISTS "
            f"(SELECT 1 FROM {self.old}.{name} AS o WHERE {self.same_key()} AND {self.same_content()})"
        )
        names = ", ".join(f"c{n}" for n in range(len(self.compared)))
        moved = f"SELECT 1 FROM ({before} UNION ALL {after}) GROUP BY {names} HAVING max(then_at) > min(now_at) LIMIT 1"
        return connection.execute(moved).fetchone() is not None


def _has_null_keys(connection: sqlite3.Connection, table: Table, schema: str) -> bool:
    if table.by_rowid or table.without_rowid or not table.key:
        return False
    indexes = connection.execute(f"PRAGMA {schema}.index_list({quoted(table.name)})").fetchall()
    if not any(index[3] == "pk" for index in indexes):
        # The key is the rowid itself.
        return False
    null = " OR ".join(f"{quoted(name)} IS NULL" for name in table.key)
    sql = f"SELECT 1 FROM {schema}.{quoted(table.name)} WHERE {null} LIMIT 1"
    return connection.execute(sql).fetchone() is not None


def rowid_of(table: Table) -> str:
    """The name by which a table's rowid can be read; empty where there is none."""
    names = {folded(column.name) for column in table.columns}
    return "" if table.without_rowid else next((alias for alias in ROWID_NAMES if alias not in names), "")


def _by_rowid(table: Table) -> Table:
    rowid = rowid_of(table)
    return replace(table, key=(rowid,) if rowid else (), by_rowid=bool(rowid))


@dataclass(frozen=True)
class Difference:
    """What differs in one table. now: False when the new state has no such table; before: the same of the old one.

    gone, came, changed: rows; None when they cannot be told, and note says why.
    """

    table: str
    before: bool = True
    now: bool = True
    gone: int | None = 0
    came: int | None = 0
    changed: int | None = 0
    note: str = ""

    @property
    def is_none(self) -> bool:
        """Whether the table is the same in both."""
        return self.before and self.now and (self.gone, self.came, self.changed, self.note) == (0, 0, 0, "")


def compare(
    connection: sqlite3.Connection, old: str = "past", new: str = "main", only: Iterable[str] | None = None
) -> list[Difference]:
    """The differences of all tables that have a content of their own; those without a difference are among them."""
    before, now = tables_of(connection, old), tables_of(connection, new)
    wanted = None if only is None else {folded(name) for name in only}
    known = {folded(name): table for name, table in now.items()}
    of_then = {folded(name) for name in before}
    names = [*before, *(name for name in now if folded(name) not in of_then)]
    return [
        _compare(connection, name, before.get(name), known.get(folded(name)), old, new)
        for name in names
        if (wanted is None or folded(name) in wanted) and has_content(before.get(name) or now[name])
    ]


def has_content(table: Table) -> bool:
    """Whether its rows are nobody else's: not a search index, and not what a virtual table keeps its own in."""
    return table.kind != "shadow" and table.index_of is None


def _compare(
    connection: sqlite3.Connection, name: str, before: Table | None, now: Table | None, old: str, new: str
) -> Difference:
    if before is None:
        return Difference(name, before=False, came=_count(connection, f"FROM {new}.{quoted(name)}"))
    if now is None:
        return Difference(name, now=False, gone=_count(connection, f"FROM {old}.{quoted(name)}"))
    pair = Pair.of(connection, before, now, old, new)
    why = why_not_told_apart(connection, pair)
    if why:
        return Difference(name, gone=None, came=None, changed=None, note=why)
    lost = f"columns that are gone: {', '.join(pair.lost_columns)}" if pair.lost_columns else ""
    parts = (pair.gone(), pair.came(), pair.changed())
    gone, came, changed = (_count(connection, part) for part in parts)
    return Difference(name, gone=gone, came=came, changed=changed, note=lost)


def why_not_told_apart(connection: sqlite3.Connection, pair: Pair) -> str:
    """Why the rows of the two states cannot be matched; empty when they can."""
    if not pair.table.key:
        return "it has neither a primary key without NULL nor a rowid that can be read"
    if [folded(name) for name in pair.table.key] != [folded(name) for name in pair.now.key]:
        return f"its key was {listed(pair.table.key)} and is {listed(pair.now.key) or 'none'}"
    if pair.renumbered(connection):
        return "its rows have no key but the rowid, and VACUUM has given them others"
    return ""


def _count(connection: sqlite3.Connection, part: str) -> int | None:
    try:
        return int(connection.execute(f"SELECT count(*) {part}").fetchone()[0])
    except sqlite3.OperationalError:
        return None
