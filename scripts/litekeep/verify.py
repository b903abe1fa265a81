# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Verification after the fact: are the stored bytes still those that passed the checks; is the live database sound."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from . import checks, moments, sqlitefail, store
from .checks import Report
from .config import Database
from .errors import LitekeepError, NoRestorePointError, VerificationError
from .progress import Progress
from .repository import BAD_SOURCE, DAMAGED, VERIFIED, Backup, Catalogue, Repository
from .source import open_source
from .timeline import Segment, read_segment


@dataclass(frozen=True)
class Result:
    """What became of one backup: its state now, and why it does not count.

    intact: whether the stored bytes are what was stored; those of a damaged source can be, too.
    recorded: whether the outcome stands in the repository; not where it is read-only or its disk is full.
    """

    id: str
    state: str
    problem: str
    stored_size: int
    seconds: float
    intact: bool
    recorded: bool

    @property
    def passed(self) -> bool:
        """Whether it counts as a restore point."""
        return self.state == VERIFIED

    def to_json(self) -> dict[str, object]:
        """As JSON answers hold it."""
        return {
            "backup": self.id,
            "state": self.state,
            "problem": self.problem,
            "stored_size": self.stored_size,
            "seconds": round(self.seconds, 3),
            "intact": self.intact,
            "recorded": self.recorded,
        }


def select(catalogue: Catalogue, backup_id: str | None, everything: bool) -> list[Backup]:
    """The backups to verify: one by id, all, or the newest that was ever good. NoRestorePointError when none."""
    if backup_id is not None:
        chosen = [backup for backup in catalogue.backups if backup.id == backup_id]
    elif everything:
        chosen = list(catalogue.backups)
    else:
        chosen = [backup for backup in catalogue.backups if backup.state != BAD_SOURCE][-1:]
    if not chosen:
        raise NoRestorePointError(
            f"{catalogue.database} has no backup" + (f" {backup_id!r}" if backup_id else " to verify"),
            found=f"{len(catalogue.backups)} backups",
            next_step=f"litekeep list {catalogue.database}, or take one: litekeep backup {catalogue.database}",
        )
    return chosen


def verify_backups(repository: Repository, database: str, chosen: Iterable[Backup], progress: Progress) -> list[Result]:
    """Read every byte of the chosen backups and remember the outcome in the repository.

    A backup whose source was damaged stays bad, whatever its bytes. A damaged one that reads right again
    (a disk came back) counts again.
    """
    results = []
    with repository.lease(database, progress=progress):
        # What retention removed while it was waited for is not damaged.
        for backup in (backup for backup in chosen if os.path.isdir(backup.folder)):
            begun = time.monotonic()
            state, problem, intact, recorded = backup.state, backup.problem, False, False
            if backup.manifest is not None:
                damage = _damage(backup, progress)
                intact = not damage
                if state != BAD_SOURCE:
                    state, problem = (DAMAGED, damage) if damage else (VERIFIED, "")
                    with contextlib.suppress(OSError):
                        repository.record_verification(database, backup.id, damage)
                        recorded = True
            size = backup.manifest.stored_size if backup.manifest else 0
            results.append(Result(backup.id, state, problem, size, time.monotonic() - begun, intact, recorded))
    return results


def _damage(backup: Backup, progress: Progress) -> str:
    """What is wrong with the stored files; empty when nothing is."""
    for file in backup.manifest.files if backup.manifest else ():
        try:
            for _block in store.read_back(os.path.join(backup.folder, file.name), file, progress):
                pass
        except VerificationError as problem:
            return f"{problem.what}: expected {problem.expected}, found {problem.found}"
    return ""


@dataclass(frozen=True)
class ArchiveResult:
    """What became of one timeline's segments. problem: the first that is not what was archived; empty when all are."""

    timeline: str
    segments: int
    problem: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        """As JSON answers hold it."""
        return {
            "timeline": self.timeline,
            "segments": self.segments,
            "problem": self.problem,
            "seconds": round(self.seconds, 3),
        }


def verify_archive(
    repository: Repository, database: str, everything: bool, progress: Progress
) -> tuple[ArchiveResult, ...]:
    """Read every byte of all timelines' segments, or of those that follow the newest backup."""
    with repository.lease(database, progress=progress):
        timelines = repository.timelines(database)
        windows = moments.windows(repository.catalogue(database), timelines)
        results = []
        for timeline in timelines if everything else timelines[-1:]:
            begun = time.monotonic()
            segments = timeline.segments
            if not everything:
                newest = [window.bases[-1][0] for window in windows if window.timeline.id == timeline.id]
                segments = tuple(segment for segment in segments if not newest or segment.end > newest[-1])
            problem = "; ".join(timeline.problems) or _archive_damage(segments, progress)
            results.append(ArchiveResult(timeline.id, len(segments), problem, time.monotonic() - begun))
        return tuple(results)


def _archive_damage(segments: Iterable[Segment], progress: Progress) -> str:
    for segment in segments:
        try:
            for _block in read_segment(segment, progress):
                pass
        except VerificationError as problem:
            return f"{problem.what}: expected {problem.expected}, found {problem.found}"
    return ""


def verify_live(database: Database) -> Report:
    """Check the live database in one read transaction; the application goes on writing (WAL mode).

    In a rollback-journal mode writers wait while it runs. Raises SourceError, BusyError; VerificationError
    when SQLite cannot read it at all.
    """
    try:
        with open_source(database.path, database.deadline) as source:
            return checks.check_connection(source.connection)
    except sqlitefail.DamagedError as problem:
        raise live_damage(database, str(problem)) from problem


def live_damage(database: Database, found: str) -> LitekeepError:
    """The error for a live database that does not pass."""
    return VerificationError(
        f"The live database {database.path} is damaged",
        expected="integrity_check answers ok",
        found=found,
        safe="nothing was changed; verified backups stand",
        next_step=f"litekeep list {database.name}, stop the application, then: litekeep restore {database.name}",
    )
