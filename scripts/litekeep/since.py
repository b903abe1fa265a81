# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What came after a moment: rows that are new since, and rows that are others since, each kind in files of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from .config import Database
from .difference import Difference, Pair, compare, has_content, why_not_told_apart
from .export import Export, Exported, Request, export_state, readable
from .exportfolder import file_name, filled
from .planner import Point
from .progress import Progress
from .repository import Repository
from .scratch import LIVE, State, restored_beside
from .source import open_source
from .tables import folded, quoted, tables_of
from .timefmt import now, to_text
from .writing import attach_past

CHANGED = "changed"


@dataclass(frozen=True)
class Since:
    """came: files of the rows whose key was not there then. changed: of those with another content, in a folder below.

    differences: of every table, from then to now.
    """

    point: Point
    came: Export
    changed: Export
    differences: tuple[Difference, ...]


def export_since(
    repository: Repository, database: Database, moment: str, folder: str, request: Request, progress: Progress
) -> Since:
    """Export what came after the moment into the new folder. Tables without a difference have no file.

    Raises what ``export`` and ``restore`` raise.
    """
    with (
        readable(database.name),
        filled(folder) as beside,
        restored_beside(repository, database, moment, progress, request.nearest) as (path, point),
        open_source(database.path, database.deadline) as source,
    ):
        os.mkdir(os.path.join(beside, CHANGED), 0o700)
        attach_past(source.connection, path)
        if not source.connection.in_transaction:
            # One state, in rollback modes, too: there writers wait.
            source.connection.execute("BEGIN")
        state = State(source.connection, None)
        differences = compare(source.connection)
        came = _part(state, database, request, beside, progress, "came")
        others = _part(state, database, request, os.path.join(beside, CHANGED), progress, "changed")
    return Since(point, _in(folder, came, beside), _in(folder, others, beside), tuple(differences))


def _in(folder: str, export: Export, beside: str) -> Export:
    """The same with the names that the files have in the end."""
    files = [replace(f, path=os.path.join(folder, os.path.relpath(f.path, beside))) for f in export.files]
    return replace(export, files=tuple(files))


def _part(state: State, database: Database, request: Request, folder: str, progress: Progress, kind: str) -> Export:
    """The files of one kind of rows."""
    before = {folded(name): table for name, table in tables_of(state.connection, "past").items()}
    files: list[Exported] = []
    skipped: dict[str, str] = {}
    for name, table in tables_of(state.connection).items():
        if not has_content(table):
            continue
        where = "1" if kind == "came" else "0"
        if folded(name) in before:
            pair = Pair.of(state.connection, before[folded(name)], table)
            why = why_not_told_apart(state.connection, pair)
            if why:
                skipped[name] = why
                continue
            where = pair.is_new() if kind == "came" else pair.is_another()
        if state.connection.execute(f"SELECT 1 FROM main.{quoted(name)} AS n WHERE {where} LIMIT 1").fetchone():
            output = os.path.join(folder, file_name(name) + request.suffix)
            files += export_state(state, database, replace(request, table=name), output, progress, {name: where}).files
    return Export(LIVE, to_text(now()), tuple(files), skipped)
