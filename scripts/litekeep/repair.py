# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Repair: a new database out of a damaged one. ``reindex`` loses nothing; ``salvage`` reads out what can be read.

Never in place: the new file is built and checked beside, and the damaged files go into quarantine.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import checks, difference, integrity
from .config import Database
from .copies import copy_of, copy_set, graft, remove_set, settle
from .difference import Difference
from .errors import LitekeepError, SourceError, UsageError, VerificationError
from .files import require_space, sync_file
from .fileset import FileSet
from .openers import refuse_openers
from .ownership import attributes_of
from .progress import Progress
from .repository import VERIFIED, Backup, Repository
from .restore import Restored, at_work, fingerprint_values, install, mark_proven, units
from .salvage import salvage
from .scratch import restored_beside
from .source import connect
from .sqlitefail import DamagedError
from .swap import STEPS as SWAP_STEPS
from .swaprecovery import recover
from .triage import what_is_lost
from .workspace import BUILDING, Journal, Workspace

METHODS = ("reindex", "salvage")
STEPS = (
    "repair: workspace made",
    "repair: copied",
    "repair: built",
    "repair: proven",
    *SWAP_STEPS,
    "restore: workspace removed",
)
SAFE = "the damaged database is as it was; the backups stand"


@dataclass(frozen=True)
class Repaired:
    """What was made. rows: of each table. against: the backup that it was compared with, empty for none.

    differences: from that backup to the new file.
    """

    restored: Restored
    rows: dict[str, int | None]
    against: str = ""
    differences: tuple[Difference, ...] = ()


def repair(
    repository: Repository,
    database: Database,
    method: str,
    progress: Progress,
    target: str | None = None,
    compare: bool = True,
) -> Repaired:
    """Make the new file, and put it in the damaged one's place; or, with a target, at that free path.

    compare: with the newest backup, table by table. The notes of the result say what could not be read. Raises
    InUseError when a process has the database open, VerificationError when nothing sound comes out, or when
    ``reindex`` would lose rows, SpaceError.
    """
    if method not in METHODS:
        raise UsageError(f"{method!r} is no way to repair", expected=f"one of: {', '.join(METHODS)}")
    source = os.path.realpath(database.path)
    place = source if target is None else os.path.realpath(target)
    if target is not None and FileSet(place).present():
        raise UsageError(
            f"{place} already exists", expected="a free path", safe=SAFE, next_step="choose another --target"
        )
    refuse_openers(source, units(database))
    with at_work(place, "Repair") as workspace:
        notes = [note for note in (recover(workspace),) if note]
        if "" not in FileSet(source).present():
            raise SourceError(
                f"{database.path} does not exist", safe=SAFE, next_step=f"litekeep restore {database.name}"
            )
        workspace.empty()
        workspace.write(Journal(BUILDING, f"{method} of {source}"))
        progress.step(STEPS[0])
        room = 2 * sum(os.path.getsize(source + suffix) for suffix in FileSet(source).present())
        require_space({workspace.folder: room}, SAFE)
        if method == "reindex":
            _reindexed(database, workspace, progress)
        else:
            notes += _salvaged(repository, database, workspace, progress)
        found = _checked(database, workspace.new, notes)
        against, differences = _compared(repository, database, workspace.new) if compare else ("", ())
        notes += attributes_of(source).apply(workspace.new)
        sync_file(workspace.new)
        progress.step(STEPS[2])
        mark_proven(workspace, f"{method} of {source}", fingerprint_values(found))
        progress.step(STEPS[3])
        restored = install(workspace, repository, database, notes, progress)
    return Repaired(restored, dict(found.rows), against, differences)


def _damaged(workspace: Workspace) -> str:
    return os.path.join(workspace.folder, "damaged.db")


def _reindexed(database: Database, workspace: Workspace, progress: Progress) -> None:
    """Out of the tables alone, and only when that loses nothing."""
    damaged = _damaged(workspace)
    try:
        copied = copy_of(database, damaged, progress)
        progress.step(STEPS[1])
        lost, _unreadable = what_is_lost(damaged, workspace.new, copied, integrity.look(damaged), progress)
    except (DamagedError, SourceError) as problem:
        lost = [str(problem).splitlines()[0]]
    if lost:
        raise VerificationError(
            f"{database.path} has more damaged than its indexes",
            expected="tables that can be read to their end, and indexes that know of no other rows",
            found="; ".join(lost[:3]),
            safe=SAFE,
            next_step=f"litekeep restore {database.name}, or litekeep repair {database.name} --method salvage",
        )
    remove_set(damaged)


def _salvaged(repository: Repository, database: Database, workspace: Workspace, progress: Progress) -> list[str]:
    """Page by page. Returns what could not be read."""
    damaged = _damaged(workspace)
    notes: list[str] = []
    try:
        copied = copy_of(database, damaged, progress)
        notes += [*copied.lost, *copied.mended]
    except (DamagedError, SourceError) as problem:
        notes += _grafted(repository, database, damaged, str(problem).splitlines()[0])
    progress.step(STEPS[1])
    try:
        notes += salvage(damaged, workspace.new, progress)
    except (DamagedError, sqlite3.Error) as problem:
        raise VerificationError(
            f"Nothing could be read out of {database.path}",
            found=str(problem),
            safe=SAFE,
            next_step=f"litekeep list {database.name}, then litekeep restore {database.name}",
        ) from problem
    remove_set(damaged)
    return notes


def _grafted(repository: Repository, database: Database, damaged: str, why: str) -> list[str]:
    """SQLite cannot open it: with the first page of the newest backup, what is behind that page can be read."""
    source = os.path.realpath(database.path)
    remove_set(damaged)
    copy_set(source, damaged)
    newest = _newest(repository, database)
    if newest is not None:
        with restored_beside(repository, database, newest.id, Progress()) as (past, _point):
            if graft(damaged, past):
                why += f"; its first page was taken from the backup {newest.id}"
    notes = [why]
    try:
        notes += settle(damaged)
    except DamagedError as problem:
        # Not even the WAL can be brought in: read out what stands in the file.
        notes.append(f"without its WAL or journal: {problem}")
        for suffix in FileSet(damaged).sidecars():
            os.unlink(damaged + suffix)
    return notes


def _checked(database: Database, path: str, notes: list[str]) -> checks.Fingerprint:
    """Its fingerprint. Notes get what does not keep it from being a sound database."""
    report = checks.check(path, threading.Event())
    if report.passed and report.fingerprint is not None:
        notes += [f"foreign key violations in {message}" for message in report.foreign_keys.messages]
        return report.fingerprint
    raise VerificationError(
        f"What was made out of {database.path} does not pass its checks",
        expected="integrity_check answers ok",
        found="; ".join(report.integrity.messages[:3]),
        safe=SAFE,
        next_step=f"litekeep restore {database.name}, or litekeep repair {database.name} --method salvage",
    )


def _newest(repository: Repository, database: Database) -> Backup | None:
    found: Sequence[Backup] = [b for b in repository.catalogue(database.name).backups if b.state == VERIFIED][-1:]
    return found[0] if found else None


def _compared(repository: Repository, database: Database, path: str) -> tuple[str, tuple[Difference, ...]]:
    """The differences from the newest restore point to the new file; none when there is no restore point."""
    newest = _newest(repository, database)
    if newest is None:
        return "", ()
    try:
        with (
            restored_beside(repository, database, newest.id, Progress()) as (past, _point),
            contextlib.closing(connect(path, immutable=True)) as connection,
        ):
            connection.execute("ATTACH ? AS past", (f"file:{urllib.parse.quote(os.fsencode(past))}?immutable=1",))
            return newest.id, tuple(difference.compare(connection))
    except (sqlite3.Error, LitekeepError) as problem:
        why = str(problem).splitlines()[0]
        return newest.id, (replace(Difference(""), gone=None, note=f"the comparison failed: {why}"),)
