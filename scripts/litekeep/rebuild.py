# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A new database out of the tables of a damaged one, as VACUUM makes it; no index of the damaged one is read.

REINDEX is not enough: it clears the old b-tree first, and takes pages from the free list, and both may be what is
damaged.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import checks, sqlitefail
from .errors import SpaceError
from .pages import HEADER_SIZE, TABLE_LEAF, Header
from .progress import Progress
from .source import connect
from .tables import ROWID_NAMES, listed, quoted

OLD = "damaged"


@dataclass(frozen=True)
class Content:
    """Where the rows of a table stand. rowid: a name for it that no column has, empty for none.

    key: the primary key of a table WITHOUT ROWID, in the order of its b-tree, each with its collation and whether it
    descends. alone: makes SQLite read the table and none of its indexes. stored: the columns as a record holds them;
    written: those that an INSERT may name.
    """

    name: str
    sql: str
    root: int
    rowid: str
    key: tuple[tuple[str, str, bool], ...]
    alone: str
    stored: tuple[str, ...]
    written: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that find a row."""
        return (self.rowid,) if self.rowid else tuple(name for name, _collation, _down in self.key)

    @property
    def named(self) -> tuple[str, ...]:
        """What an INSERT names."""
        return (*((self.rowid,) if self.rowid else ()), *self.written)


def contents(connection: sqlite3.Connection, schema: str = "main") -> list[Content]:
    """All tables that have a b-tree of their own, SQLite's own among them, in the order in which they were made."""
    entries = connection.execute(
        f"SELECT name, sql, rootpage FROM {schema}.sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY rowid"
    ).fetchall()
    return [_content(connection, schema, *entry) for entry in entries]


def _content(connection: sqlite3.Connection, schema: str, name: str, sql: str, root: int) -> Content:
    # "PRAGMA table_xinfo": hidden 2 is generated and not stored, 3 generated and stored.
    columns = connection.execute(f"PRAGMA {schema}.table_xinfo({quoted(name)})").fetchall()
    names = {column[1].lower() for column in columns}
    stored = tuple(column[1] for column in columns if column[6] != 2)
    written = tuple(column[1] for column in columns if column[6] not in (2, 3))
    # On a table WITHOUT ROWID this pragma tells its own b-tree; on another one it knows no such index.
    own = connection.execute(f"PRAGMA {schema}.index_xinfo({quoted(name)})").fetchall()
    if own:
        key = tuple((row[2], row[4] or "BINARY", bool(row[3])) for row in own if row[5])
        # NOT INDEXED does not keep SQLite from the indexes of such a table.
        (pk,) = [row[1] for row in connection.execute(f"PRAGMA {schema}.index_list({quoted(name)})") if row[3] == "pk"]
        return Content(name, sql, root, "", key, f"INDEXED BY {quoted(pk)}", tuple(row[2] for row in own), written)
    rowid = next((alias for alias in ROWID_NAMES if alias not in names), "")
    return Content(name, sql, root, rowid, (), "NOT INDEXED", stored, written)


def new_file(path: str, header: Header) -> None:
    """An empty database with the same settings: page size, encoding, auto_vacuum, user_version, application_id."""
    page = bytearray(header.page_size)
    page[:HEADER_SIZE] = header.raw
    page[18:20] = b"\1\1"
    struct.pack_into(">I", page, 24, 1)
    struct.pack_into(">III", page, 28, 1, 0, 0)
    struct.pack_into(">I", page, 52, int(header.auto_vacuum))
    struct.pack_into(">I", page, 92, 1)
    # An empty leaf (section 1.6); 0 stands for 65536.
    page[HEADER_SIZE] = TABLE_LEAF
    struct.pack_into(">H", page, HEADER_SIZE + 5, header.usable % 65536)
    with open(path, "xb") as stream:
        stream.write(page)


@contextlib.contextmanager
def building(path: str) -> Iterator[sqlite3.Connection]:
    """A connection that writes the new file, which nobody needs if it is not finished. Raises SpaceError."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?mode=rw"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            for pragma in ("trusted_schema=OFF", "journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            connection.execute("PRAGMA cell_size_check=ON")
            yield connection
    except sqlite3.Error as problem:
        if sqlitefail.is_full(problem):
            raise no_space(path) from problem
        raise


def no_space(path: str) -> SpaceError:
    """The error for a disk that filled up while the new file was written."""
    folder = os.path.dirname(path)
    return SpaceError(
        f"No space left for {path}",
        safe="the damaged database is as it was; the backups stand",
        next_step=f"free space there (df -h {folder}), then run the same command again",
    )


def attach(connection: sqlite3.Connection, path: str, name: str = OLD) -> None:
    """Another file to which nobody writes."""
    connection.execute(f"ATTACH ? AS {name}", (f"file:{urllib.parse.quote(os.fsencode(path))}?immutable=1",))


def rebuild(old: str, new: str, header: Header, progress: Progress) -> list[str]:
    """Make ``new`` out of the tables of ``old``. Says what kept it from being the same in every row.

    Raises SpaceError.
    """
    new_file(new, header)
    try:
        with building(new) as connection:
            attach(connection, old)
            tables = contents(connection, OLD)
            make_tables(connection, [(table.name, table.sql) for table in tables])
            problems = [problem for table in tables for problem in _copied(connection, table, progress)]
            if not problems:
                indexes = _entries(connection, "type = 'index' AND sql IS NOT NULL")
                problems = make_indexes(connection, [(name, sql) for _kind, name, _table, sql in indexes])
                make_rest(connection, _entries(connection, "type IN ('view', 'trigger') OR rootpage = 0"))
    except (sqlite3.Error, UnicodeError) as problem:
        return [str(problem)]
    return problems or _finished(old, new, header)


def _entries(connection: sqlite3.Connection, which: str) -> list[tuple[str, str, str, str]]:
    return connection.execute(
        f"SELECT type, name, tbl_name, sql FROM {OLD}.sqlite_master WHERE {which} ORDER BY rowid"
    ).fetchall()


def make_tables(connection: sqlite3.Connection, tables: Sequence[tuple[str, str]]) -> None:
    """Those of SQLite itself are made by what needs them."""
    names = {name for name, _sql in tables}
    for name, sql in tables:
        if not name.startswith("sqlite_"):
            connection.execute(sql)
    made = {row[0] for row in connection.execute("SELECT name FROM main.sqlite_master")}
    if "sqlite_sequence" in names and "sqlite_sequence" not in made:
        connection.execute("CREATE TABLE litekeep_sequence(id INTEGER PRIMARY KEY AUTOINCREMENT)")
        connection.execute("DROP TABLE litekeep_sequence")
    if any(name.startswith("sqlite_stat") for name in names):
        connection.execute("ANALYZE main.sqlite_master")


def _copied(connection: sqlite3.Connection, table: Content, progress: Progress) -> list[str]:
    """Copy its rows, then compare them with what stands in the new file, to the bit."""
    name = quoted(table.name)
    if (
        table.name.startswith("sqlite_stat")
        and not connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (table.name,)).fetchone()
    ):
        # Statistics of another build of SQLite; ANALYZE makes them anew.
        return []
    order = f"ORDER BY {quoted(table.rowid)}" if table.rowid else ""
    try:
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM main.{name}")
        count = connection.execute(
            f"INSERT INTO main.{name}({listed(table.named)}) "
            f"SELECT {listed(table.named)} FROM {OLD}.{name} {table.alone} {order}"
        ).rowcount
        connection.execute("COMMIT")
        progress.rows(f"rebuild {table.name}", count)
        same = _same_rows(connection, table)
        there = connection.execute(f"SELECT count(*) FROM main.{name} NOT INDEXED").fetchone()[0]
    except sqlite3.Error as problem:
        if sqlitefail.is_full(problem):
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [f"table {table.name}: {problem}"]
    if (same, there) != (count, count):
        return [f"table {table.name}: {count} rows were read, {there} could be written, {same} of them the same"]
    return []


def _same_rows(connection: sqlite3.Connection, table: Content) -> int:
    name = quoted(table.name)
    if not table.identity:
        return int(connection.execute(f"SELECT count(*) FROM {OLD}.{name} {table.alone}").fetchone()[0])
    found = " AND ".join(f"n.{quoted(column)} = o.{quoted(column)}" for column in table.identity)
    kinds, values = (
        " IS ".join("(" + ", ".join(form.format(f"{side}.{quoted(c)}") for c in table.stored) + ")" for side in "on")
        for form in ("typeof({})", "{} COLLATE BINARY")
    )
    return int(
        connection.execute(
            f"SELECT count(*) FROM {OLD}.{name} AS o {table.alone} CROSS JOIN main.{name} AS n NOT INDEXED ON {found} "
            f"WHERE {kinds} AND {values}"
        ).fetchone()[0]
    )


def make_indexes(connection: sqlite3.Connection, indexes: Sequence[tuple[str, str]]) -> list[str]:
    """Those that cannot be made are told: rows that a UNIQUE index forbids are no rows of a sound table."""
    problems = []
    for name, sql in indexes:
        try:
            connection.execute(sql)
        except sqlite3.Error as problem:
            if sqlitefail.is_full(problem):
                raise
            problems.append(f"index {name}: {problem}")
    return problems


def make_rest(connection: sqlite3.Connection, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """Views, triggers and virtual tables, as VACUUM does: what they need is not looked at, their modules do nothing."""
    connection.execute("PRAGMA writable_schema=ON")
    connection.executemany("INSERT INTO main.sqlite_master VALUES(?, ?, ?, 0, ?)", entries)
    connection.execute("PRAGMA writable_schema=OFF")


def finish(path: str, header: Header) -> None:
    """Give the new file the old journal mode. Nobody has read it before."""
    if header.wal:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _finished(old: str, new: str, header: Header) -> list[str]:
    finish(new, header)
    with (
        contextlib.closing(connect(old, immutable=True)) as one,
        contextlib.closing(connect(new, immutable=True)) as two,
    ):
        schemas = [checks.fingerprint_of(each, count_rows=False).schema_sha256 for each in (one, two)]
    return [] if schemas[0] == schemas[1] else ["the new file has another schema"]
