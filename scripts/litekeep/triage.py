# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triage: what is wrong with a database, on a copy of it, so that the way to bring it back can be chosen."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass, field, replace

from . import checks, integrity
from .checks import Report
from .config import Database
from .copies import Copied, copy_of
from .errors import SourceError
from .files import require_space, storage_errors
from .fileset import FileSet
from .integrity import Findings
from .pages import read_header
from .progress import Progress
from .proof import lost_rows
from .rebuild import contents, rebuild
from .repository import Repository
from .restore import prepared_workspace
from .scratch import scratch
from .source import connect, identify
from .sqlitefail import DamagedError
from .tables import quoted

SOUND = "sound"
FOREIGN_KEYS = "foreign keys"
INDEX = "index"
PAGES = "pages"
HEADER = "header"
MISSING = "missing"
SAFE = "nothing was changed; the backups stand"

MEANING = {
    SOUND: "nothing is wrong with it that SQLite can see",
    FOREIGN_KEYS: "it is sound; rows point to rows that are not there, which the application has to mend",
    INDEX: "only indexes or free pages are damaged: a new file made out of the tables has every row",
    PAGES: "pages of tables are damaged, or may be: rows are lost or wrong in this file",
    HEADER: "SQLite cannot open it",
    MISSING: "there is no file",
}


@dataclass(frozen=True)
class Triage:
    """What was found. damage: one of MEANING. messages: in words. rows: of the tables that can still be read."""

    damage: str
    messages: tuple[str, ...] = ()
    rows: dict[str, int | None] = field(default_factory=dict)

    @property
    def meaning(self) -> str:
        """In words."""
        return MEANING[self.damage]


def triage(repository: Repository, database: Database, progress: Progress) -> Triage:
    """Find out what is wrong. The application may run; the database is only read, and a copy is worked on.

    Raises SpaceError when there is no room for two copies, BusyError, SourceError when the file may not be read.
    """
    path = os.path.realpath(database.path)
    if "" not in FileSet(path).present() or not os.path.getsize(path):
        return Triage(MISSING, tuple(_missing(database)))
    with scratch(repository, database) as folder, storage_errors(f"Triage of {database.path}", folder, SAFE):
        require_space({folder: 2 * sum(os.path.getsize(path + suffix) for suffix in FileSet(path).present())}, SAFE)
        copy = os.path.join(folder, "copy.db")
        try:
            copied = copy_of(database, copy, progress)
        except (DamagedError, SourceError) as problem:
            return Triage(HEADER, _why(path, problem))
        found = classify(copy, os.path.join(folder, "new.db"), copied, progress)
    return found if found.damage == HEADER else replace(found, messages=(*_overwritten_header(path), *found.messages))


def _overwritten_header(path: str) -> tuple[str, ...]:
    """Page 1 can be damaged on the disk and sound in the WAL, where SQLite reads it."""
    try:
        identify(path)
    except SourceError as problem:
        why = "SQLite reads its first page in the -wal, and the next checkpoint mends the file; backups refuse it"
        return (f"{problem.what}: {problem.found}; {why}",)
    return ()


def _why(path: str, problem: Exception) -> tuple[str, ...]:
    """What SQLite says, and what stands in the place of a header."""
    said = str(problem).splitlines()[0]
    try:
        identify(path)
    except SourceError as other:
        return said, f"{other.what}: {other.found}"
    if isinstance(problem, SourceError):
        # Not its bytes, but the rights of this user, or of the directory.
        raise problem
    return (said,)


def _missing(database: Database) -> list[str]:
    messages = [f"{database.path} {'is empty' if os.path.exists(database.path) else 'does not exist'}"]
    if prepared_workspace(database):
        messages.append(
            f"an interrupted restore waits in {prepared_workspace(database)}: the next one brings back the files"
        )
    return messages


def classify(copy: str, new: str, copied: Copied, progress: Progress) -> Triage:
    """What is wrong with a copy, which is worthless afterwards. new: a free path."""
    report = checks.check(copy, threading.Event())
    if report.passed and copied == Copied():
        damage = SOUND if report.foreign_keys.result == "ok" else FOREIGN_KEYS
        return Triage(damage, tuple(report.foreign_keys.messages), _rows(report))
    found = integrity.look(copy)
    if not _opens(copy):
        return Triage(HEADER, found.words())
    rows = readable_rows(copy)
    lost, unreadable = what_is_lost(copy, new, copied, found, progress)
    return Triage(PAGES if lost else INDEX, (*copied.mended, *lost, *unreadable, *found.words()), rows)


def what_is_lost(
    copy: str, new: str, copied: Copied, found: Findings, progress: Progress
) -> tuple[list[str], list[str]]:
    """Make ``new`` out of the tables of the copy; why it may lack rows, and which indexes cannot be read.

    found: what ``integrity_check`` says. Nothing lost: ``new`` has every row and is sound. Raises SpaceError.
    """
    header = read_header(copy)
    if header is None:
        return ["there is no header that can be read"], []
    lost = [*copied.lost, *rebuild(copy, new, header, progress)]
    if lost:
        return lost, []
    try:
        lost, unreadable = lost_rows(copy, new, found)
    except (sqlite3.Error, DamagedError, UnicodeError) as problem:
        return [f"what is left of the indexes cannot be compared with the tables: {problem}"], []
    return lost or [f"the new file: {line}" for line in integrity.look(new).words()], unreadable


def readable_rows(path: str) -> dict[str, int | None]:
    """Rows of every table that can be read to its end, without its indexes; None where that is not so."""
    found: dict[str, int | None] = {}
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(connect(path, immutable=True)) as connection,
    ):
        for table in contents(connection):
            found[table.name] = None
            with contextlib.suppress(sqlite3.Error):
                count = connection.execute(f"SELECT count(*) FROM {quoted(table.name)} {table.alone}").fetchone()[0]
                found[table.name] = int(count)
    return found


def _opens(path: str) -> bool:
    try:
        with contextlib.closing(connect(path, immutable=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return True


def _rows(report: Report) -> dict[str, int | None]:
    return dict(report.fingerprint.rows) if report.fingerprint else {}
