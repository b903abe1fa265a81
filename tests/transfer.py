"""What the tests of export, import and undelete share: content compared to the bit, and short ways to both commands."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Iterable
from pathlib import Path

from litekeep.config import Database
from litekeep.export import Export, Request, export
from litekeep.importer import Imported, Order, import_files
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.tables import Table, quoted, tables_of

Cell = tuple[str, object]


def database(path: Path | str, **policy: object) -> Database:
    """The policy of a database that has no name but its file's."""
    return Database("events", str(path), **policy)  # type: ignore[arg-type]


def exported(source: Path | str, output: Path | str | None, table: str | None = None, **wish: object) -> Export:
    """Export from the live database."""
    policy = {"time_columns": wish.pop("time_columns", {})}
    request = Request(table=table, **wish)  # type: ignore[arg-type]
    repository = Repository(str(Path(source).parent / "repository"), "host")
    name = None if output is None else str(output)
    return export(repository, database(source, **policy), request, name, Progress())


def imported(target: Path | str, *files: Path | str, **order: object) -> list[Imported]:
    """Import into the live database."""
    deadline = {"deadline": order.pop("deadline", 60)}
    return import_files(database(target, **deadline), Order(tuple(map(str, files)), **order), Progress())  # type: ignore[arg-type]


def made(path: Path | str, script: str, encoding: str = "UTF-8") -> Path:
    """A new database."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA encoding = '{encoding}'")
        db.executescript(script)
    return Path(path)


def run(path: Path | str, sql: str, values: Iterable[object] = ()) -> list[tuple[object, ...]]:
    """One statement, committed, as an application would run it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(sql, tuple(values)).fetchall()


def cells_of(db: sqlite3.Connection, table: Table, schema: str = "main") -> list[tuple[Cell, ...]]:
    """Every row of a table in the order of its key, each value as its type and its bytes."""
    parts = [
        f"typeof({q}), CASE typeof({q}) WHEN 'text' THEN CAST({q} AS BLOB) ELSE {q} END" for q in map(quoted, table.all)
    ]
    rows = db.execute(f"SELECT {', '.join(parts)} FROM {schema}.{quoted(table.name)}").fetchall()
    return sorted(
        (tuple(zip(row[::2], (_bits(value) for value in row[1::2]))) for row in rows),
        key=repr,
    )


def _bits(value: object) -> object:
    return struct.pack(">d", value) if isinstance(value, float) else value


def content_of(path: Path | str, only: Iterable[str] | None = None) -> dict[str, list[tuple[Cell, ...]]]:
    """All tables that hold rows of their own, to the bit."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        tables = tables_of(db)
        names = [name for name, table in tables.items() if table.kind != "shadow" and table.index_of is None]
        return {name: cells_of(db, tables[name]) for name in (names if only is None else only)}
