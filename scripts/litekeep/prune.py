# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removing what the policy no longer keeps: the plan first, then one rename after the other, each of them written down.

A removal is a rename to a hidden name; what is left of one that was killed goes with the next run. Whatever becomes
of a run, it has removed whole items only, parts of the archive before what they hang on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import moments, pins, retention
from .config import Database
from .errors import UsageError
from .files import append_line, remove_tree, storage_errors, sync_directory
from .pins import Pins
from .progress import Progress
from .repository import DAMAGED, UNREADABLE, VERIFIED, Backup, Catalogue, Repository
from .retention import ARCHIVE, BACKUP, Decision, Item
from .retentionpolicy import Policy
from .timefmt import now, to_text
from .timeline import Timeline

HISTORY = "retention.jsonl"
REMOVING = ".removing-"
SAFE = "nothing that counts was removed"

# In this order; each is a point where a kill must do no harm.
STEPS = ("prune: planned", "prune: written down", "prune: renamed", "prune: removed", "prune: done")


@dataclass(frozen=True)
class Plan:
    """What stands there and what becomes of it. hash: names this plan; another one has another."""

    database: str
    policy: Policy
    decisions: tuple[Decision, ...]
    hash: str

    @property
    def removals(self) -> tuple[Decision, ...]:
        """What goes, in the order in which it goes: the archive first, and what is newer before what it may hang on."""
        going = [decision for decision in self.decisions if not decision.keep]
        return tuple(sorted(going, key=lambda d: (d.item.kind != ARCHIVE, -d.item.start.timestamp(), -d.item.sequence)))

    @property
    def freed(self) -> int:
        """Bytes that become free."""
        return sum(decision.item.size for decision in self.removals)


def plan(repository: Repository, database: str, policy: Policy, at: dt.datetime | None = None) -> Plan:
    """What a run would do now. Changes nothing. at: now, for who wants to know about another time.

    Raises VerificationError when the pins cannot be read.
    """
    return _plan(repository, database, policy, pins.read_pins(repository.folder(database)), at or now())


def _plan(repository: Repository, database: str, policy: Policy, pinned: Pins, at: dt.datetime) -> Plan:
    decisions = retention.decide(policy, items_of(repository, database), at, pinned.backups, pinned.holds)
    told = [[d.item.kind, d.item.id, d.item.state, d.keep] for d in decisions]
    text = json.dumps([database, str(policy), told], separators=(",", ":"))
    return Plan(database, policy, tuple(decisions), hashlib.sha256(text.encode()).hexdigest()[:16])


def items_of(repository: Repository, database: str) -> list[Item]:
    """What stands in the repository, as the rules see it. A backup whose files are not there is none."""
    # The timelines first: a backup that comes meanwhile hangs on none of them, and is too young to go.
    timelines = repository.timelines(database)
    return items_in(repository.catalogue(database), timelines)


def items_in(catalogue: Catalogue, timelines: Sequence[Timeline]) -> list[Item]:
    """The same, of what was read already."""
    items = [_item(backup) for backup in catalogue.backups]
    points = [backup for backup, item in zip(catalogue.backups, items) if item.state == VERIFIED]
    for timeline in timelines:
        bases = [backup.id for run in timeline.runs for _position, backup in moments.bases_of(run, points)]
        items.append(
            Item(
                ARCHIVE,
                timeline.id,
                timeline.started,
                max(timeline.until, timeline.started),
                UNREADABLE if timeline.problems and not timeline.runs else timeline.state,
                timeline.number,
                bases=tuple(dict.fromkeys(bases)),
                size=timeline.stored_size,
            )
        )
    return items


def _item(backup: Backup) -> Item:
    if backup.manifest is None:
        moment = backup.moment
        return Item(BACKUP, backup.id, moment, moment, backup.state)
    snapshot, state = backup.manifest.snapshot, backup.state
    if state == VERIFIED and missing(backup):
        state = DAMAGED
    return Item(
        BACKUP, backup.id, snapshot, snapshot, state, backup.manifest.sequence, size=backup.manifest.stored_size
    )


def missing(backup: Backup) -> str:
    """What the stored files lack, by a look at their sizes; empty when nothing does."""
    for file in backup.manifest.files if backup.manifest else ():
        path = os.path.join(backup.folder, file.name)
        try:
            size = os.path.getsize(path)
        except OSError as problem:
            return f"{path}: {problem.strerror}"
        if size != file.stored_size:
            return f"{path} has {size} bytes instead of {file.stored_size}"
    return ""


def prune(
    repository: Repository, database: Database, policy: Policy, progress: Progress, expected: str | None = None
) -> Plan:
    """Remove what the policy does not keep. expected: the hash of the plan that was agreed to.

    Raises BusyError while a backup or a restore is under way for longer than the database's deadline, UsageError when
    the plan is not the expected one, VerificationError when the pins cannot be read.
    """
    name, folder = database.name, repository.folder(database.name)
    if not os.path.isdir(folder):
        return plan(repository, name, policy)
    with (
        storage_errors(f"Retention of {name}", repository.root, SAFE),
        repository.writing(name, database.deadline, progress),
        repository.removing(name, database.deadline, progress),
    ):
        _clear(repository, name)
        # A pin that is set while files go would come too late for them, and could not be told so.
        with pins.standing_still(folder) as pinned:
            chosen = _plan(repository, name, policy, pinned, now())
            if expected is not None and chosen.hash != expected:
                raise UsageError(
                    f"The plan for {name} is another one now",
                    expected=expected,
                    found=chosen.hash,
                    safe="nothing was removed",
                    next_step=f"litekeep prune {name} --dry-run",
                )
            progress.step("prune: planned")
            hidden = list(_hide(repository, chosen, progress))
        for path in hidden:
            remove_tree(path)
        progress.step("prune: removed")
        if hidden:
            _write_down(folder, {"action": "done", "plan": chosen.hash})
            progress.step("prune: done")
    return chosen


def _hide(repository: Repository, chosen: Plan, progress: Progress) -> Iterator[str]:
    """Give what goes its hidden name."""
    folder = repository.folder(chosen.database)
    if chosen.removals:
        going = [
            {"kind": d.item.kind, "id": d.item.id, "size": d.item.size, "reasons": list(d.reasons)}
            for d in chosen.removals
        ]
        _write_down(folder, {"action": "begin", "plan": chosen.hash, "policy": str(chosen.policy), "removes": going})
        progress.step("prune: written down")
    for decision in chosen.removals:
        parent = os.path.join(folder, "archive" if decision.item.kind == ARCHIVE else "backups")
        hidden = os.path.join(parent, REMOVING + decision.item.id)
        os.rename(os.path.join(parent, decision.item.id), hidden)
        sync_directory(parent)
        progress.step("prune: renamed")
        yield hidden


def _write_down(folder: str, values: dict[str, object]) -> None:
    append_line(os.path.join(folder, HISTORY), {"time": to_text(now()), **values})


def _clear(repository: Repository, database: str) -> None:
    """What a run that was killed had hidden."""
    for name in ("backups", "archive"):
        parent = os.path.join(repository.folder(database), name)
        for entry in os.listdir(parent) if os.path.isdir(parent) else ():
            if entry.startswith(REMOVING):
                remove_tree(os.path.join(parent, entry))
