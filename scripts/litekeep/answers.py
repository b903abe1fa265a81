# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The operations as both front ends call them: policy in, plain values out (JSON, or a module's results).

Published form: ``docs/schemas/answer-1.schema.json``. Sizes in bytes, times RFC 3339 in UTC, durations in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import backup as backups
from . import moments
from . import restore as restores
from . import verify as verifications
from .checks import Report
from .config import Database, Remote
from .moments import Window
from .planner import Point
from .progress import Progress
from .remotestatus import RemoteStatus
from .repository import Backup, Catalogue, Repository
from .restore import Plan, Restored
from .status import ArchiveStatus, Status, status_of
from .timefmt import from_text, now, text_or_none, to_text
from .timeline import Timeline

Values = dict[str, object]


def backup_values(backup: Backup) -> Values:
    """One backup of a catalogue."""
    manifest = backup.manifest
    return {
        "id": backup.id,
        "state": backup.state,
        "problem": backup.problem,
        "path": backup.folder,
        "type": manifest.type if manifest else None,
        "snapshot": to_text(manifest.snapshot) if manifest else None,
        "size": manifest.size if manifest else None,
        "stored_size": manifest.stored_size if manifest else None,
        "rows": dict(manifest.part("rows")) if manifest else {},
        "warnings": manifest.values.get("warnings", []) if manifest else [],
        "last_verified": text_or_none(backup.last_verified),
    }


def listing(repository: Repository, database: str) -> Values:
    """All backups and timelines of one database, oldest first, and which moments can be restored."""
    timelines = repository.timelines(database)
    return catalogue_values(repository.catalogue(database), timelines)


def catalogue_values(catalogue: Catalogue, timelines: Sequence[Timeline] = ()) -> Values:
    """What was found of one database."""
    newest = catalogue.newest
    windows = moments.windows(catalogue, timelines)
    return {
        "database": catalogue.database,
        "newest": newest.id if newest else None,
        "restore_points": len(catalogue.restore_points),
        "backups": [backup_values(backup) for backup in catalogue.backups],
        "timelines": [_timeline_values(timeline, windows) for timeline in timelines],
        "windows": [
            {"from": to_text(window.start), "to": to_text(window.end), "timeline": window.timeline.id}
            for window in windows
        ],
        "gaps": [
            {"from": to_text(gap.start), "to": to_text(gap.end), "reason": gap.reason} for gap in moments.gaps(windows)
        ],
    }


def _timeline_values(timeline: Timeline, windows: Sequence[Window]) -> Values:
    own = [window for window in windows if window.timeline.id == timeline.id]
    return {
        "id": timeline.id,
        "number": timeline.number,
        "state": "damaged" if timeline.problems else timeline.state,
        "problem": "; ".join(timeline.problems),
        "started": to_text(timeline.started),
        "reason": timeline.reason,
        "base": own[0].bases[0][1].id if own else None,
        "from": to_text(own[0].start) if own else None,
        "to": to_text(own[-1].end) if own else None,
        "segments": len(timeline.segments),
        "commits": sum(segment.commits for segment in timeline.segments),
        "stored_size": timeline.stored_size,
    }


def point_values(point: Point) -> Values:
    """A restore point: what was asked for, what it is, what comes next."""
    return {
        "id": point.id,
        "requested": text_or_none(point.requested),
        "recovered": to_text(point.recovered),
        "next": text_or_none(point.next),
        "last_commit_observed": text_or_none(point.observed),
        "timeline": point.timeline,
        "segments": len(point.segments),
        "base": point.backup.id,
    }


def status_values(status: Status) -> Values:
    """One database's protection."""
    newest = status.catalogue.newest
    return {
        "database": status.database,
        "path": status.path,
        "healthy": not status.findings,
        "findings": [str(finding) for finding in status.findings],
        "newest": backup_values(newest) if newest else None,
        "age": None if status.age is None else round(status.age, 3),
        "restore_points": len(status.catalogue.restore_points),
        "backups": len(status.catalogue.backups),
        "stored_size": sum(b.manifest.stored_size for b in status.catalogue.backups if b.manifest),
        "archive": _archive_values(status.archive) if status.archive else None,
        "remotes": [_remote_values(remote) for remote in status.remotes],
        "exit_code": status.exit_code,
    }


def _remote_values(remote: RemoteStatus) -> Values:
    return {
        "remote": remote.remote,
        "until": text_or_none(remote.until),
        "success": text_or_none(remote.success),
        "lag": None if remote.lag is None else round(remote.lag, 3),
        "missing": list(remote.missing),
        "problem": "; ".join(map(str, remote.findings)),
    }


def _archive_values(archive: ArchiveStatus) -> Values:
    return {
        "running": archive.running,
        "timeline": archive.timeline,
        "proven_until": text_or_none(archive.proven_until),
        "problem": "; ".join(map(str, archive.findings)),
        "gaps": archive.gaps,
    }


def backup(
    repository: Repository, database: Database, progress: Progress, max_age: int | None = None, dry_run: bool = False
) -> Values:
    """Take a backup when one is due. ``changed`` says whether one was (or, on a dry run, would be) taken."""
    if dry_run:
        intent = backups.plan(repository, database, max_age)
        taken = intent.newest
    else:
        intent, taken = backups.ensure(repository, database, progress, max_age)
    return {
        "database": database.name,
        "changed": intent.needed,
        "reason": intent.reason,
        "backup": backup_values(taken) if taken else None,
        "checks": dict(taken.manifest.part("checks")) if taken and taken.manifest else {},
        "seconds": _seconds(taken) if intent.needed and not dry_run else 0.0,
    }


def _seconds(taken: Backup | None) -> float:
    times = taken.manifest.part("times") if taken and taken.manifest else {}
    return (from_text(str(times["finished"])) - from_text(str(times["started"]))).total_seconds() if times else 0.0


def verify(
    repository: Repository,
    database: Database,
    progress: Progress,
    backup_id: str | None = None,
    everything: bool = False,
) -> Values:
    """Read the stored bytes of the newest backup, of one, or of all."""
    catalogue = repository.catalogue(database.name)
    chosen = verifications.select(catalogue, backup_id, everything)
    results = verifications.verify_backups(repository, database.name, chosen, progress)
    archive = () if backup_id else verifications.verify_archive(repository, database.name, everything, progress)
    newest = repository.catalogue(database.name).newest
    # All of them: what was bad when it was taken is no news, as long as a restore point stands.
    passed = all(result.intact for result in results) if everything else all(result.passed for result in results)
    return {
        "database": database.name,
        "passed": passed and newest is not None and not any(result.problem for result in archive),
        "results": [result.to_json() for result in results],
        "archive": [result.to_json() for result in archive],
        "newest": newest.id if newest else None,
    }


def verify_live(database: Database) -> Values:
    """Check the live database."""
    report: Report = verifications.verify_live(database)
    return {
        "database": database.name,
        "path": database.path,
        "passed": report.passed,
        "integrity": report.integrity.to_json(),
        "foreign_keys": report.foreign_keys.to_json(),
        "rows": dict(report.fingerprint.rows) if report.fingerprint else {},
    }


def status(repository: Repository, database: Database, remotes: Sequence[Remote] = ()) -> Values:
    """How the database is protected now."""
    return status_values(status_of(repository, database, remotes))


def restore(
    repository: Repository,
    database: Database,
    progress: Progress,
    to: str = "latest",
    target: str | None = None,
    action: str = "restore",
    nearest: bool = False,
    timeline: str | None = None,
) -> Values:
    """Plan (``plan``), build beside (``prepare``), or build and swap (``restore``)."""
    plan = restores.plan(repository, database, to, target, nearest, timeline)
    done: Restored | None = None
    if action == "prepare":
        done = restores.prepare(repository, database, plan, progress)
    elif action == "restore":
        done = restores.restore(repository, database, plan, progress)
    return {
        "database": database.name,
        "action": action,
        "changed": not (action == "prepare" and plan.prepared),
        "plan": _plan_values(plan),
        "result": {**restored_values(done), "point": point_values(plan.point)} if done else None,
    }


def discard(database: Database, target: str | None = None, dry_run: bool = False) -> Values:
    """Give up a prepared restore. Nothing there: nothing changed."""
    folder = restores.prepared_workspace(database, target)
    if folder and not dry_run:
        restores.discard(database, target)
    return {
        "database": database.name,
        "action": "discard",
        "changed": bool(folder),
        "plan": {"target": target or database.path, "from": folder or None},
        "result": None,
    }


def rollback(database: Database, progress: Progress, target: str | None = None, dry_run: bool = False) -> Values:
    """Put back what the last restore replaced."""
    source = restores.last_quarantine(database, target)
    done = None if dry_run else restores.rollback(database, progress, target)
    return {
        "database": database.name,
        "action": "rollback",
        "changed": True,
        "plan": {"target": target or database.path, "from": source},
        "result": restored_values(done) if done else None,
    }


def _plan_values(plan: Plan) -> Values:
    return {
        "backup": backup_values(plan.backup),
        "point": point_values(plan.point),
        "target": plan.target,
        "replaces": list(plan.replaces),
        "in_use_by": [str(opener) for opener in plan.in_use.openers],
        "hidden_processes": plan.in_use.hidden,
        "prepared": plan.prepared,
        "age": round((now() - plan.point.recovered).total_seconds(), 3),
    }


def restored_values(restored: Restored) -> Values:
    """What a restore or a rollback did."""
    return {
        "target": restored.target,
        "backup": restored.point,
        "quarantine": restored.quarantine or None,
        "swapped": restored.swapped,
        "notes": list(restored.notes),
    }
