# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Undelete: rows that were there at a moment and are not there now, put back into the live database.

What is there now is never overwritten. The comparison runs beside the application; only what is missing is written
under the lock, in one transaction (see ``putback``).
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, replace

from . import cells
from .config import Database
from .difference import Pair, has_content, why_not_told_apart
from .errors import BusyError, UsageError, VerificationError
from .missing import Task, Undeleted, number_of, rows_of
from .planner import Point
from .progress import Progress
from .putback import PutBack
from .repository import Repository
from .scratch import restored_beside
from .source import identify, refuse_foreign_sidecars
from .tables import Table, folded, in_order_of_references, listed, quoted, tables_of
from .writing import SAFE, connected, mentioned_by_triggers, transaction

WHAT = "Undelete"


@dataclass(frozen=True)
class Wish:
    """What to put back. tables: only these, empty for all. triggers: ``fire`` or ``skip``.

    foreign_keys: rows that would point nowhere stay out. dry_run: do it all, and take it back.
    """

    to: str
    tables: tuple[str, ...] = ()
    nearest: bool = False
    triggers: str = "fire"
    foreign_keys: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was done. triggers: those that fired. others: rows that they wrote, search indexes included."""

    point: Point
    tables: tuple[Undeleted, ...]
    triggers: tuple[str, ...]
    others: int

    @property
    def put_back(self) -> int:
        """Rows of all tables."""
        return sum(table.put_back for table in self.tables)


def undelete(repository: Repository, database: Database, wish: Wish, progress: Progress) -> Outcome:
    """Put back what is missing.

    Raises what ``restore`` and ``writing`` raise; VerificationError when triggers change or keep out what is put back,
    when rows would point to a table that was not asked for, or when the database is damaged; BusyError when the
    schema changes meanwhile. Then nothing was changed.
    """
    # What can be refused at once is, before gigabytes are restored.
    refuse_foreign_sidecars(identify(database.path))
    with (
        restored_beside(repository, database, wish.to, progress, wish.nearest) as beside,
        connected(database, WHAT, past=beside.path) as connection,
    ):
        connection.text_factory = cells.text_or_bytes
        version = _schema_version(connection)
        look = _Look(connection, database, wish)
        tasks = [look.at(number, name) for number, name in enumerate(look.chosen())]
        fire = wish.triggers == "fire"
        work = PutBack(connection, tasks, look.now, fire=fire, foreign_keys=wish.foreign_keys)
        # Without triggers all that is written is put back here and its keys are looked up; with them, SQLite watches.
        watched = wish.foreign_keys and bool(work.triggers)
        with transaction(connection, database, WHAT, wish.dry_run, watched):
            if _schema_version(connection) != version:
                raise _schema_changed(database)
            work.run()
            if wish.dry_run:
                connection.execute("ROLLBACK")
        return Outcome(beside.point, tuple(task.found for task in tasks), work.triggers, work.others)


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA main.schema_version").fetchone()[0])


def _schema_changed(database: Database) -> BusyError:
    return BusyError(
        f"The schema of {database.path} changed while it was compared",
        expected="the same tables until the end",
        found="another process made, dropped or altered one",
        safe=SAFE,
        next_step="run the same command again",
    )


class _Look:
    """Finds what is missing, without a lock that anybody waits for."""

    def __init__(self, connection: sqlite3.Connection, database: Database, wish: Wish) -> None:
        self.connection, self.database, self.wish = connection, database, wish
        self.past = tables_of(connection, "past")
        self.now = {folded(name): table for name, table in tables_of(connection).items()}

    def chosen(self) -> list[str]:
        """The tables: parents before their children, and what triggers write to before the tables that have these."""
        names = [
            name
            for name, table in self.past.items()
            if table.kind != "shadow" and (has_content(table) or table.unreadable or folded(name) not in self.now)
        ]
        if self.wish.tables:
            by_folded = {folded(name): name for name in names}
            unknown = [name for name in self.wish.tables if folded(name) not in by_folded]
            if unknown:
                raise UsageError(
                    f"There was no table {unknown[0]!r} at that moment",
                    expected=f"one of: {', '.join(names) or 'none'}",
                    safe="nothing was changed",
                    next_step="correct --table, or choose another moment",
                )
            names = [by_folded[folded(name)] for name in self.wish.tables]
        first = {
            name: replace(table, references=(*table.references, *self._named_by_triggers(name)))
            for name, table in self.past.items()
        }
        return in_order_of_references(first, names)

    def _named_by_triggers(self, name: str) -> list[str]:
        if self.wish.triggers != "fire":
            return []
        return [n for n in mentioned_by_triggers(self.connection, name, self.past) if n != name]

    def at(self, number: int, name: str) -> Task:
        """One table."""
        table, now = self.past[name], self.now.get(folded(name))
        task = Task(number, table, Undeleted(name))
        if table.unreadable or (now and now.unreadable):
            task.found.note = f"only the application can read it: {table.unreadable or (now and now.unreadable)}"
        elif now is None:
            self._look_for_lost(task)
        else:
            self._look_for_missing(task, Pair.of(self.connection, table, now))
        if task.found.note:
            task.found.note += f"; to see its rows of then: litekeep export {self.database.name} --table '{name}' "
            task.found.note += f"--at {self.wish.to}"
        return task

    def _look_for_lost(self, task: Task) -> None:
        """The table itself is gone."""
        name, found = task.table.name, task.found
        taken = self.connection.execute(
            "SELECT type FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (name,)
        ).fetchone()
        successor = "" if self.wish.tables else self._renamed(task.table)
        alone = Pair.of(self.connection, task.table, task.table, "past", "past")
        if not alone.table.key:
            found.note = why_not_told_apart(self.connection, alone)
        elif taken:
            found.note = f"its name belongs to {'an' if taken[0] == 'index' else 'a'} {taken[0]} now"
        elif successor:
            found.note = f"it is called {successor} now; --table '{name}' makes it again all the same"
        else:
            found.made_again = True
            if task.table.index_of is None:
                task.remember(self.connection, f"FROM past.{quoted(name)} AS o")
                found.sample = rows_of(self.connection, task.table.all, f"FROM past.{quoted(name)} AS o")

    def _renamed(self, table: Table) -> str:
        """A table that was not there then, has the same definition but its name, and has some of the rows."""
        known = {folded(name) for name in self.past}
        for name, now in self.now.items():
            if name not in known and table.kind == "table" and _body(now.sql) == _body(table.sql):
                pair = Pair(table, replace(now, name=table.name))
                sql = f"SELECT 1 FROM past.{quoted(table.name)} AS o JOIN main.{quoted(now.name)} AS n "
                if (
                    pair.table.key
                    and self.connection.execute(
                        f"{sql} ON {pair.same_key()} WHERE {pair.same_content()} LIMIT 1"
                    ).fetchone()
                ):
                    return now.name
        return ""

    def _look_for_missing(self, task: Task, pair: Pair) -> None:
        connection, found = self.connection, task.found
        task.pair = pair
        found.note = why_not_told_apart(connection, pair)
        if pair.lost_columns and not found.note:
            found.note = f"it has no column {', '.join(pair.lost_columns)} any more"
        if found.note:
            return
        task.remember(connection, pair.gone())
        if found.missing:
            self._require_sound(pair.now)
        found.sample = rows_of(connection, pair.table.all, task.then)
        found.changed = number_of(connection, pair.changed())
        found.changed_keys = rows_of(connection, pair.table.key, pair.changed()) if found.changed else []

    def _require_sound(self, table: Table) -> None:
        """A damaged index hides rows that are there, and they would come twice."""
        if table.kind != "table":
            return
        # Before SQLite 3.33 this looks at the whole database.
        found = self.connection.execute(f"PRAGMA main.integrity_check({quoted(table.name)})").fetchmany(3)
        if found != [("ok",)]:
            raise VerificationError(
                f"The table {table.name} of {self.database.path} is damaged",
                expected="integrity_check answers ok",
                found="; ".join(str(row[0]) for row in found),
                safe=SAFE,
                next_step="the playbook recover_corruption.yml brings it back; then run the same command again",
            )


def _body(sql: str) -> str:
    """A table's definition without its name."""
    return re.sub(r"\s+", " ", sql[sql.find("(") :]) if "(" in sql else listed([sql])
