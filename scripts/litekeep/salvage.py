# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading out of a damaged file what can be read, page by page, into a new one.

What ``.recover`` of the SQLite shell does; but the shell of Debian 12 cannot (its library was built without
SQLITE_ENABLE_DBPAGE_VTAB). Rows of pages whose table is not known go into a table ``lost_and_found``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .pages import INDEX_INTERIOR, INDEX_LEAF, TABLE_INTERIOR, TABLE_LEAF, Cell, Pages, Text, Value
from .progress import Progress
from .rebuild import Content, building, contents, finish, make_indexes, make_rest, make_tables, new_file
from .sqlitefail import DamagedError
from .tables import listed, quoted

_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
_SEVERAL = 500
# What SQLite follows (BTCURSOR_MAX_DEPTH).
_DEEPEST = 20


@dataclass
class Tree:
    """What was found of a b-tree. gaps: rowids from above the first until the second may stand in a part that cannot
    be read. damaged: how many pages and entries that is."""

    gaps: list[tuple[int, int]] = field(default_factory=list)
    pages: int = 0
    entries: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read."""
        return not self.pages and not self.entries


@dataclass
class _Table:
    content: Content
    tree: Tree
    read: int = 0


def salvage(damaged: str, new: str, progress: Progress) -> list[str]:
    """Make ``new``; says table by table what could not be read.

    Raises DamagedError when there is no header, SpaceError.
    """
    with Pages(damaged) as pages:
        new_file(new, pages.header)
        with building(new) as connection:
            work = _Salvage(pages, connection, progress)
            work.run()
    finish(new, pages.header)
    return work.notes


class _Salvage:
    def __init__(self, pages: Pages, connection: sqlite3.Connection, progress: Progress) -> None:
        self.pages = pages
        self.connection = connection
        self.progress = progress
        self.notes: list[str] = []
        self.seen: set[int] = set()
        self.lost: list[tuple[int, int | None, tuple[Value, ...]]] = []
        self.found = 0
        self.place = ""
        self.indexes = Tree()
        self.columns = 0

    def run(self) -> None:
        """All of it, in one transaction where SQLite allows."""
        schema = self._schema()
        tables = self._tables(schema)
        self.connection.execute("BEGIN")
        for table in tables:
            self._read(table)
        self._leftovers(tables)
        self._flush()
        self.connection.execute("COMMIT")
        entries = [entry for entry in schema if entry[0] == "index" and entry[4]]
        self.notes += make_indexes(self.connection, [(entry[1], entry[4]) for entry in entries])
        rest = [e for e in schema if e[0] == "view" or (e[0] == "table" and not e[3])]
        there = {table.content.name.lower() for table in tables} | {entry[1].lower() for entry in rest}
        for entry in [entry for entry in schema if entry[0] == "trigger"]:
            # SQLite refuses a schema with a trigger of no table.
            if entry[2].lower() in there:
                rest.append(entry)
            else:
                self.notes.append(f"trigger {entry[1]} cannot be made: there is no table {entry[2]}")
        make_rest(self.connection, [(kind, name, table, sql) for kind, name, table, _root, sql in rest])
        self._searches(tables, rest)

    def _schema(self) -> list[tuple[str, str, str, int, str]]:
        """The entries of sqlite_master that can be read."""
        tree, found = Tree(), []
        for _page, cell in self._walk(1, tree, TABLE_LEAF, TABLE_INTERIOR):
            values = cell.record or ()
            if len(values) >= 5 and isinstance(values[1], str):
                found.append((str(values[0]), values[1], str(values[2]), _integer(values[3]), str(values[4] or "")))
        if not tree.is_whole:
            self.notes.append("the schema cannot be read to its end: tables may be in lost_and_found")
        return found

    def _tables(self, schema: Sequence[tuple[str, str, str, int, str]]) -> list[_Table]:
        """Make the tables; what belongs to one that cannot be made goes into lost_and_found."""
        roots = {}
        for kind, name, _table, root, sql in schema:
            if kind == "table" and root and not name.startswith("sqlite_stat"):
                try:
                    make_tables(self.connection, [(name, sql)])
                    roots[name] = root
                except (sqlite3.Error, UnicodeError) as problem:
                    self.notes.append(f"table {name} cannot be made: {problem}")
            elif kind == "index" and root:
                self._mark(root, self.indexes, INDEX_LEAF, INDEX_INTERIOR)
            elif kind == "table" and root:
                self._mark(root, Tree(), TABLE_LEAF, TABLE_INTERIOR)
        made = {content.name: content for content in contents(self.connection)}
        return [_Table(made[name], Tree(), root) for name, root in roots.items() if name in made]

    def _mark(self, root: int, tree: Tree, leaf: int, interior: int) -> None:
        """Pages whose rows nobody wants: of indexes and statistics."""
        for _page, _cell in self._walk(root, tree, leaf, interior):
            pass

    def _walk(
        self,
        number: int,
        tree: Tree,
        leaf: int,
        interior: int,
        low: int = _LOWEST,
        high: int = _HIGHEST,
        depth: int = _DEEPEST,
    ) -> Iterator[tuple[int, Cell]]:
        """The rows of a b-tree in order; what cannot be read is remembered and passed. No page is read twice."""
        try:
            kind = self.pages.kind(number)
            if number in self.seen or kind not in (leaf, interior) or not depth:
                raise DamagedError(f"page {number} is none of this table")
            self.seen.add(number)
            cells = list(self.pages.cells(number))
        except DamagedError:
            tree.pages += 1
            tree.gaps.append((low, high))
            return
        for cell in cells:
            if cell.damaged:
                tree.entries += 1
                tree.gaps.append((low, high))
            elif kind == interior:
                until = high if cell.rowid is None else cell.rowid
                yield from self._walk(cell.child, tree, leaf, interior, low, until, depth - 1)
                low = until
            if cell.record is not None:
                yield number, cell

    def _read(self, table: _Table) -> None:
        content = table.content
        self.connection.execute(f"DELETE FROM {quoted(content.name)}")
        kinds = (INDEX_LEAF, INDEX_INTERIOR) if content.key else (TABLE_LEAF, TABLE_INTERIOR)
        root, table.read = table.read, 0
        for page, cell in self._walk(root, table.tree, *kinds):
            table.read += self._insert(content, page, cell)
        self.progress.rows(f"salvage {content.name}", table.read)
        if not table.tree.is_whole:
            what = [f"{table.tree.pages} pages"] * bool(table.tree.pages)
            what += [f"{table.tree.entries} entries"] * bool(table.tree.entries)
            self.notes.append(f"table {content.name}: {' and '.join(what)} cannot be read")

    def _insert(self, content: Content, page: int, cell: Cell) -> bool:
        """Whether the row is in its table now; a row that it does not take is lost_and_found."""
        record = cell.record or ()
        held = {name: place for place, name in enumerate(content.stored) if place < len(record)}
        names = [name for name in content.written if name in held]
        values = [record[held[name]] for name in names]
        if content.rowid:
            # The column that is the rowid holds NULL in the record (section 2.3).
            names, values = [*names, content.rowid], [*values, cell.rowid]
        forms = ", ".join("CAST(? AS TEXT)" if isinstance(value, Text) else "?" for value in values)
        try:
            done = self.connection.execute(
                f"INSERT OR IGNORE INTO {quoted(content.name)}({listed(names)}) VALUES({forms})",
                [value.raw if isinstance(value, Text) else value for value in values],
            ).rowcount
        except sqlite3.IntegrityError:
            done = 0
        if not done:
            self._keep(page, cell)
        return bool(done)

    def _leftovers(self, tables: Sequence[_Table]) -> None:
        """Pages of tables that hang nowhere: back into the one table that misses such rows, else lost_and_found."""
        free = self.pages.free()
        certain = len(free) == self.pages.header.free
        back: dict[str, int] = {}
        for number in range(2, self.pages.count + 1):
            kind = self.pages.kind(number)
            keyed = kind in (INDEX_LEAF, INDEX_INTERIOR)
            # Entries of a damaged index are no rows.
            if number in self.seen or number in free or not (kind == TABLE_LEAF or (keyed and self.indexes.is_whole)):
                continue
            try:
                cells = [cell for cell in self.pages.cells(number) if cell.record is not None]
            except DamagedError:
                continue
            content = _owner(tables, cells) if certain else None
            if content is not None:
                back[content.name] = back.get(content.name, 0) + sum(
                    self._insert(content, number, cell) for cell in cells
                )
            elif not keyed:
                for cell in cells:
                    self._keep(number, cell)
        self.notes += [f"table {name}: {rows} rows came from pages that hung nowhere" for name, rows in back.items()]

    def _keep(self, page: int, cell: Cell) -> None:
        self.lost.append((page, cell.rowid, cell.record or ()))
        if len(self.lost) >= _SEVERAL:
            self._flush()

    def _flush(self) -> None:
        """Write what is lost and found; columns are added as they are needed."""
        if not self.lost:
            return
        if not self.found:
            taken = {row[0] for row in self.connection.execute("SELECT name FROM sqlite_master")}
            self.place = next(n for n in _names("lost_and_found") if n not in taken)
            self.connection.execute(f"CREATE TABLE {self.place}(page INTEGER, fields INTEGER, id INTEGER)")
        for _page, _rowid, record in self.lost:
            while self.columns < min(len(record), 1900):
                self.connection.execute(f"ALTER TABLE {self.place} ADD COLUMN c{self.columns}")
                self.columns += 1
        for page, rowid, record in self.lost:
            values = record[: self.columns]
            forms = "".join(", CAST(? AS TEXT)" if isinstance(value, Text) else ", ?" for value in values)
            names = "".join(f", c{number}" for number in range(len(values)))
            self.connection.execute(
                f"INSERT INTO {self.place}(page, fields, id{names}) VALUES(?, ?, ?{forms})",
                [page, len(record), rowid, *(value.raw if isinstance(value, Text) else value for value in values)],
            )
        self.found += len(self.lost)
        self.lost.clear()

    def _searches(self, tables: Iterable[_Table], rest: Iterable[tuple[str, str, str, int, str]]) -> None:
        """A full-text index whose own tables were damaged does not find what it should."""
        broken = [table.content.name for table in tables if not table.tree.is_whole]
        for kind, name, _table, _root, sql in rest:
            if kind == "table" and "fts" in sql.lower() and any(b.startswith(f"{name}_") for b in broken):
                self.notes.append(f"{name} is a damaged search index: INSERT INTO {name}({name}) VALUES('rebuild')")
        if self.found:
            self.notes.append(f"{self.found} rows, of which nobody knows where they belong, are in {self.place}")


def _owner(tables: Sequence[_Table], cells: Sequence[Cell]) -> Content | None:
    """The only table to which the rows of a page can belong."""
    fitting = [table.content for table in tables if _may_own(table, cells)]
    # Rows from before a column was added are shorter.
    fields = max((len(cell.record or ()) for cell in cells), default=0)
    exact = [content for content in fitting if len(content.stored) == fields]
    found = exact or fitting
    return found[0] if len(found) == 1 else None


def _may_own(table: _Table, cells: Sequence[Cell]) -> bool:
    """Whether the rows of a page fit a part of the table that cannot be read."""
    fields = {len(cell.record or ()) for cell in cells}
    rowids = [cell.rowid for cell in cells if cell.rowid is not None]
    if table.content.key:
        return bool(cells) and not rowids and not table.tree.is_whole and fields == {len(table.content.stored)}
    if not rowids or max(fields) > len(table.content.stored):
        return False
    return any(low < min(rowids) and max(rowids) <= high for low, high in table.tree.gaps)


def _names(first: str) -> Iterator[str]:
    yield first
    number = 0
    while True:
        yield f"{first}_{number}"
        number += 1


def _integer(value: Value) -> int:
    return value if isinstance(value, int) else 0
