# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drills, as both front ends call them. See ``answers``."""

from __future__ import annotations

import random

from . import drill
from .answers import Values
from .config import Database
from .errors import LitekeepError
from .progress import Progress
from .repository import Repository
from .timefmt import now

DUE = "due"
ALL = "all"
RANDOM = "random"
_NEWEST = "latest"


def drilled(
    repository: Repository, database: Database, progress: Progress, which: str = DUE, dry_run: bool = False
) -> Values:
    """Drill what is due and the newest state, or all backups, or a random one, or what ``restore`` takes as a state.

    What cannot be tried does not keep the others from being tried; ``error`` is the first one's.
    """
    states = _states(repository, database, which)
    done: list[Values] = []
    errors: list[Values] = []
    for state in [] if dry_run else states:
        if state not in [each["point"] for each in done]:
            try:
                done.append(drill.drill(repository, database, state, progress).to_json())
            except LitekeepError as problem:
                # Retention may have removed one of many since they were chosen.
                if state in (states[0], _NEWEST) or repository.catalogue(database.name).find(state):
                    errors.append(problem.to_json())
    passed = not errors and all(each["result"] == drill.PASSED and each["in_time"] is not False for each in done)
    return {
        "database": database.name,
        "changed": bool(states),
        "passed": passed,
        "states": states,
        "drills": done,
        "error": errors[0] if errors else None,
        "exit_code": errors[0]["exit_code"] if errors else 0 if passed else 3,
    }


def _states(repository: Repository, database: Database, which: str) -> list[str]:
    """What ``restore`` takes. The newest state first: should the time not last, it was looked at."""
    if which in (ALL, RANDOM):
        points = [backup.id for backup in repository.catalogue(database.name).restore_points]
        if which == ALL:
            return [_NEWEST, *points]
        if points:
            return [random.choice(points)]
    if which in (DUE, RANDOM):
        waiting = drill.due(repository, database.name, database.drill_every, now())
        return [_NEWEST, *(backup.id for backup in waiting)]
    return [which]
