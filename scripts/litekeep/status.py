# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a database is protected now. Silence is never green: absent, stale and unverified are findings."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Database
from .errors import LitekeepError
from .repository import BAD_SOURCE, VERIFIED, Catalogue, Repository
from .source import identify
from .timefmt import duration_text, now, to_text

DEFAULT_RPO = 26 * 3600
_VERIFY_EVERY = 15 * 86400


@dataclass(frozen=True)
class Status:
    """One database's protection.

    findings: what is wrong, each with its next step; empty means protected. age: seconds since the newest
    verified backup. exit_code: 0, 3 (something is wrong), 4 (nothing to restore) or 8 (no source).
    """

    database: str
    path: str
    catalogue: Catalogue
    age: float | None
    findings: tuple[str, ...]
    exit_code: int


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
    if age is None:
        findings.append(f"there is no restore point; take one: litekeep backup {database.name}")
        return Status(database.name, database.path, catalogue, None, tuple(findings), exit_code or 4)
    findings += _freshness(database, age) + _bad_backups(database, catalogue) + _unread(database, catalogue)
    return Status(database.name, database.path, catalogue, age, tuple(findings), exit_code or (3 if findings else 0))


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
