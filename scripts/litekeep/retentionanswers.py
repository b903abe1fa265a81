# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Retention, pins and holds, as both front ends call them. See ``answers``."""

from __future__ import annotations

import datetime as dt
from typing import Any

from . import pins, prune
from .answers import Values
from .config import Database
from .errors import NoRestorePointError, UsageError
from .progress import Progress
from .repository import Repository
from .retention import Decision, Hold
from .simulate import simulated
from .timefmt import from_text, text_or_none, to_text


def pruned(
    repository: Repository, database: Database, progress: Progress, dry_run: bool = False, expected: str | None = None
) -> Values:
    """Remove what the policy does not keep, if there is one; on a dry run, tell it only.

    expected: the hash of the plan agreed to.
    """
    policy = database.retention
    if policy is None:
        return {"database": database.name, "action": "none", "changed": False}
    if dry_run:
        plan = prune.plan(repository, database.name, policy)
    else:
        plan = prune.prune(repository, database, policy, progress, expected)
    return {
        "database": database.name,
        "action": "plan" if dry_run else "prune",
        "changed": bool(plan.removals),
        "policy": str(policy),
        "plan": plan.hash,
        "freed": plan.freed,
        "items": [_decision(decision) for decision in plan.decisions],
    }


def _decision(decision: Decision) -> dict[str, Any]:
    item = decision.item
    return {
        "kind": item.kind,
        "id": item.id,
        "from": to_text(item.start),
        "to": to_text(item.end),
        "state": item.state,
        "size": item.size,
        "keep": decision.keep,
        "reasons": list(decision.reasons),
    }


def simulation(repository: Repository, database: Database, seconds: int, every: int | None) -> Values:
    """What will stand on each day of that time, if backups go on as they did."""
    policy = database.retention
    if policy is None:
        return {"database": database.name, "action": "none", "changed": False}
    days, interval = simulated(prune.items_of(repository, database.name), policy, seconds, every)
    return {
        "database": database.name,
        "action": "simulate",
        "policy": str(policy),
        "every": interval,
        "days": [
            {
                "day": f"{day.day:%Y-%m-%d}",
                "backups": day.backups,
                "oldest": text_or_none(day.oldest),
                "size": day.size,
                "removed": day.removed,
            }
            for day in days
        ],
    }


def pin(repository: Repository, database: Database, backup_id: str, reason: str, undo: bool) -> Values:
    """Keep a backup whatever the rules say; or no longer."""
    folder = repository.folder(database.name)
    if undo:
        changed = pins.unpin(folder, backup_id)
    else:
        if repository.catalogue(database.name).find(backup_id) is None:
            raise NoRestorePointError(
                f"{database.name} has no backup {backup_id}",
                safe="nothing was changed",
                next_step=f"litekeep list {database.name}",
            )
        changed = backup_id not in pins.read_pins(folder).backups
        pins.pin(folder, backup_id, reason)
    return {"database": database.name, "action": "unpin" if undo else "pin", "backup": backup_id, "changed": changed}


def hold(
    repository: Repository, database: Database, name: str, start: str | None, end: str | None, reason: str
) -> Values:
    """Keep all that is needed for a span of time."""
    wanted = Hold(name, _moment(start, pins.ALWAYS[0], "--from"), _moment(end, pins.ALWAYS[1], "--to"))
    folder = repository.folder(database.name)
    changed = pins.read_pins(folder).hold(name) != wanted
    pins.hold(folder, wanted, reason)
    return {
        "database": database.name,
        "action": "hold",
        "hold": name,
        "from": to_text(wanted.start),
        "to": to_text(wanted.end),
        "changed": changed,
    }


def release(repository: Repository, database: Database, name: str) -> Values:
    """Give up a hold."""
    changed = pins.release(repository.folder(database.name), name)
    return {"database": database.name, "action": "release", "hold": name, "changed": changed}


def _moment(text: str | None, otherwise: dt.datetime, what: str) -> dt.datetime:
    if text is None:
        return otherwise
    try:
        return from_text(text)
    except ValueError as problem:
        raise UsageError(
            f"{what} {text} cannot be used",
            expected="a time with its offset from UTC, such as 2026-11-22T02:00:00Z",
            found=str(problem),
            safe="nothing was changed",
            next_step=f"correct {what}",
        ) from problem
