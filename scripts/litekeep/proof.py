# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""That a damaged file has lost no row: its tables are whole, its indexes know of no other rows, and neither do the
pages that nothing owns.

A table that was read to its end may still lack rows: an old copy of a page, which the disk wrote in the place of a
newer one, is a sound page. What the file holds beside the tables tells.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import integrity
from .integrity import Findings
from .pages import INDEX_INTERIOR, INDEX_LEAF, TABLE_INTERIOR, TABLE_LEAF, Pages, Text
from .rebuild import OLD, Content, attach, contents
from .source import connect
from .sqlitefail import DamagedError
from .tables import quoted


@dataclass(frozen=True)
class Index:
    """An index's b-tree. columns: of its table (or its rowid), by place in an entry; empty for an expression.

    keys: collation of each place, and whether it descends.
    """

    name: str
    root: int
    table: Content
    columns: tuple[str, ...]
    keys: tuple[tuple[str, bool], ...]

    def same(self, values: Sequence[str]) -> str:
        """That a row ``n`` is the one that an entry with these values speaks of, as SQL."""
        row = zip(self.columns, values)
        return " AND ".join(f"n.{quoted(column)} IS {value} COLLATE BINARY" for column, value in row if column)


def lost_rows(old: str, new: str, found: Findings) -> tuple[list[str], list[str]]:
    """Why ``new``, which was made of the tables of ``old``, may lack rows; and which indexes cannot be read.

    found: what ``integrity_check`` says about ``old``, which is worthless afterwards.
    """
    with contextlib.closing(connect(old, immutable=True)) as connection:
        tables = contents(connection)
        indexes = [index for table in tables for index in _indexes(connection, table)]
    with Pages(old) as pages:
        unowned = _unowned(pages, new, found, indexes)
    _strip(old, tables)
    problems = [*_tables(old, tables), *unowned]
    if problems:
        return problems, []
    _add(old, [(f"litekeep_{number}", index) for number, index in enumerate(indexes)])
    unreadable = []
    with contextlib.closing(connect(new, immutable=True)) as connection:
        connection.execute("PRAGMA cell_size_check=ON")
        attach(connection, old)
        for number, index in enumerate(indexes):
            stranger, whole = _strangers(connection, f"litekeep_{number}", index)
            if stranger:
                problems.append(stranger)
            elif whole and not _same_count(old, new, index):
                problems.append(f"index {index.name} and the table {index.table.name} do not hold the same rows")
            if not whole:
                unreadable.append(f"index {index.name} of table {index.table.name} cannot be read to its end")
    return problems, unreadable


def _indexes(connection: sqlite3.Connection, table: Content) -> Iterator[Index]:
    """All but the b-tree of a table WITHOUT ROWID, which is the table."""
    entries = connection.execute(
        "SELECT name, rootpage FROM sqlite_master "
        "WHERE type = 'index' AND tbl_name = ? COLLATE NOCASE AND rootpage > 0",
        (table.name,),
    ).fetchall()
    for name, root in entries:
        rows = connection.execute(f"PRAGMA index_xinfo({quoted(name)})").fetchall()
        columns = tuple((table.rowid if row[1] == -1 else row[2]) or "" for row in rows)
        yield Index(name, root, table, columns, tuple((row[4] or "BINARY", bool(row[3])) for row in rows))


def _strip(path: str, tables: Sequence[Content]) -> None:
    """Make SQLite see the b-trees of the tables and nothing else: no free list, no map of pointers, no constraint."""
    with open(path, "r+b") as stream:
        for at, block in ((18, b"\1\1"), (32, bytes(8)), (52, bytes(4)), (64, bytes(4))):
            stream.seek(at)
            stream.write(block)
    with _schema(path) as connection:
        connection.execute("DELETE FROM sqlite_master WHERE type <> 'table' OR rootpage = 0 OR rootpage IS NULL")
        connection.executemany(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?",
            [(_imposter(table.name, len(table.stored), [k[1:] for k in table.key]), table.name) for table in tables],
        )


def _add(path: str, indexes: Sequence[tuple[str, Index]]) -> None:
    """Let SQLite read indexes as tables."""
    with _schema(path) as connection:
        connection.executemany(
            "INSERT INTO sqlite_master VALUES('table', ?, ?, ?, ?)",
            [(name, name, index.root, _imposter(name, len(index.columns), index.keys)) for name, index in indexes],
        )


@contextlib.contextmanager
def _schema(path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("trusted_schema=OFF", "journal_mode=OFF", "synchronous=OFF", "writable_schema=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def _imposter(name: str, columns: int, key: Sequence[tuple[str, bool]]) -> str:
    """A table whose b-tree has that shape: columns without types, and the order of the key if it has one."""
    names = [f"c{number}" for number in range(columns)]
    if not key:
        return f"CREATE TABLE {quoted(name)}({', '.join(names)})"
    order = ", ".join(
        f"{column} COLLATE {quoted(collation)}{' DESC' * down}" for column, (collation, down) in zip(names, key)
    )
    return f"CREATE TABLE {quoted(name)}({', '.join(names)}, PRIMARY KEY({order})) WITHOUT ROWID"


def _tables(stripped: str, tables: Sequence[Content]) -> list[str]:
    """What is wrong with the b-trees of the tables. Pages of anything else look as if nothing owned them."""
    found = list(integrity.look(stripped).lines)
    if found:
        return [f"a table is damaged: {line}" for line in found[:3]]
    with contextlib.closing(connect(stripped, immutable=True)) as connection:
        unsorted = [table.name for table in tables if table.key and not _is_sorted(connection, table)]
    return [f"table {name}: its rows are not in the order of its key" for name in unsorted]


def _is_sorted(connection: sqlite3.Connection, table: Content) -> bool:
    """Whether the keys of a table WITHOUT ROWID ascend strictly, as they stand in its b-tree."""
    names = [f"c{number}" for number in range(len(table.key))]
    before = ", ".join(f"lag({name}) OVER () AS b{name}" for name in names)
    ways = []
    for number, (name, (_column, collation, down)) in enumerate(zip(names, table.key)):
        same = [f"{n} = b{n} COLLATE {quoted(k[1])} AND " for n, k in zip(names[:number], table.key)]
        ways.append(f"({''.join(same)}{name} {'<' if down else '>'} b{name} COLLATE {quoted(collation)})")
    unsorted = connection.execute(
        f"SELECT 1 FROM (SELECT {', '.join(names)}, row_number() OVER () AS place, {before} FROM {quoted(table.name)}) "
        f"WHERE place > 1 AND NOT ({' OR '.join(ways)}) LIMIT 1"
    ).fetchone()
    return unsorted is None


def _same_count(old: str, new: str, index: Index) -> bool:
    """Whether a whole index has as many entries as the one that was made anew. Where it has fewer, either it lost
    some, or the table has rows again that were deleted."""
    with Pages(old) as one, Pages(new) as two, contextlib.closing(connect(new, immutable=True)) as connection:
        entry = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index.name,)).fetchone()
        return one.entries(index.root) == two.entries(entry[0])


def _strangers(connection: sqlite3.Connection, imposter: str, index: Index) -> tuple[str, bool]:
    """An entry for which the table has no such row, as words; and whether the index could be read to its end.

    What is damaged is passed from both ends.
    """
    values = [f"o.c{number}" for number in range(len(index.columns))]
    for way in ("", " DESC"):
        order = ", ".join(
            f"c{number}{' DESC' if down != bool(way) else ''}" for number, (_collation, down) in enumerate(index.keys)
        )
        try:
            stranger = connection.execute(
                f"SELECT {values[-1]} FROM {OLD}.{imposter} AS o WHERE NOT EXISTS (SELECT 1 FROM "
                f"main.{quoted(index.table.name)} AS n NOT INDEXED WHERE {_found(index, values)}) "
                f"ORDER BY {order} LIMIT 1"
            ).fetchone()
        except sqlite3.Error:
            continue
        if stranger is None:
            return "", True
        break
    else:
        return "", False
    return f"index {index.name} has an entry for which the table {index.table.name} has no such row", True


def _found(index: Index, values: Sequence[str]) -> str:
    """How the entry's row is found, and that it has the same values."""
    places = dict(zip(reversed(index.columns), reversed(values)))
    identity = " AND ".join(f"n.{quoted(name)} = {places[name]}" for name in index.table.identity if name in places)
    return f"{identity or '1'} AND {index.same(values) or '1'}"


def _unowned(pages: Pages, new: str, found: Findings, indexes: Sequence[Index]) -> list[str]:
    """Pages that nothing owns, and that may be the lost part of a table."""
    free = pages.free()
    rest = found.unowned - free
    if not rest or len(free) + len(rest) == pages.header.free:
        # The free list is cut off; its header still counts these.
        return []
    suspects = []
    with contextlib.closing(connect(new, immutable=True)) as connection:
        for number in sorted(rest):
            kind = pages.kind(number)
            if kind in (TABLE_LEAF, TABLE_INTERIOR) or (
                kind in (INDEX_LEAF, INDEX_INTERIOR) and not _is_known(connection, pages, number, indexes)
            ):
                suspects.append(number)
    if not suspects:
        return []
    return [f"{len(suspects)} pages that nothing owns may hold rows of a table: page {suspects[0]}"]


def _is_known(connection: sqlite3.Connection, pages: Pages, number: int, indexes: Sequence[Index]) -> bool:
    """Whether the first entry that can be read speaks of a row that is there: then it is a page of a damaged index."""
    try:
        cells = itertools.islice(pages.cells(number), 3)
        record = next((cell.record for cell in cells if cell.record), None)
    except DamagedError:
        return False
    if record is None:
        return False
    values = [value.raw if isinstance(value, Text) else value for value in record]
    for index in indexes:
        if len(index.columns) == len(values):
            names = [f"?{place + 1}" for place in range(len(values))]
            row = connection.execute(
                f"SELECT 1 FROM {quoted(index.table.name)} AS n NOT INDEXED WHERE {_found(index, names)} LIMIT 1",
                values[: len(names)],
            ).fetchone()
            if row:
                return True
    return False
