# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one host, or one repository, answers to an audit: plain values, of which ``fleet`` makes the report."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from . import __version__, prune
from .audit import audit, outcomes
from .auditfacts import Facts, gather
from .config import Config, Database
from .controls import CRITICAL, REACHABLE, Finding
from .errors import LitekeepError
from .hostfindings import drift, uncovered
from .remoteanswers import known_remotes
from .repository import Repository, lines_of
from .timefmt import text_or_none, to_text

Values = dict[str, Any]
HOST = "database host"
SERVER = "backup server"
ANSWERED = "answered"
NEVER_RAN = "never ran"
_SHOWN_DRILLS = 200
ENGINE = "/usr/local/lib/litekeep/litekeep"


def host_answer(
    config: Config,
    roots: Sequence[str] = (),
    exempt: Collection[str] = (),
    installed: str | None = None,
    accepted: Sequence[Values] = (),
) -> Values:
    """What a database host answers: all of its configured databases, and the SQLite files below ``roots``.

    exempt: paths and patterns that need no protection. installed: the configuration file on the host, to compare with.
    accepted: see ``waivers``.
    """
    repository = Repository(config.repository, config.host)
    databases = [
        _answered(repository, database, known_remotes(config, database)) for database in config.databases.values()
    ]
    findings = [*uncovered(config, roots, exempt), *(drift(config, installed) if installed else ())]
    ran = any(os.path.isdir(repository.folder(name)) for name in config.databases)
    if config.databases and not ran:
        what = f"Litekeep has never run here: there is nothing in {os.path.join(config.repository, config.host)}"
        findings.append(Finding(REACHABLE, CRITICAL, what, "ansible-playbook install.yml"))
    state = ANSWERED if ran or not config.databases else NEVER_RAN
    return {
        **blank(config.host, HOST, _engine_version(), findings, state),
        "accepted": list(accepted),
        "databases": databases,
    }


def blank(
    host: str,
    kind: str,
    version: str | None = None,
    findings: Sequence[Finding] = (),
    state: str = ANSWERED,
    problem: str = "",
) -> Values:
    """What every answer has; without databases. version: of Litekeep there, None for who did not answer."""
    return {
        "host": host,
        "kind": kind,
        "state": state,
        "problem": problem,
        "version": version,
        "sqlite": sqlite3.sqlite_version if version else None,
        "findings": [finding.to_json() for finding in findings],
        "databases": [],
    }


def repository_answer(name: str, root: str, policies: dict[tuple[str, str], Database] | None = None) -> Values:
    """What a repository answers for all hosts that it holds, without visiting one. name: of who is asked.

    policies: by host and database; one that is not named has the objectives that Litekeep has without any.
    Raises UsageError when it cannot be read.
    """
    known = policies or {}
    work = [(root, host, database, known.get((host, database))) for host, database in _held(root)]
    # Reading manifests is arithmetic: one process a core, as many as there is work for.
    workers = min(os.cpu_count() or 1, max(1, len(work) // 50))
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            databases = list(pool.map(_held_answer, work, chunksize=25))
    else:
        databases = [_held_answer(each) for each in work]
    return {**blank(name, SERVER, __version__), "databases": databases}


def _held(root: str) -> list[tuple[str, str]]:
    """Hosts and databases of a repository."""
    try:
        hosts = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as problem:
        raise LitekeepError(f"The repository {root} cannot be read", found=str(problem.strerror)) from problem
    return [
        (host, name)
        for host in hosts
        for name in Repository(root, host).databases()
        if not name.startswith(".") and os.path.isdir(os.path.join(root, host, name, "backups"))
    ]


def _held_answer(work: tuple[str, str, str, Database | None]) -> Values:
    root, host, name, policy = work
    return _answered(Repository(root, host), policy or Database(name, ""), (), here=False)


def _answered(repository: Repository, database: Database, remotes: Sequence[Any], here: bool = True) -> Values:
    """One database; what keeps it from being looked at is its finding."""
    try:
        facts = gather(repository, database, remotes, here)
    except (LitekeepError, OSError) as problem:
        finding = Finding(REACHABLE, CRITICAL, f"it could not be looked at: {problem}", "litekeep status")
        return {
            "host": repository.host,
            "database": database.name,
            "path": database.path or None,
            "controls": {REACHABLE.id: CRITICAL},
            "findings": [finding.to_json()],
        }
    return _values(repository, facts)


def _values(repository: Repository, facts: Facts) -> Values:
    status, database = facts.status, facts.database
    findings = audit(facts)
    newest = status.catalogue.newest
    source = newest.manifest.part("source") if newest and newest.manifest else {}
    counted = [backup.manifest for backup in status.catalogue.backups if backup.manifest]
    return {
        "host": facts.host,
        "database": database.name,
        "path": database.path or source.get("path"),
        "controls": outcomes(facts, findings),
        "objectives": {"rpo": database.rpo, "rto": database.rto, "drill_every": database.drill_every},
        "newest": to_text(newest.manifest.snapshot) if newest and newest.manifest else None,
        "size": facts.size or (newest.manifest.size if newest and newest.manifest else 0),
        "stored_size": sum(manifest.stored_size for manifest in counted),
        "proven_until": text_or_none(status.archive.proven_until if status.archive else None),
        "backups": [
            {
                "id": backup.id,
                "time": to_text(backup.moment),
                "state": backup.state,
                "stored_size": backup.manifest.stored_size if backup.manifest else 0,
            }
            for backup in status.catalogue.backups
        ],
        "windows": [{"from": to_text(window.start), "to": to_text(window.end)} for window in status.windows],
        "gaps": [{"from": to_text(gap.start), "to": to_text(gap.end), "reason": gap.reason} for gap in status.gaps],
        "drills": [
            {key: entry.get(key) for key in ("time", "point", "result", "seconds", "in_time")}
            for entry in facts.drills[-_SHOWN_DRILLS:]
        ],
        # What this host believes to be off it, and what retention took away here: for the comparison of both sides.
        "away": {remote.remote: list(remote.missing) for remote in status.remotes},
        "removed": _removed(repository, database.name),
        "findings": [finding.to_json() for finding in findings],
    }


def _removed(repository: Repository, database: str) -> list[str]:
    """Ids of what retention has removed, the last thousand. Lines that cannot be understood are passed over."""
    found = []
    for entry in lines_of(os.path.join(repository.folder(database), prune.HISTORY)):
        removes = entry.get("removes")
        found += (
            [str(item.get("id")) for item in removes if isinstance(item, dict)] if isinstance(removes, list) else []
        )
    return found[-1000:]


def _engine_version() -> str:
    """The version that is installed on this host; of who looks, where none is."""
    return os.path.basename(os.path.dirname(os.path.realpath(ENGINE))) if os.path.islink(ENGINE) else __version__
