# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Export: rows of a table, or of a range of time of it, into a file that can be proven and imported again."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from . import cells, sqlitefail
from .config import Database
from .errors import SourceError, UsageError, VerificationError
from .exportfile import FORMATS, Header, Writer
from .exportfolder import SAFE, file_name, filled, require_free
from .files import storage_errors
from .progress import Progress
from .repository import Repository
from .scratch import LIVE, State, state_at
from .tables import Table, folded, listed, quoted, tables_of
from .timecolumn import Range, range_of
from .timefmt import now, to_text

_TELL_EVERY = 10_000


@dataclass(frozen=True)
class Request:
    """What to export.

    table: None for all. at: ``live``, or a restore point as ``restore`` takes it. start, end: of the range, RFC 3339
    with an offset or values as the column has them; half-open. column: that holds the times; None for the one that the
    policy names. unit: of timecolumn.UNITS, None to find it out. level: of zstd, None for an uncompressed file. plain:
    without the header record.
    """

    table: str | None = None
    at: str = LIVE
    nearest: bool = False
    start: str | None = None
    end: str | None = None
    column: str | None = None
    unit: str | None = None
    format: str = "jsonl"
    level: int | None = None
    plain: bool = False

    @property
    def suffix(self) -> str:
        """Of the names of its files."""
        return f".{self.format}" + ("" if self.level is None else ".zst")


@dataclass(frozen=True)
class Exported:
    """One file. path: empty for standard output. left_out: of a range, rows that hold no usable time."""

    table: str
    path: str
    rows: int
    sha256: str
    range: Range | None = None
    left_out: int = 0


@dataclass(frozen=True)
class Export:
    """All files of one request. state: ``live`` or the id of a restore point; moment: whose state it is (RFC 3339).

    skipped: tables that are not among them, and why.
    """

    state: str
    moment: str
    files: tuple[Exported, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)


def export(
    repository: Repository, database: Database, request: Request, output: str | None, progress: Progress
) -> Export:
    """Export one table into the file ``output``, standard output when it is None; or all into a folder of that name.

    Raises UsageError (no such table or column, the output is taken), what ``state_at`` raises, SpaceError.
    """
    if request.format not in FORMATS:
        raise UsageError(f"{request.format!r} is no format", expected=f"one of: {', '.join(FORMATS)}")
    with readable(database.name), state_at(repository, database, request.at, progress, request.nearest) as state:
        return export_state(state, database, request, output, progress)


def export_state(
    state: State,
    database: Database,
    request: Request,
    output: str | None,
    progress: Progress,
    where: Mapping[str, str] | None = None,
) -> Export:
    """The same out of a state that is open. where: conditions in SQL on the row ``n``, by table."""
    with readable(database.name):
        tables = tables_of(state.connection)
        work = _Work(state, database, request, progress, where or {}, _moment(state))
        if request.table is not None:
            files = (work.into(find_table(tables, request.table, database.name), output),)
            return Export(work.label, work.moment, files)
        if output is None:
            raise UsageError(
                f"Several tables of {database.name} cannot go to standard output",
                expected="--table, or --output with a folder",
                found=f"tables: {', '.join(tables) or 'none'}",
                next_step=f"litekeep export {database.name} --output FOLDER",
            )
        return work.all_into(tables, output)


@dataclass
class _Work:
    state: State
    database: Database
    request: Request
    progress: Progress
    where: Mapping[str, str]
    moment: str

    @property
    def label(self) -> str:
        return self.state.point.id if self.state.point else LIVE

    def all_into(self, tables: Mapping[str, Table], folder: str) -> Export:
        """Every table that has a content of its own, each in a file that bears its name."""
        files: list[Exported] = []
        skipped = {}
        with filled(folder) as place:
            for name, table in tables.items():
                why = self._why_not(table)
                if why:
                    skipped[name] = why
                else:
                    files.append(self.into(table, os.path.join(place, file_name(name) + self.request.suffix)))
        files = [replace(file, path=os.path.join(folder, os.path.basename(file.path))) for file in files]
        return Export(self.label, self.moment, tuple(files), skipped)

    def _why_not(self, table: Table) -> str:
        if table.kind == "shadow":
            return "it belongs to a virtual table"
        if table.unreadable:
            return table.unreadable
        if table.index_of is not None:
            return f"an index over {table.index_of or 'what is not stored'}"
        ranged = self.request.start is not None or self.request.end is not None
        if ranged and self._column(table) is None:
            return "no column of it is known to hold times (time_columns, --time-column)"
        return ""

    def _column(self, table: Table) -> str | None:
        names = {folded(column.name) for column in table.columns}
        if self.request.column is not None:
            every = self.request.table is None
            return self.request.column if not every or folded(self.request.column) in names else None
        return next((c for t, c in self.database.time_columns.items() if folded(t) == folded(table.name)), None)

    def into(self, table: Table, output: str | None) -> Exported:
        """One table into one file."""
        if table.unreadable:
            raise _unreadable(table)
        if output is not None:
            require_free(output)
        chosen = self._range(table)
        conditions, values = ([], []) if chosen is None else ([chosen.condition()[0]], chosen.condition()[1])
        if table.name in self.where:
            conditions.append(self.where[table.name])
        condition = " AND ".join(f"({part})" for part in conditions) or "1"
        left_out = 0 if chosen is None else self._count(table, chosen.unusable())
        header = self._header(table, chosen, left_out)
        place = os.path.dirname(os.path.abspath(output)) if output else tempfile.gettempdir()
        with contextlib.ExitStack() as stack:
            with storage_errors(f"Export of {table.name}", place, SAFE):
                path = output or os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "export")
                with Writer(path, header, self.request.plain, self.request.level) as writer:
                    self._write(table, condition, values, writer)
                    rows, sha256 = writer.finish()
            if output is None:
                _print(path)
        return Exported(table.name, output or "", rows, sha256, chosen, left_out)

    def _range(self, table: Table) -> Range | None:
        request = self.request
        if request.start is None and request.end is None:
            return None
        column = self._column(table)
        if column is None:
            raise UsageError(
                f"Which column of {table.name} holds times is not known",
                expected="time_columns in the database's policy, or --time-column",
                found=f"columns: {', '.join(column.name for column in table.columns)}",
                safe="nothing was changed",
                next_step="name it: --time-column",
            )
        return range_of(self.state.connection, table, column, request.start, request.end, request.unit)

    def _write(self, table: Table, condition: str, values: list[int | float | str], writer: Writer) -> None:
        wanted, exact = cells.read_exactly(self.state.connection, [quoted(name) for name in table.all])
        # By key, so that two exports of one state are the same file. A range comes as an index gives it: sorting it
        # would cost more than finding it.
        sorted_by = table.key if table.kind == "table" and not values else ()
        order = f" ORDER BY {listed(sorted_by)}" if sorted_by else ""
        rows = self.state.connection.execute(
            f"SELECT {wanted} FROM main.{quoted(table.name)} AS n WHERE {condition}{order}", values
        )
        for row in rows:
            writer.write(exact(row))
            if writer.rows % _TELL_EVERY == 0:
                self.progress.rows(f"export {table.name}", writer.rows)

    def _count(self, table: Table, condition: str, values: list[int | float | str] | None = None) -> int:
        sql = f"SELECT count(*) FROM main.{quoted(table.name)} AS n WHERE {condition}"
        return int(self.state.connection.execute(sql, values or []).fetchone()[0])

    def _header(self, table: Table, chosen: Range | None, left_out: int) -> Header:
        declared = {column.name: column.declared for column in table.columns}
        values: dict[str, object] = {
            "database": self.database.name,
            "state": {"id": self.label, "moment": self.moment},
            "range": None,
        }
        if chosen is not None:
            values["range"] = {
                "column": chosen.column,
                "unit": chosen.unit.words,
                "from": chosen.start,
                "to": chosen.end,
                "lower": chosen.lower,
                "upper": chosen.upper,
                "left_out": left_out,
            }
        return Header(
            format=self.request.format,
            table=table.name,
            fields=table.all,
            types=tuple(declared.get(name, "INTEGER") for name in table.all),
            generated=tuple(column.name for column in table.columns if column.generated),
            key=table.key,
            by_rowid=table.by_rowid,
            without_rowid=table.without_rowid,
            strict=table.strict,
            encoding=str(self.state.connection.execute("PRAGMA encoding").fetchone()[0]),
            values=values,
        )


def _print(path: str) -> None:
    """Write the file to standard output. Raises BrokenPipeError when nobody reads on."""
    with storage_errors("Export", "standard output", SAFE):
        try:
            with open(path, "rb") as file:
                sys.stdout.flush()
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.flush()
        except BrokenPipeError:
            pass
        else:
            return
    raise BrokenPipeError


def find_table(tables: Mapping[str, Table], name: str, database: str) -> Table:
    """The table of that name, as SQLite compares names. Raises UsageError."""
    for table in tables.values():
        if folded(table.name) == folded(name):
            return table
    raise UsageError(
        f"{database} has no table {name!r}",
        expected=f"one of: {', '.join(tables) or 'none, the database is empty'}",
        safe="nothing was changed",
        next_step="correct the name; a table that is gone is in older states: --at TIME",
    )


def _moment(state: State) -> str:
    return to_text(state.point.recovered if state.point else now())


def _unreadable(table: Table) -> SourceError:
    return SourceError(
        f"{table.name} cannot be read",
        expected="tables that SQLite can read without the application",
        found=table.unreadable,
        safe=SAFE,
        next_step="export the tables that it is made of, or have the application export it",
    )


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """What SQLite cannot read, in words."""
    try:
        yield
    except sqlitefail.DamagedError as problem:
        raise _damaged(name, str(problem)) from problem
    except sqlite3.Error as problem:
        if sqlitefail.is_damage(problem):
            raise _damaged(name, str(problem)) from problem
        raise SourceError(
            f"{name} cannot be read to its end",
            expected="tables that SQLite can read without the application",
            found=str(problem),
            safe=SAFE,
            next_step="name the tables one by one (--table); functions and modules of the application are not here",
        ) from problem


def _damaged(name: str, found: str) -> VerificationError:
    return VerificationError(
        f"{name} is damaged",
        found=found,
        safe=SAFE,
        next_step="export from a restore point (--at latest); recover_corruption.yml brings the database back",
    )
