# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a database is protected now. Silence is never green: absent, stale and unverified are findings."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from . import moments
from .config import Database
from .errors import LitekeepError
from .repository import BAD_SOURCE, VERIFIED, Catalogue, Repository
from .source import identify
from .timefmt import duration_text, now, to_text

DEFAULT_RPO = 26 * 3600
_VERIFY_EVERY = 15 * 86400
_ARCHIVE_LATE = 30
_GAP_IS_NEWS = 86400


@dataclass(frozen=True)
class ArchiveStatus:
    """How the archive stands. proven_until: the last moment that can be restored. gaps: how many are recorded."""

    running: bool
    timeline: str | None
    proven_until: dt.datetime | None
    gaps: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """One database's protection.

    findings: what is wrong, each with its next step; empty means protected. age: seconds since the newest
    verified backup. archive: None where nothing is or was archived. exit_code: 0, 3 (something is wrong), 4 (nothing to
    restore) or 8 (no source).
    """

    database: str
    path: str
    catalogue: Catalogue
    age: float | None
    findings: tuple[str, ...]
    exit_code: int
    archive: ArchiveStatus | None = None


def status_of(repository: Repository, database: Database) -> Status:
    """Look at the source and at the catalogue. Changes nothing.

    Without an objective of the user a backup is stale after 26 hours: a day and two hours of grace.
    """
    catalogue = repository.catalogue(database.name)
    findings: list[str] = []
    exit_code = 0
    try:
        identify(database.path)
    except LitekeepError as problem:
        findings.append(f"{problem.what} ({problem.found}); restore it: litekeep restore {database.name}")
        exit_code = problem.exit_code
    age = _age(catalogue)
    archive = _archive(repository, database, catalogue)
    findings += archive.findings if archive else ()
    if age is None:
        findings.append(f"there is no restore point; take one: litekeep backup {database.name}")
        return Status(database.name, database.path, catalogue, None, tuple(findings), exit_code or 4, archive)
    findings += _freshness(database, age) + _bad_backups(database, catalogue) + _unread(database, catalogue)
    exit_code = exit_code or (3 if findings else 0)
    return Status(database.name, database.path, catalogue, age, tuple(findings), exit_code, archive)


def _archive(repository: Repository, database: Database, catalogue: Catalogue) -> ArchiveStatus | None:
    timelines = repository.timelines(database.name)
    if not timelines and not database.archive:
        return None
    windows = moments.windows(catalogue, timelines)
    gaps = moments.gaps(windows)
    running = repository.is_archiving(database.name)
    unit = f"litekeep-archive@{database.name}.service"
    findings = [f"the archive is damaged: {problem}" for timeline in timelines for problem in timeline.problems[:3]]
    if database.archive and not running:
        findings.append(f"the archive does not run; look at: systemctl status {unit}")
    newest = timelines[-1] if timelines else None
    hangs = newest is not None and bool(windows) and windows[-1].timeline.id == newest.id
    if newest is not None and not hangs and not newest.problems:
        findings.append(f"the timeline {newest.id} has no base backup yet, so it restores nothing")
    if running and newest is not None and newest.trouble:
        findings.append(f"the archive: {newest.trouble}")
    late = _ARCHIVE_LATE + 3 * database.archive_settings.heartbeat
    if running and newest is not None and (now() - newest.until).total_seconds() > late:
        findings.append(
            f"the archive has recorded nothing since {to_text(newest.until)}; look at: journalctl -u {unit}"
        )
    restores = repository.restores(database.name)
    recent = [
        gap
        for gap in gaps
        # Whoever restored a database knows of the gap that it makes.
        if (now() - gap.end).total_seconds() < _GAP_IS_NEWS and not any(gap.start <= t <= gap.end for t in restores)
    ]
    findings += [
        f"no moment from {to_text(gap.start)} to {to_text(gap.end)} can be restored: {gap.reason}" for gap in recent
    ]
    return ArchiveStatus(
        running, newest.id if newest else None, windows[-1].end if windows else None, len(gaps), tuple(findings)
    )


def _age(catalogue: Catalogue) -> float | None:
    newest = catalogue.newest
    if newest is None or newest.manifest is None:
        return None
    return (now() - newest.manifest.snapshot).total_seconds()


def _freshness(database: Database, age: float) -> list[str]:
    limit = DEFAULT_RPO if database.rpo is None else database.rpo
    if age < 0:
        return ["the newest verified backup is from the future; check this host's clock"]
    if age <= limit:
        return []
    late = f"the newest verified backup is {duration_text(age)} old, the objective is {duration_text(limit)}"
    return [f"{late}; look at: systemctl status litekeep-backup@{database.name}.timer"]


def _bad_backups(database: Database, catalogue: Catalogue) -> list[str]:
    """Backups that do not count. A damaged source is history once a verified backup follows it."""
    findings = []
    for position, backup in enumerate(catalogue.backups):
        healed = any(later.state == VERIFIED for later in catalogue.backups[position + 1 :])
        if backup.state != VERIFIED and not (backup.state == BAD_SOURCE and healed):
            findings.append(f"backup {backup.id} does not count ({backup.state}): {backup.problem}")
    return findings


def _unread(database: Database, catalogue: Catalogue) -> list[str]:
    newest = catalogue.newest
    read = newest.last_verified if newest else None
    if read is None or (now() - read).total_seconds() <= _VERIFY_EVERY:
        return []
    return [f"the newest backup was last read {to_text(read)}; run: litekeep verify {database.name}"]
