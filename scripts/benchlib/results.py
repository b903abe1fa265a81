# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was measured, in words that the runs and the report share."""

from __future__ import annotations

import dataclasses
from typing import Any

from .load import Service
from .measure import Usage


@dataclasses.dataclass(frozen=True)
class Run:
    """One measured run.

    stored: bytes that it left in its repository, 0 for a restore. stages: wall seconds of the recipe's steps.
    """

    usage: Usage
    stored: int = 0
    stages: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same work by both, one right after the other."""

    recipe: Run
    litekeep: Run


@dataclasses.dataclass(frozen=True)
class Attempt:
    """``sqlite3 SRC ".backup COPY"`` beside a writer.

    passes: bytes it read, in sizes of the database; more than about 1 means that it started again. reached: the size
    of the copy, as a part of the database's.
    """

    usage: Usage
    passes: float | None
    reached: float

    @property
    def finished(self) -> bool:
        """Whether there is a copy."""
        return self.usage.exit_code == 0


@dataclasses.dataclass(frozen=True)
class Proof:
    """What a restored copy holds. live: the writer's events in it. difference: None when all is right."""

    events: int
    live: int
    difference: str | None


@dataclasses.dataclass
class Results:
    """All figures, as far as it came. writer: by what stood beside it."""

    machine: dict[str, str]
    options: dict[str, Any]
    database: dict[str, int] = dataclasses.field(default_factory=dict)
    idle: list[Pair] = dataclasses.field(default_factory=list)
    restore: list[Pair] = dataclasses.field(default_factory=list)
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    loaded: list[Run] = dataclasses.field(default_factory=list)
    proofs: list[Proof] = dataclasses.field(default_factory=list)
    writer: dict[str, Service] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)
