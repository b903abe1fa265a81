# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Import: an exported file into a table of the live database, in one transaction."""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cells import CellError, IllFormed, Row, Value
from .config import Database
from .errors import LitekeepError, UsageError, VerificationError
from .exportfile import Header
from .exportreader import Reader
from .progress import Progress
from .tables import Table, folded, listed, quoted, tables_of
from .writing import SAFE, connected, rebuild_indexes, transaction, triggers_of, without_triggers

WHAT = "Import"
CONFLICTS = ("abort", "ignore", "replace")
_TYPE = re.compile(r"[A-Za-z0-9_ ]*(\([0-9+\-, .]*\))?")
# What SQLite writes as U+FFFD when it turns UTF-8 into UTF-16 (READ_UTF8 in its utf.c).
_MENDED = re.compile("[\ufffe\uffff]")
_TELL_EVERY = 10_000


@dataclass(frozen=True)
class Order:
    """What to import. paths: exported files. table: another one than was exported, where there is one file.

    conflict: one of CONFLICTS. create: make a table where there is none. triggers: ``fire`` or ``skip``. foreign_keys:
    refuse rows that would point nowhere. dry_run: do it all, and take it back.
    """

    paths: tuple[str, ...]
    table: str | None = None
    conflict: str = "abort"
    create: bool = False
    triggers: str = "fire"
    foreign_keys: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class Imported:
    """What became of a file's rows: inserted, ignored as they were there, or put in place of the row with their key."""

    path: str
    table: str
    created: bool
    rows: int
    inserted: int
    ignored: int
    replaced: int
    triggers: tuple[str, ...]


def import_files(database: Database, order: Order, progress: Progress) -> list[Imported]:
    """Import the files, in one transaction: all of it or nothing of it.

    ``abort`` refuses the first row whose key or unique value is taken; ``ignore`` leaves what is there; ``replace``
    overwrites the row with the same key, in place, so that rows that point to it stay. Other constraints hold for
    each of them. Raises UsageError (no such file, table or column, a conflict), VerificationError (a file is not
    what was exported, a constraint or a foreign key), and what ``writing`` raises.
    """
    if order.table is not None and len(order.paths) > 1:
        raise UsageError(
            "One table cannot take several files", next_step="import them one by one, or leave --table out"
        )
    readers = [Reader(path) for path in order.paths]
    for reader in readers:
        # Before anybody is made to wait for a lock.
        reader.check()
    with (
        connected(database, WHAT) as connection,
        transaction(connection, database, WHAT, order.dry_run, order.foreign_keys),
    ):
        work = [_Import(connection, database, reader, order) for reader in readers]
        names = [each.table.name for each in work]
        with without_triggers(connection, names) if order.triggers == "skip" else contextlib.nullcontext():
            for each in work:
                each.run(progress)
        if order.triggers == "skip":
            rebuild_indexes(connection, names)
        return [each.result() for each in work]


class _Import:
    """One file into one table."""

    def __init__(self, connection: sqlite3.Connection, database: Database, reader: Reader, order: Order) -> None:
        header = reader.header
        name = order.table or header.table
        table = _find(connection, name)
        self.created = table is None
        if table is None:
            _create(connection, database, header, name, order.create)
            table = _find(connection, name)
        if table is None or table.kind == "shadow" or table.index_of is not None:
            raise _not_importable(name, table)
        self.reader, self.order, self.table = reader, order, table
        self.fields = _fields(header, table, reader.path)
        self.triggers = tuple(triggers_of(connection, [table.name])) if order.triggers == "fire" else ()
        kind = {"abort": _Abort, "ignore": _Ignore, "replace": _Replace}[order.conflict]
        self.put = kind(connection, table, header, self.fields)
        self._number = 0

    def run(self, progress: Progress) -> None:
        """Put all rows."""
        try:
            self.put.rows(self._rows(progress))
        except (sqlite3.IntegrityError, sqlite3.DataError, CellError) as problem:
            raise _refused(self.reader.path, self.table, self._number, problem) from problem

    def _rows(self, progress: Progress) -> Iterator[Row]:
        names = self.reader.header.fields
        places = [names.index(field) for field in self.fields]
        straight = places == list(range(len(names)))
        for row in self.reader.rows():
            self._number += 1
            if self._number % _TELL_EVERY == 0:
                progress.rows(f"import {self.table.name}", self._number)
            yield row if straight else [row[place] for place in places]

    def result(self) -> Imported:
        """What became of them."""
        put, rows = self.put, self.reader.header.rows
        counts = (put.inserted, rows - put.inserted - put.replaced, put.replaced)
        return Imported(self.reader.path, self.table.name, self.created, rows, *counts, self.triggers)


class _Abort:
    """INSERT; the first conflict ends it."""

    end = ""

    def __init__(self, connection: sqlite3.Connection, table: Table, header: Header, fields: Sequence[str]) -> None:
        self.connection, self.table, self.fields = connection, table, fields
        self.encoding = str(connection.execute("PRAGMA encoding").fetchone()[0])
        self._foreign = header.encoding if self.encoding != header.encoding else ""
        self.inserted = self.replaced = 0
        # A constraint may have a conflict clause of its own ("The ON CONFLICT Clause"), which would delete or leave out
        # rows unasked. Only there: the words also override the clauses of the triggers' statements.
        self.strictly = " OR ABORT" if re.search(r"\bON\s+CONFLICT\b", table.sql, re.IGNORECASE) else ""
        self._plain = self._insert(["?"] * len(fields))

    def _insert(self, marks: Sequence[str]) -> str:
        into = f"{quoted(self.table.name)} ({listed(self.fields)})"
        return f"INSERT{self.strictly} INTO {into} VALUES ({', '.join(marks)}){self.end}"

    def rows(self, rows: Iterable[Row]) -> None:
        """Put all rows."""
        for special, group in itertools.groupby(rows, self._special):
            if special:
                for row in group:
                    self._insert_one(row)
            else:
                self.inserted += self.connection.executemany(self._plain, group).rowcount

    def _insert_one(self, row: Row) -> None:
        if not self._special(row):
            self.inserted += self.connection.execute(self._plain, row).rowcount
            return
        parts = self._parts(row)
        values = [value for _mark, bound in parts for value in bound]
        self.inserted += self.connection.execute(self._insert([mark for mark, _bound in parts]), values).rowcount

    def _special(self, row: Row) -> bool:
        """Whether it has texts that SQLite would not take as they are."""
        if IllFormed in map(type, row):
            return True
        return self.encoding != "UTF-8" and any(isinstance(value, str) and _MENDED.search(value) for value in row)

    def _parts(self, row: Row) -> list[tuple[str, list[Value]]]:
        """How each value stands in a statement, and what to bind for it."""
        return [self._part(value) for value in row]

    def _part(self, value: Value) -> tuple[str, list[Value]]:
        if isinstance(value, IllFormed):
            if self._foreign:
                raise CellError(f"a text that is none in {self._foreign} has no form in {self.encoding}")
            return self._raw(value)
        if isinstance(value, str) and self.encoding != "UTF-8" and _MENDED.search(value):
            return self._raw(value.encode(self.encoding.lower()))
        return "?", [value]

    def _raw(self, raw: bytes) -> tuple[str, list[Value]]:
        if self.encoding == "UTF-8":
            return "CAST(? AS TEXT)", [bytes(raw)]
        if len(raw) % 2 and not self._keeps_odd():
            raise CellError(f"a text of {len(raw)} bytes has no form in {self.encoding}")
        # A bound BLOB would be taken for UTF-8; a literal is taken as it is.
        return f"CAST(x'{raw.hex()}' AS TEXT)", []

    def _keeps_odd(self) -> bool:
        """Half a character at a text's end: SQLite 3.34 keeps it, 3.40 does not."""
        kept = self.connection.execute("SELECT length(CAST(CAST(x'00' AS TEXT) AS BLOB))").fetchone()
        return bool(kept[0])


class _Ignore(_Abort):
    """Rows whose key or unique value is taken are left out; NOT NULL and CHECK hold for all."""

    def __init__(self, connection: sqlite3.Connection, table: Table, header: Header, fields: Sequence[str]) -> None:
        # Virtual tables know no upsert ("UPSERT", section 3), and not all of them OR IGNORE.
        self.end = "" if table.kind == "virtual" else " ON CONFLICT DO NOTHING"
        super().__init__(connection, table, header, fields)

    def rows(self, rows: Iterable[Row]) -> None:
        super().rows(itertools.filterfalse(self._is_there, rows) if self.table.kind == "virtual" else rows)

    def _is_there(self, row: Row) -> bool:
        sql = f"SELECT 1 FROM {quoted(self.table.name)} WHERE {quoted(self.table.key[0])} = ?"
        return self.fields[0] == self.table.key[0] and bool(self.connection.execute(sql, [row[0]]).fetchone())


class _Replace(_Abort):
    """Never OR REPLACE: it deletes the old row, and with it what points to it by ON DELETE CASCADE."""

    def __init__(self, connection: sqlite3.Connection, table: Table, header: Header, fields: Sequence[str]) -> None:
        super().__init__(connection, table, header, fields)
        names = [folded(name) for name in fields]
        key = [folded(name) for name in table.key]
        if not key or not set(key) <= set(names):
            raise _no_key(table, header)
        self._key = [names.index(name) for name in key]
        self._rest = [place for place, name in enumerate(names) if name not in key]
        self._update = self._updating(["?"] * len(fields))

    def rows(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if self._is_updated(row):
                self.replaced += 1
            else:
                self._insert_one(row)

    def _is_updated(self, row: Row) -> bool:
        if any(row[place] is None for place in self._key):
            # NULL in a key equals nothing, so no row has the same one.
            return False
        places = (*self._rest, *self._key)
        sql, values = self._update, [row[place] for place in places]
        if self._special(row):
            parts = self._parts(row)
            sql = self._updating([mark for mark, _bound in parts])
            values = [value for place in places for value in parts[place][1]]
        cursor = self.connection.execute(sql, values)
        return bool(cursor.rowcount > 0 if self._rest else cursor.fetchone())

    def _updating(self, marks: Sequence[str]) -> str:
        name = quoted(self.table.name)
        key = " AND ".join(f"{quoted(self.fields[place])} = {marks[place]}" for place in self._key)
        if not self._rest:
            return f"SELECT 1 FROM {name} WHERE {key}"
        changes = ", ".join(f"{quoted(self.fields[place])} = {marks[place]}" for place in self._rest)
        return f"UPDATE{self.strictly} {name} SET {changes} WHERE {key}"


def _no_key(table: Table, header: Header) -> UsageError:
    return UsageError(
        f"Which rows of {table.name} the file would replace cannot be told",
        expected=f"the key of each row: {', '.join(table.key) or 'the table has none'}",
        found=f"columns: {', '.join(header.fields)}",
        safe="nothing was changed",
        next_step="--conflict abort or ignore",
    )


def _not_importable(name: str, table: Table | None) -> UsageError:
    why = "it belongs to a virtual table" if table and table.kind == "shadow" else "it has no content of its own"
    return UsageError(
        f"Nothing can be imported into {name}",
        expected="a table that holds rows of its own",
        found=table.unreadable or why if table else "it is gone again",
        safe="nothing was changed",
        next_step="import into the table whose content it shows",
    )


def _find(connection: sqlite3.Connection, name: str) -> Table | None:
    tables = {folded(table.name): table for table in tables_of(connection).values()}
    return tables.get(folded(name))


def _fields(header: Header, table: Table, path: str) -> list[str]:
    """The fields of the file that go into the table, in the file's order."""
    stored = {folded(name) for name in table.stored}
    known = {folded(column.name) for column in table.columns}
    # A rowid says nothing to a table that has another key, and what is generated there may be missing here.
    rowid = header.fields[:1] if header.by_rowid else ()
    fields = [name for name in header.fields if folded(name) in stored]
    strange = [n for n in header.fields if folded(n) not in known | stored and n not in (*rowid, *header.generated)]
    if strange or not fields:
        raise UsageError(
            f"{path} has columns that {table.name} has not",
            expected=f"some of: {', '.join(column.name for column in table.columns)}",
            found=", ".join(strange) or "none of them",
            safe="nothing was changed",
            next_step="add these columns to the table, or import into a new one: --table NAME --create",
        )
    return fields


def _create(connection: sqlite3.Connection, database: Database, header: Header, name: str, wanted: bool) -> None:
    if not wanted:
        known = ", ".join(tables_of(connection)) or "none"
        raise UsageError(
            f"{database.name} has no table {name!r}",
            expected=f"one of: {known}",
            safe="nothing was changed",
            next_step="correct --table, or add --create to make it with the columns and the key of the file",
        )
    by_name = dict(zip(header.fields, header.types))
    columns = [field for field in header.fields if not (header.by_rowid and field in header.key)]
    strange = [declared for declared in header.types if not _TYPE.fullmatch(declared)]
    if strange:
        raise UsageError(
            f"{header.table} has a column of type {strange[0]!r}",
            expected="letters, digits and a size in parentheses",
            safe="nothing was changed",
            next_step="make the table yourself, then import into it",
        )
    alone = len(header.key) == 1 and by_name.get(header.key[0], "").upper() == "INTEGER" and not header.by_rowid
    parts = [
        f"{quoted(n)} {by_name[n]}{' PRIMARY KEY' if alone and n == header.key[0] else ''}".strip() for n in columns
    ]
    if header.key and not header.by_rowid and not alone:
        parts.append(f"PRIMARY KEY ({listed(header.key)})")
    options = [word for word, on in (("WITHOUT ROWID", header.without_rowid), ("STRICT", header.strict)) if on]
    connection.execute(f"CREATE TABLE {quoted(name)} ({', '.join(parts)}) {', '.join(options)}")


def _refused(path: str, table: Table, number: int, problem: Exception) -> LitekeepError:
    words = str(problem)
    if "UNIQUE" in words or "PRIMARY KEY" in words:
        return UsageError(
            f"Row {number} of {path} is in {table.name} already, or in conflict with another row of it",
            found=words,
            safe=SAFE,
            next_step="--conflict ignore keeps what is there, --conflict replace overwrites the row with the same key",
        )
    return VerificationError(
        f"Row {number} of {path} does not fit into {table.name}",
        expected="a row that every constraint of the table allows",
        found=words,
        safe=SAFE,
        next_step="export it from a database with the same schema, or change the table",
    )
