# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The audit of one database. Pure: facts in, findings out, and for each control whether it holds.

Silence is never green: what was never tried, and what cannot be known, is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .auditfacts import Facts
from .controls import (
    ARCHIVE,
    CRITICAL,
    DRILLS,
    ENCRYPTION,
    FRESHNESS,
    NOTICE,
    OFF_HOST,
    OK,
    RETENTION,
    SEALED,
    SEVERITIES,
    SOURCE,
    SPACE,
    SQLITE,
    VERIFICATION,
    WARNING,
    Control,
    Finding,
)
from .drill import PASSED, waiting_since
from .sqliteversion import FIXED, can_lose_a_reset
from .timefmt import duration_text, size_text

_DAY = 86_400


def audit(facts: Facts) -> list[Finding]:
    """What is wrong with the protection of one database, the worst first."""
    findings = [*facts.status.findings]
    for look in (_retention, _off_host, _sealed, _encryption, _drills, _space, _sqlite):
        findings += look(facts)
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.control.id))


def outcomes(facts: Facts, findings: Sequence[Finding]) -> dict[str, str]:
    """For each control that applies, by id: ``ok``, or the severity of its worst finding."""
    worst = {finding.control.id: finding.severity for finding in reversed(findings)}
    found = {control.id: OK for control in _applying(facts)}
    return dict(sorted({**found, **worst}.items()))


def _applying(facts: Facts) -> Iterable[Control]:
    yield from (FRESHNESS, VERIFICATION, RETENTION, DRILLS, SPACE)
    if facts.status.archive is not None:
        yield ARCHIVE
    if facts.here:
        yield from (SOURCE, OFF_HOST, SQLITE)
    if facts.remotes or not facts.here:
        yield SEALED
    if facts.remotes:
        yield ENCRYPTION


def _retention(facts: Facts) -> list[Finding]:
    database, policy = facts.database, facts.database.retention
    if facts.pins is None:
        what = "its pins cannot be read, so nothing is removed any more"
        return [Finding(RETENTION, CRITICAL, what, f"litekeep prune {database.name} --dry-run")]
    if policy is None:
        what = "it has no retention: every backup stays for ever"
        return [Finding(RETENTION, NOTICE, what, "litekeep prune --help")]
    findings = []
    points = facts.status.catalogue.restore_points
    first = min((b.manifest.snapshot for b in facts.status.catalogue.backups if b.manifest), default=facts.at)
    if len(points) < policy.min_verified and (facts.at - first).total_seconds() > (policy.min_verified + 1) * _DAY:
        what = f"{len(points)} verified backups stand, and never fewer than {policy.min_verified} shall"
        findings.append(Finding(RETENTION, WARNING, what, f"litekeep list {database.name}"))
    if facts.overdue:
        oldest = facts.overdue[0].item.id
        what = f"{len(facts.overdue)} items should have gone and stand, the oldest is {oldest}"
        remedy = f"litekeep prune {database.name}"
        findings.append(Finding(RETENTION, WARNING, what, remedy))
    return findings


def _off_host(facts: Facts) -> list[Finding]:
    if facts.here and not facts.remotes:
        what = "it has no remote: what destroys this host destroys its backups"
        return [Finding(OFF_HOST, WARNING, what, "ansible-playbook install.yml (sqlite_backup_remotes)")]
    return []


def _sealed(facts: Facts) -> list[Finding]:
    findings = [
        Finding(SEALED, NOTICE, f"{remote.name}: whether this host could remove its copies there is not known here")
        for remote in facts.remotes
        if not remote.incoming
    ]
    if facts.exposed:
        what = f"{len(facts.exposed)} stored files can be changed by others than root, for example {facts.exposed[0]}"
        findings.append(Finding(SEALED, CRITICAL, what, "systemctl start litekeep-seal.service"))
    return findings


def _encryption(facts: Facts) -> list[Finding]:
    found = facts.encrypted or {}
    plain = "{}: who has that place can read the backups (rclone's crypt would encrypt them)"
    unknown = "{}: whether the backups there are encrypted is not known; its configuration cannot be read"
    return [
        Finding(ENCRYPTION, NOTICE, (plain if found[name] is False else unknown).format(name))
        for name in sorted(found)
        if not found[name]
    ]


def _drills(facts: Facts) -> list[Finding]:
    database = facts.database
    points = {backup.id: backup for backup in facts.status.catalogue.restore_points}
    standing = {backup.id for backup in facts.status.catalogue.backups}
    if not standing:
        return []
    again = f"litekeep drill {database.name}"
    last: dict[tuple[str, bool], Mapping[str, object]] = {}
    for entry in facts.drills:
        # All newest states of an archive are one thing that is tried over and over.
        last[("" if entry.get("archive") else str(entry.get("backup")), bool(entry.get("archive")))] = entry
    findings = []
    for (backup, archive), entry in last.items():
        if entry.get("result") != PASSED and (archive or backup in standing):
            severity = CRITICAL if archive or backup in points else WARNING
            what = f"the drill of {entry.get('point')} failed: {_first(entry.get('problems'))}"
            findings.append(Finding(DRILLS, severity, what, f"{again} --to {backup}" if backup else again))
    passed = [entry for entry in facts.drills if entry.get("result") == PASSED]
    if not passed:
        oldest = min((backup.moment for backup in points.values()), default=facts.at)
        late = (facts.at - oldest).total_seconds() > database.drill_every
        return [
            *findings,
            Finding(DRILLS, WARNING if late else NOTICE, "no restore was ever tried with success", again),
        ]
    newest = passed[-1]
    findings += _in_time(facts, newest, again)
    since = waiting_since(list(points.values()), passed)
    waiting = [name for name in points if (facts.at - since[name]).total_seconds() > database.drill_every]
    if waiting:
        limit = duration_text(database.drill_every)
        what = f"{len(waiting)} of {len(points)} backups were not drilled within {limit}, the oldest is {waiting[0]}"
        findings.append(Finding(DRILLS, WARNING, what, again))
    return findings


def _in_time(facts: Facts, newest: Mapping[str, object], again: str) -> list[Finding]:
    seconds, rto = newest.get("seconds"), facts.database.rto
    if rto is None or not isinstance(seconds, (int, float)) or seconds <= rto:
        return []
    what = f"the last drill took {duration_text(seconds)}, the objective is {duration_text(rto)}"
    return [Finding(DRILLS, WARNING, what, again)]


def _first(problems: object) -> str:
    return str(problems[0]) if isinstance(problems, list) and problems else "it does not say why"


def _space(facts: Facts) -> list[Finding]:
    newest = facts.status.catalogue.newest
    if not facts.here or newest is None or newest.manifest is None:
        return []
    # The copy, and what it is compressed to. A staging elsewhere is looked at by the backup itself.
    needed = newest.manifest.stored_size + (facts.size if facts.database.staging is None else 0)
    if facts.free >= needed:
        return []
    what = f"the next backup needs {size_text(needed)}, and {size_text(facts.free)} are free"
    return [Finding(SPACE, CRITICAL, what, f"litekeep prune {facts.database.name} --dry-run")]


def _sqlite(facts: Facts) -> list[Finding]:
    if not (facts.wal and can_lose_a_reset(facts.sqlite)):
        return []
    version = ".".join(map(str, facts.sqlite))
    what = f"SQLite {version} can damage a database in WAL mode (a WAL reset beside a checkpoint is lost)"
    return [Finding(SQLITE, NOTICE, what, f"sqlite3 --version (mended in {'.'.join(map(str, FIXED))})")]
