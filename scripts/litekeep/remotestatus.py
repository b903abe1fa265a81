# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far the copies off the host are behind, as far as this host knows. Nobody is asked: it takes no network."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from .config import Database, Remote
from .controls import CRITICAL, OFF_HOST, WARNING, Finding
from .push import Memory
from .repository import VERIFIED, Catalogue, Repository
from .timefmt import duration_text, from_text, now, to_text
from .timeline import Timeline

# Seconds: what a push may take before somebody should look.
_ARCHIVE_LATE = 120
_BACKUP_LATE = 6 * 3600


@dataclass(frozen=True)
class RemoteStatus:
    """One remote.

    until: the last commit that arrived was observed by then. success: when all that was here had arrived. lag: seconds
    of commits that have not arrived, None where nothing is archived. missing: verified backups that have not arrived.
    """

    remote: str
    until: dt.datetime | None
    success: dt.datetime | None
    lag: float | None
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]


def remote_status(
    repository: Repository, database: Database, remote: Remote, catalogue: Catalogue, timelines: Sequence[Timeline]
) -> RemoteStatus:
    """Compare what is here with what is known to be there."""
    archive, backups = (Memory(repository, database.name, remote.name, what) for what in ("archive", "backups"))
    arrived = set(backups.names("arrived"))
    missing = [b for b in catalogue.backups if b.state == VERIFIED and b.manifest and b.id not in arrived]
    until = _moment(archive.values.get("until"))
    newest = max((timeline.segments[-1].observed for timeline in timelines if timeline.segments), default=None)
    lag = None if newest is None else 0.0 if until and until >= newest else (now() - (until or newest)).total_seconds()
    unit = f"litekeep-push@{database.name}.service"
    findings = [
        Finding(OFF_HOST, WARNING, f"{remote.name}: {memory.values['trouble']}")
        for memory in (archive, backups)
        if memory.values.get("trouble")
    ]
    if not archive.values and not backups.values:
        what = f"{remote.name}: nothing was ever pushed"
        findings.append(Finding(OFF_HOST, CRITICAL, what, f"systemctl status {unit}"))
    elif lag is not None and lag > max(_ARCHIVE_LATE, 12 * remote.interval):
        what = f"{remote.name}: commits since {to_text(until) if until else 'the beginning'} have not arrived"
        findings.append(Finding(OFF_HOST, WARNING, what, f"journalctl -u {unit}"))
    late = [b for b in missing if b.manifest and (now() - b.manifest.snapshot).total_seconds() > _BACKUP_LATE]
    if late and late[0].manifest:
        age = duration_text((now() - late[0].manifest.snapshot).total_seconds())
        what = f"{remote.name}: {len(late)} backups have not arrived, the oldest is {age} old"
        findings.append(Finding(OFF_HOST, WARNING, what, f"litekeep push {database.name}"))
    success = min(filter(None, (_moment(m.values.get("success")) for m in (archive, backups))), default=None)
    return RemoteStatus(remote.name, until, success, lag, tuple(b.id for b in missing), tuple(findings))


def _moment(value: object) -> dt.datetime | None:
    with contextlib.suppress(ValueError):
        return from_text(value) if isinstance(value, str) else None
    return None
