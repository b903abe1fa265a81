# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Putting missing rows back, under the lock: the work grows with what is missing, not with what is there.

Each row of then ends up equal to what it was, or stays out with its reason.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence

from .difference import Pair
from .errors import VerificationError
from .missing import Task, number_of, shown
from .tables import Table, folded, listed, quoted, tables_of
from .writing import SAFE, mentioned_by_triggers, rebuild_indexes, triggers_of, without_triggers

_CONFLICTS = 20
_REFUSED = 1000
_DANGLING = 100_000


class PutBack:
    """The work inside a transaction. now: the tables of the live database, by folded name.

    triggers: those that fire. others: rows that they wrote. foreign_keys: rows that would point nowhere stay out.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        tasks: Sequence[Task],
        now: Mapping[str, Table],
        *,
        fire: bool,
        foreign_keys: bool,
    ) -> None:
        self.connection, self.now = connection, dict(now)
        self.fire, self.foreign_keys = fire, foreign_keys
        self.asked_for = {folded(task.table.name) for task in tasks}
        self.tasks = [task for task in tasks if task.found.missing or task.found.made_again]
        self.kept = [task.table.name for task in self.tasks if not task.found.made_again]
        self.triggers = tuple(triggers_of(connection, self.kept, "INSERT")) if fire else ()
        self.others = 0

    def run(self) -> None:
        """Write what is missing, and prove it. Raises VerificationError, sqlite3.Error."""
        for task in self.tasks:
            if task.pair is not None:
                self._meet_newcomers(task, task.pair)
        self._tell_of_contentless()
        with contextlib.nullcontext() if self.fire else without_triggers(self.connection, self.kept):
            while True:
                self.connection.execute("SAVEPOINT attempt")
                self._insert_all()
                dangling = self._dangling() if self.foreign_keys else []
                if not dangling:
                    break
                # Rows that point to others that cannot come back stay out, too: once more, without them.
                self.connection.execute("ROLLBACK TO attempt")
                for task, parents in dangling:
                    self._leave_out(task, parents)
            self.connection.execute("RELEASE attempt")
        for task in self.tasks:
            task.found.conflicts += task.reasons
            del task.found.conflicts[_CONFLICTS:]
        written = [task.table.name for task in self.tasks if not task.found.note]
        rebuild_indexes(self.connection, written, attended=self.kept if self.fire else ())

    def _meet_newcomers(self, task: Task, pair: Pair) -> None:
        """Between the comparison and the lock, somebody may have written rows with the same keys: those stay."""
        name = quoted(pair.now.name)
        met = f"{task.then} JOIN main.{name} AS n ON {pair.same_key()}"
        same = number_of(self.connection, f"{met} WHERE {pair.same_content()}")
        gone = self.connection.execute(f"DELETE FROM {task.missing} WHERE rowid IN (SELECT m.rowid {met})").rowcount
        task.found.missing -= gone
        task.found.changed += gone - same

    def _tell_of_contentless(self) -> None:
        contentless = [table.name for table in self.now.values() if table.index_of == ""]
        for task in self.tasks:
            if task.table.index_of == "":
                task.found.conflicts.append("an index without content: only the application can fill it again")
            elif not self.fire and task.pair is not None:
                task.found.conflicts += [
                    f"the index {name} has no content of its own: only the application can add these rows to it"
                    for name in mentioned_by_triggers(self.connection, task.table.name, contentless)
                ]

    def _insert_all(self) -> None:
        # All tables first: they may point to each other, and triggers may write to them.
        for task in self.tasks:
            if task.found.made_again:
                self.connection.execute(task.table.sql)
                made = self.now[folded(task.table.name)] = tables_of(self.connection)[task.table.name]
                task.pair = Pair.of(self.connection, task.table, made)
        before, written = self.connection.total_changes, 0
        for task in self.tasks:
            task.reasons.clear()
            if not task.found.note:
                written += self._bring(task)
        self.others = self.connection.total_changes - before - written if self.triggers else 0
        for task in self.tasks:
            if not task.found.note and task.found.missing:
                self._prove(task)

    def _bring(self, task: Task) -> int:
        """One table. Where its columns would change the rows, it is left alone."""
        connection, found = self.connection, task.found
        connection.execute("SAVEPOINT one_table")
        written = self._insert(task) if found.missing else 0
        if found.made_again:
            self._finish(task)
        if found.missing and not self._own_triggers(task):
            _count, there, equal = self._counts(task)
            if there > equal:
                connection.execute("ROLLBACK TO one_table")
                found.note = f"its columns are others now: {there - equal} rows would not be what they were"
                written = 0
        connection.execute("RELEASE one_table")
        return written

    def _insert(self, task: Task) -> int:
        """The missing rows. Those that a constraint refuses stay out: they are found by halving."""
        task.refused = 0
        last = self.connection.execute(f"SELECT max(rowid) FROM {task.missing}").fetchone()[0]
        return self._insert_part(task, 1, last or 0)

    def _insert_part(self, task: Task, first: int, last: int) -> int:
        self.connection.execute("SAVEPOINT part")
        try:
            return self.connection.execute(self._insertion(task, first, last)).rowcount
        except sqlite3.IntegrityError as problem:
            # RAISE(ROLLBACK), or ON CONFLICT ROLLBACK: all is gone already.
            if not self.connection.in_transaction:
                raise
            self.connection.execute("ROLLBACK TO part")
            if first == last:
                task.refused += 1
                if task.refused > _REFUSED:
                    raise _too_many(task.table.name, str(problem)) from problem
                return 0
        finally:
            if self.connection.in_transaction:
                self.connection.execute("RELEASE part")
        middle = (first + last) // 2
        return self._insert_part(task, first, middle) + self._insert_part(task, middle + 1, last)

    def _insertion(self, task: Task, first: int, last: int, strict: bool = False) -> str:
        # Virtual tables know no upsert ("UPSERT", section 3). Never OR IGNORE elsewhere: triggers would inherit it.
        pair = task.there
        virtual = pair.now.kind == "virtual"
        name, columns = quoted(pair.now.name), pair.columns
        verb = "INSERT OR ABORT" if strict else "INSERT OR IGNORE" if virtual else "INSERT"
        return (
            f"{verb} INTO main.{name} ({listed(columns)}) SELECT {listed(columns, 'o.')} {task.then} "
            f"WHERE m.rowid BETWEEN {first} AND {last} "
            f"AND NOT EXISTS (SELECT 1 FROM main.{name} AS n WHERE {pair.same_key()})"
            f"{'' if virtual or strict else ' ON CONFLICT DO NOTHING'}"
        )

    def _finish(self, task: Task) -> None:
        """Indexes, the last id that was given, and at last triggers, so that none fires for rows that were there."""
        connection, name = self.connection, task.table.name
        given = connection.execute("SELECT 1 FROM past.sqlite_master WHERE name = 'sqlite_sequence'").fetchone()
        row = given and connection.execute("SELECT seq FROM past.sqlite_sequence WHERE name = ?", (name,)).fetchone()
        if row:
            # An id that was given once is not given again ("SQLite Autoincrement", section 3).
            connection.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (name,))
            connection.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", (name, *row))
        for kind, which, sql in connection.execute(
            "SELECT type, name, sql FROM past.sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL "
            "AND tbl_name = ? COLLATE NOCASE ORDER BY type, rowid",
            (name,),
        ).fetchall():
            try:
                connection.execute(sql)
            except sqlite3.OperationalError as problem:
                if "already" not in str(problem):
                    raise
                task.reasons.append(f"{kind} {which}: {problem}")

    def _prove(self, task: Task) -> None:
        """Every row that was put back is what it was; every other one has its reason."""
        count, there, equal = self._counts(task)
        if there > equal:
            raise self._altered(task, there - equal, "would not be what they were: triggers change them")
        task.found.put_back = equal
        if count > there:
            own = self._own_triggers(task)
            if own and (kept_out := self._without(own, lambda: self._insert(task))):
                raise self._altered(task, kept_out, "would stay out: triggers keep them out")
            task.reasons += self._reasons(task)

    def _own_triggers(self, task: Task) -> list[str]:
        """Those that fired for its rows."""
        if not self.fire or task.found.made_again:
            return []
        return triggers_of(self.connection, [task.table.name], "INSERT")

    def _counts(self, task: Task) -> tuple[int, int, int]:
        """Missing rows; those of them that are there again by their key; and those that are what they were."""
        pair = task.there
        key = f"n.{quoted(pair.now.key[0])}"
        count, there, equal = self.connection.execute(
            f"SELECT count(*), count({key}), total({key} IS NOT NULL AND {pair.same_content()}) {task.then} "
            f"LEFT JOIN main.{quoted(pair.now.name)} AS n ON {pair.same_key()}"
        ).fetchone()
        return count, there, int(equal)

    def _without(self, triggers: Sequence[str], work: Callable[[], int]) -> int:
        """What the work would do without these triggers; it is taken back."""
        self.connection.execute("SAVEPOINT what_if")
        try:
            for name in triggers:
                self.connection.execute(f"DROP TRIGGER main.{quoted(name)}")
            return work()
        finally:
            self.connection.execute("ROLLBACK TO what_if")
            self.connection.execute("RELEASE what_if")

    def _reasons(self, task: Task) -> list[str]:
        """Why rows are not there again: SQLite is asked once more, row by row, and says it."""
        pair = task.there
        absent = (
            f"{task.then} WHERE NOT EXISTS (SELECT 1 FROM main.{quoted(pair.now.name)} AS n WHERE {pair.same_key()})"
        )
        own = self._own_triggers(task)
        reasons = []
        for number, *key in self.connection.execute(
            f"SELECT m.rowid, {listed(pair.table.key, 'o.')} {absent} LIMIT {_CONFLICTS}"
        ).fetchall():
            sql = self._insertion(task, number, number, strict=True)
            try:
                self._without(own, lambda sql=sql: self.connection.execute(sql).rowcount)  # type: ignore[misc]
                why = "SQLite leaves it out"
            except sqlite3.IntegrityError as problem:
                why = str(problem)
            reasons.append(f"{shown(pair.table.key, key)}: {why}")
        return reasons

    def _dangling(self) -> list[tuple[Task, dict[int, str]]]:
        """Rows that were put back and point nowhere: by table, their number and the table that they point to."""
        found = []
        for task in self.tasks:
            rows = {} if task.found.note or task.pair is None or not task.found.missing else self._dangling_of(task)
            if len(rows) > _DANGLING:
                raise _dangling_rows(task.table.name, set(rows.values()), f"more than {_DANGLING} rows")
            if rows:
                found.append((task, rows))
        return found

    def _dangling_of(self, task: Task) -> dict[int, str]:
        pair = task.there
        keys: dict[int, list[tuple[str, str, str | None]]] = {}
        pragma = f"PRAGMA main.foreign_key_list({quoted(pair.now.name)})"
        for number, _place, parent, column, to, *_actions in self.connection.execute(pragma).fetchall():
            keys.setdefault(number, []).append((parent, column, to))
        rows: dict[int, str] = {}
        for parts in keys.values():
            parent = self.now.get(folded(parts[0][0]))
            primary = sorted((c for c in parent.columns if c.primary), key=lambda c: c.primary) if parent else []
            targets = [to or (primary[n].name if n < len(primary) else "") for n, (_t, _c, to) in enumerate(parts)]
            points = " AND ".join(f"n.{quoted(column)} IS NOT NULL" for _t, column, _to in parts)
            sql = (
                f"SELECT m.rowid {task.then} CROSS JOIN main.{quoted(pair.now.name)} AS n ON {pair.same_key()} "
                f"WHERE {points}"
            )
            if parent and all(targets):
                same = " AND ".join(f"p.{quoted(to)} = n.{quoted(part[1])}" for to, part in zip(targets, parts))
                sql += f" AND NOT EXISTS (SELECT 1 FROM main.{quoted(parent.name)} AS p WHERE {same})"
            numbers = [row[0] for row in self.connection.execute(f"{sql} LIMIT {_DANGLING + 1}")]
            if numbers and folded(parts[0][0]) not in self.asked_for:
                raise _dangling_rows(task.table.name, {parts[0][0]}, f"{len(numbers)} rows")
            rows.update(dict.fromkeys(numbers, parts[0][0]))
        return rows

    def _leave_out(self, task: Task, parents: Mapping[int, str]) -> None:
        key = task.there.table.key
        for number, parent in parents.items():
            if len(task.found.conflicts) < _CONFLICTS:
                sql = f"SELECT {listed(key, 'o.')} {task.then} WHERE m.rowid = ?"
                label = shown(key, self.connection.execute(sql, (number,)).fetchone())
                task.found.conflicts.append(f"{label}: it points to a row of {parent} that is not there")
            self.connection.execute(f"DELETE FROM {task.missing} WHERE rowid = ?", (number,))

    def _altered(self, task: Task, count: int, words: str) -> VerificationError:
        return VerificationError(
            f"{count} rows of {task.table.name} {words}",
            expected="rows equal to those of then",
            found=f"triggers: {', '.join(self.triggers)}",
            safe=SAFE,
            next_step="add --triggers skip, which leaves the triggers out, and see what else they would have done",
        )


def _too_many(name: str, problem: str) -> VerificationError:
    return VerificationError(
        f"More than {_REFUSED} missing rows of {name} do not fit into it",
        expected="rows that its constraints and triggers allow",
        found=problem,
        safe=SAFE,
        next_step="if a trigger says this: --triggers skip; else change the constraint first, or leave the table out",
    )


def _dangling_rows(name: str, parents: Collection[str], found: str) -> VerificationError:
    return VerificationError(
        f"Missing rows of {name} would point to rows that are not there",
        expected="every foreign key finds its row",
        found=f"{found} to {', '.join(sorted(parents))}",
        safe=SAFE,
        next_step="take these tables along (--table); or --foreign-keys ignore, where the application does",
    )
