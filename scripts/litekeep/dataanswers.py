# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The operations on rows and on damage as both front ends call them. See ``answers``."""

from __future__ import annotations

from dataclasses import asdict

from . import clean, repair, since, undelete
from .answers import Values, backup_values, point_values, restored_values
from .commits import Commits, State, commits_around
from .config import Database
from .difference import Difference
from .export import Export, Exported, Request, export
from .importer import Order, import_files
from .progress import Progress
from .repository import Repository
from .timefmt import to_text
from .triage import triage
from .undelete import Wish


def export_answer(
    repository: Repository, database: Database, request: Request, output: str | None, progress: Progress
) -> Values:
    """Export a table into a file, or all into a folder."""
    done = export(repository, database, request, output, progress)
    return {"database": database.name, "changed": True, **_export_values(done)}


def _export_values(done: Export) -> Values:
    return {
        "state": done.state,
        "moment": done.moment,
        "files": [_file_values(file) for file in done.files],
        "skipped": dict(done.skipped),
    }


def _file_values(file: Exported) -> Values:
    used = file.range
    return {
        "table": file.table,
        "path": file.path or None,
        "rows": file.rows,
        "sha256": file.sha256,
        "range": {
            "column": used.column,
            "unit": used.unit.words,
            "from": used.start,
            "to": used.end,
            "lower": used.lower,
            "upper": used.upper,
            "left_out": file.left_out,
        }
        if used
        else None,
    }


def since_answer(
    repository: Repository, database: Database, moment: str, folder: str, request: Request, progress: Progress
) -> Values:
    """Export what came after a moment into a folder."""
    done = since.export_since(repository, database, moment, folder, request, progress)
    return {
        "database": database.name,
        "changed": True,
        "point": point_values(done.point),
        "state": done.came.state,
        "moment": done.came.moment,
        "files": [_file_values(file) for file in done.came.files],
        "changed_rows": [_file_values(file) for file in done.changed.files],
        "skipped": {**done.came.skipped, **done.changed.skipped},
        "differences": [difference_values(each) for each in done.differences if not each.is_none],
    }


def difference_values(each: Difference) -> Values:
    """What differs in one table."""
    return asdict(each)


def import_answer(database: Database, order: Order, progress: Progress) -> Values:
    """Import files."""
    done = import_files(database, order, progress)
    return {
        "database": database.name,
        "changed": any(each.created or each.inserted or each.replaced for each in done),
        "dry_run": order.dry_run,
        "files": [{**asdict(each), "triggers": list(each.triggers)} for each in done],
    }


def undelete_answer(repository: Repository, database: Database, wish: Wish, progress: Progress) -> Values:
    """Put back what is missing."""
    done = undelete.undelete(repository, database, wish, progress)
    return {
        "database": database.name,
        "changed": done.put_back > 0 or any(table.made_again for table in done.tables),
        "dry_run": wish.dry_run,
        "point": point_values(done.point),
        "tables": [asdict(table) for table in done.tables],
        "put_back": done.put_back,
        "triggers": list(done.triggers),
        "rows_of_triggers": done.others,
    }


def commits_answer(repository: Repository, database: Database, around: str, within: int, progress: Progress) -> Values:
    """Where rows went."""
    found: Commits = commits_around(repository, database, around, within, progress)
    return {
        "database": database.name,
        "from": to_text(found.start),
        "to": to_text(found.end),
        "commits": found.commits,
        "states": [_state_values(state) for state in found.states],
        "falls": [
            {
                "table": fall.table,
                "rows": fall.rows,
                "gone": fall.gone,
                "looks": fall.looks,
                "before": _state_values(fall.before),
                "after": _state_values(fall.after),
            }
            for fall in found.falls
        ],
    }


def _state_values(state: State) -> Values:
    return {"point": state.point, "observed": to_text(state.observed), "rows": dict(state.rows)}


def triage_answer(repository: Repository, database: Database, progress: Progress) -> Values:
    """What is wrong with the live database."""
    found = triage(repository, database, progress)
    return {
        "database": database.name,
        "path": database.path,
        "damage": found.damage,
        "meaning": found.meaning,
        "messages": list(found.messages),
        "rows": dict(found.rows),
    }


def repair_answer(
    repository: Repository, database: Database, method: str, target: str | None, progress: Progress
) -> Values:
    """A new database out of a damaged one."""
    done = repair.repair(repository, database, method, progress, target)
    return {
        "database": database.name,
        "action": method,
        "changed": True,
        "result": restored_values(done.restored),
        "rows": dict(done.rows),
        "against": done.against or None,
        "differences": [difference_values(each) for each in done.differences if not each.is_none],
    }


def prepare_clean_answer(repository: Repository, database: Database, target: str | None, progress: Progress) -> Values:
    """Build the newest state that passes its checks."""
    chosen, done, refused = clean.prepare_clean(repository, database, progress, target)
    return {
        "database": database.name,
        "action": "prepare",
        "changed": True,
        "plan": {
            "backup": backup_values(chosen.backup),
            "point": point_values(chosen.point),
            "target": chosen.target,
            "refused": refused,
        },
        "result": {**restored_values(done), "point": point_values(chosen.point)},
    }
