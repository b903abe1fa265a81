# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drills: a restore into scratch, checked in full, timed, and written down.

``drills/history.jsonl`` keeps what each drill found; it outlives the backups that it speaks of.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import checks, restore, verify
from .config import Database
from .errors import VerificationError
from .files import append_line, private_directory, storage_errors
from .planner import Point
from .progress import Progress
from .repository import Backup, Repository, lines_of
from .scratch import scratch
from .source import connect
from .timefmt import from_text, now, to_text

FOLDER = "drills"
NAME = "history.jsonl"
PASSED = "passed"
FAILED = "failed"
# How often the service runs: what has to be drilled within a time is spread over so many runs.
RUN_EVERY = 86_400
_ASSERTION_SECONDS = 60.0


@dataclass(frozen=True)
class Drilled:
    """What a drill found.

    point: names the state. backup: the one that it was made of. archive: whether the archive had its part in it.
    recovered: the moment whose state it was. problems: why it failed. seconds: of the restore and all checks, which is
    what a restore in place takes without the application's stop and start. size: bytes of the restored file. rto: the
    objective, in seconds. assertions: the user's own, each with what it answered.
    """

    time: dt.datetime
    point: str
    backup: str
    archive: bool
    recovered: dt.datetime
    problems: tuple[str, ...]
    seconds: float
    restore_seconds: float
    size: int
    rto: int | None
    rows: Mapping[str, int | None] = field(default_factory=dict)
    assertions: tuple[Mapping[str, object], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the state could be restored and is what it should be."""
        return not self.problems

    @property
    def in_time(self) -> bool | None:
        """Whether it took no longer than the objective."""
        return None if self.rto is None else self.seconds <= self.rto

    def to_json(self) -> dict[str, object]:
        """As the history holds it."""
        return {
            "time": to_text(self.time),
            "point": self.point,
            "backup": self.backup,
            "archive": self.archive,
            "recovered": to_text(self.recovered),
            "result": PASSED if self.passed else FAILED,
            "problems": list(self.problems),
            "seconds": round(self.seconds, 3),
            "restore_seconds": round(self.restore_seconds, 3),
            "size": self.size,
            "rto": self.rto,
            "in_time": self.in_time,
            "rows": dict(self.rows),
            "assertions": [dict(each) for each in self.assertions],
        }


def history(repository: Repository, database: str) -> list[dict[str, object]]:
    """What former drills found, oldest first. Torn lines of a crash are passed over."""
    return lines_of(os.path.join(repository.folder(database), FOLDER, NAME))


def last_drills(entries: Sequence[Mapping[str, object]]) -> dict[str, dt.datetime]:
    """When each backup was last drilled with success."""
    found: dict[str, dt.datetime] = {}
    for entry in entries:
        with contextlib.suppress(KeyError, ValueError):
            if entry["result"] == PASSED:
                found[str(entry["backup"])] = from_text(str(entry["time"]))
    return found


def waiting_since(points: Sequence[Backup], entries: Sequence[Mapping[str, object]]) -> dict[str, dt.datetime]:
    """Since when each of the backups waits for a drill: since its last one, or else since it was taken."""
    last = last_drills(entries)
    return {b.id: last.get(b.id) or b.moment for b in points}


def due(repository: Repository, database: str, every: int, moment: dt.datetime) -> list[Backup]:
    """The backups that this run has to drill, so that each that is kept is drilled within ``every`` seconds.

    Those whose last drill is the longest ago: so many as there must be in each run, and all that would be overdue
    before the next one.
    """
    points = repository.catalogue(database).restore_points
    since = waiting_since(points, history(repository, database))
    waiting = sorted(points, key=lambda backup: (since[backup.id], backup.order))
    share = math.ceil(len(points) * RUN_EVERY / max(every, RUN_EVERY))
    overdue = moment - dt.timedelta(seconds=max(0, every - RUN_EVERY))
    return [backup for number, backup in enumerate(waiting) if number < share or since[backup.id] <= overdue]


def drill(repository: Repository, database: Database, to: str, progress: Progress) -> Drilled:
    """Restore the state ``to`` (what ``restore`` takes) into scratch, check it, and write down what was found.

    Raises what ``restore.plan`` raises, and SpaceError, BusyError, UsageError: then nothing was found out. What does
    not come back as it should is in ``problems``; a backup whose stored bytes are at fault no longer counts.
    """
    folder = os.path.join(repository.folder(database.name), FOLDER)
    with storage_errors(f"Drill of {database.name}", repository.root, "the backups stand"):
        private_directory(folder)
        with scratch(repository, database) as place:
            path = os.path.join(place, "drill.db")
            # From the choice on, so that retention cannot take away what was chosen.
            with repository.lease(database.name, progress=progress):
                started, begun = now(), time.monotonic()
                plan = restore.plan(repository, database, to, path)
                failed = _restore(repository, database, plan, progress)
            restored = time.monotonic()
            problems, rows, answers = ([failed], {}, []) if failed else _look(database, plan, path)
            done = Drilled(
                time=started,
                point=plan.point.id,
                backup=plan.backup.id,
                archive=bool(plan.point.segments),
                recovered=plan.point.recovered,
                problems=tuple(problems),
                seconds=time.monotonic() - begun,
                restore_seconds=restored - begun,
                size=plan.size,
                rto=database.rto,
                rows=rows,
                assertions=tuple(answers),
            )
        append_line(os.path.join(folder, NAME), done.to_json())
    return done


def _restore(repository: Repository, database: Database, plan: restore.Plan, progress: Progress) -> str:
    """Why the state could not be restored; empty when it was."""
    try:
        restore.restore(repository, database, plan, progress)
    except VerificationError as problem:
        # Whose fault it is, its own bytes tell; then it no longer counts.
        verify.verify_backups(repository, database.name, [plan.backup], progress)
        return f"{problem.what}: {problem.found}" if problem.found else problem.what
    return ""


Found = tuple[list[str], Mapping[str, "int | None"], list[dict[str, object]]]


def _look(database: Database, plan: restore.Plan, path: str) -> Found:
    """Problems of the restored file, its rows per table, and the assertions' answers."""
    report = checks.check(path, threading.Event())
    problems = [f"integrity_check: {message}" for message in report.integrity.messages if not report.passed][:5]
    if not report.passed and not problems:
        problems = ["its tables could not be read"]
    rows = report.fingerprint.rows if report.fingerprint else {}
    problems += _differences(plan.point, rows)
    answers = list(_answers(path, database.assertions)) if report.passed else []
    problems += [f"{answer['sql']}: {answer['problem']}" for answer in answers if answer["problem"]]
    return problems, rows, answers


def _differences(point: Point, rows: Mapping[str, int | None]) -> list[str]:
    """Where the rows are not those that were counted when the backup was taken."""
    if point.segments or point.backup.manifest is None:
        return []
    counted = point.backup.manifest.part("rows")
    return [
        f"table {table} has {rows.get(table)} rows instead of {counted.get(table)}"
        for table in sorted({*counted, *rows})
        if rows.get(table) != counted.get(table)
    ][:5]


def _answers(path: str, assertions: Sequence[str]) -> Iterator[dict[str, object]]:
    """What each assertion answers. It holds when its first value is true."""
    with contextlib.closing(connect(path, immutable=True)) as connection:
        connection.execute("PRAGMA query_only=ON")
        for sql in assertions:
            give_up_at = time.monotonic() + _ASSERTION_SECONDS
            connection.set_progress_handler(functools.partial(_is_past, give_up_at), 100_000)
            value: object = None
            try:
                row = connection.execute(sql).fetchone()
                value = row[0] if row else None
                problem = "" if value not in (None, 0, 0.0, "", "0", b"") else f"answered {value!r}"
            except sqlite3.Error as refused:
                late = time.monotonic() > give_up_at
                problem = f"no answer within {_ASSERTION_SECONDS:.0f} s" if late else str(refused)
            yield {"sql": sql, "value": repr(value), "problem": problem}


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment
