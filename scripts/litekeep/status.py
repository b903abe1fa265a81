# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a database is protected now. Silence is never green: absent, stale and unverified are findings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from . import moments
from .config import Database, Remote
from .controls import ARCHIVE, CRITICAL, FRESHNESS, SOURCE, VERIFICATION, WARNING, Finding
from .errors import LitekeepError
from .moments import Gap, Window
from .remotestatus import RemoteStatus, remote_status
from .repository import BAD_SOURCE, VERIFIED, Catalogue, Repository
from .source import identify
from .timefmt import duration_text, now, to_text
from .timeline import Timeline

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
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Status:
    """One database's protection.

    findings: what is wrong, each with its next step; empty means protected. age: seconds since the newest
    verified backup. archive: None where nothing is or was archived. exit_code: 0, 3 (something is wrong), 4 (nothing to
    restore) or 8 (no source). timelines: of the archive. windows, gaps: which moments can be restored.
    """

    database: str
    path: str
    catalogue: Catalogue
    age: float | None
    findings: tuple[Finding, ...]
    exit_code: int
    archive: ArchiveStatus | None = None
    remotes: tuple[RemoteStatus, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    windows: tuple[Window, ...] = ()
    gaps: tuple[Gap, ...] = ()


def status_of(repository: Repository, database: Database, remotes: Sequence[Remote] = (), here: bool = True) -> Status:
    """Look at the source and at the catalogue. Changes nothing.

    here: whether this is the host of the database; elsewhere there is no source, and no archiver to look for. Without
    an objective of the user a backup is stale after 26 hours: a day and two hours of grace.
    """
    catalogue = repository.catalogue(database.name)
    findings: list[Finding] = []
    exit_code = 0
    if here:
        findings, exit_code = _source(database)
    age = _age(catalogue)
    timelines = repository.timelines(database.name)
    windows = moments.windows(catalogue, timelines)
    gaps = moments.gaps(windows)
    archive = None
    if timelines or (database.archive and here):
        running = here and repository.is_archiving(database.name)
        trouble = _archiver(database, timelines, running) if here else []
        trouble = [*_timelines(timelines, windows), *trouble, *_recent(gaps, repository.restores(database.name))]
        archive = ArchiveStatus(
            running,
            timelines[-1].id if timelines else None,
            windows[-1].end if windows else None,
            len(gaps),
            tuple(trouble),
        )
        findings += archive.findings
    away = tuple(remote_status(repository, database, remote, catalogue, timelines) for remote in remotes)
    findings += [finding for each in away for finding in each.findings]
    if age is None:
        what = "there is no restore point"
        findings.append(Finding(FRESHNESS, CRITICAL, what, f"litekeep backup {database.name}"))
        exit_code = exit_code or 4
    else:
        findings += _freshness(database, age)
    findings += _bad_backups(catalogue) + _unread(database, catalogue)
    exit_code = exit_code or (3 if findings else 0)
    return Status(
        database.name,
        database.path,
        catalogue,
        age,
        tuple(findings),
        exit_code,
        archive,
        away,
        tuple(timelines),
        tuple(windows),
        tuple(gaps),
    )


def _source(database: Database) -> tuple[list[Finding], int]:
    try:
        identify(database.path)
    except LitekeepError as problem:
        what = f"{problem.what} ({problem.found})"
        return [Finding(SOURCE, CRITICAL, what, f"litekeep restore {database.name}")], problem.exit_code
    return [], 0


def _timelines(timelines: Sequence[Timeline], windows: Sequence[Window]) -> list[Finding]:
    """What the stored archive itself tells."""
    findings = [
        Finding(ARCHIVE, CRITICAL, f"the archive is damaged: {problem}")
        for timeline in timelines
        for problem in timeline.problems[:3]
    ]
    newest = timelines[-1] if timelines else None
    hangs = newest is not None and bool(windows) and windows[-1].timeline.id == newest.id
    if newest is not None and not hangs and not newest.problems:
        what = f"the timeline {newest.id} has no base backup yet, so it restores nothing"
        findings.append(Finding(ARCHIVE, WARNING, what))
    return findings


def _archiver(database: Database, timelines: Sequence[Timeline], running: bool) -> list[Finding]:
    unit = f"litekeep-archive@{database.name}.service"
    if not running:
        silent = Finding(ARCHIVE, CRITICAL, "the archive does not run", f"systemctl status {unit}")
        return [silent] if database.archive else []
    newest = timelines[-1] if timelines else None
    findings = []
    if newest is not None and newest.trouble:
        findings.append(Finding(ARCHIVE, WARNING, f"the archive: {newest.trouble}"))
    late = _ARCHIVE_LATE + 3 * database.archive_settings.heartbeat
    if newest is not None and (now() - newest.until).total_seconds() > late:
        what = f"the archive has recorded nothing since {to_text(newest.until)}"
        findings.append(Finding(ARCHIVE, CRITICAL, what, f"journalctl -u {unit}"))
    return findings


def _recent(gaps: Sequence[Gap], restores: Sequence[dt.datetime]) -> list[Finding]:
    """New gaps. Whoever restored a database knows of the gap that it makes."""
    return [
        Finding(
            ARCHIVE,
            WARNING,
            f"no moment from {to_text(gap.start)} to {to_text(gap.end)} can be restored: {gap.reason}",
        )
        for gap in gaps
        if (now() - gap.end).total_seconds() < _GAP_IS_NEWS and not any(gap.start <= t <= gap.end for t in restores)
    ]


def _age(catalogue: Catalogue) -> float | None:
    newest = catalogue.newest
    if newest is None or newest.manifest is None:
        return None
    return (now() - newest.manifest.snapshot).total_seconds()


def _freshness(database: Database, age: float) -> list[Finding]:
    limit = DEFAULT_RPO if database.rpo is None else database.rpo
    if age < 0:
        what = "the newest verified backup is from the future; this host's clock was wrong, or is"
        return [Finding(FRESHNESS, WARNING, what, "timedatectl")]
    if age <= limit:
        return []
    what = f"the newest verified backup is {duration_text(age)} old, the objective is {duration_text(limit)}"
    return [Finding(FRESHNESS, CRITICAL, what, f"systemctl status litekeep-backup@{database.name}.timer")]


def _bad_backups(catalogue: Catalogue) -> list[Finding]:
    """Backups that do not count. A damaged source is history once a verified backup follows it."""
    findings = []
    for position, backup in enumerate(catalogue.backups):
        followed = any(later.state == VERIFIED for later in catalogue.backups[position + 1 :])
        if backup.state != VERIFIED and not (backup.state == BAD_SOURCE and followed):
            what = f"backup {backup.id} does not count ({backup.state}): {backup.problem}"
            findings.append(Finding(VERIFICATION, WARNING if followed else CRITICAL, what))
    return findings


def _unread(database: Database, catalogue: Catalogue) -> list[Finding]:
    newest = catalogue.newest
    read = newest.last_verified if newest else None
    if read is None or (now() - read).total_seconds() <= _VERIFY_EVERY:
        return []
    what = f"the newest backup was last read {to_text(read)}"
    return [Finding(VERIFICATION, WARNING, what, f"litekeep verify {database.name}")]
