# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ``scripts/bench archive`` measured, in words that the runs and the report share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from .load import Service
from .measure import Usage
from .stats import ratios, spread


@dataclasses.dataclass
class Side:
    """One way in one round.

    service: what the application got. events: rows that it committed. busy: its processor seconds, from the first to
    the last commit. cpu, anonymous: of the archiver with its children while the application was at work; seconds, and
    the largest sum of RssAnon in bytes. cpu_life, anonymous_life: from start to end, the first copy of the database
    included. wal: the largest WAL file seen. ending:
    seconds from SIGTERM to its end. stored: bytes in its repository; aside: bytes of its own beside the database.
    restores: of the newest state; checked: the same with an integrity_check, where that is another command. added:
    names that the archiver has put into the database's schema.
    """

    service: Service
    events: int
    busy: float
    cpu: float
    cpu_life: float
    anonymous: int
    anonymous_life: int
    wal: int
    ending: float
    stored: int
    aside: int
    restores: list[Usage] = dataclasses.field(default_factory=list)
    checked: list[Usage] = dataclasses.field(default_factory=list)
    added: list[str] = dataclasses.field(default_factory=list)


Round = dict[str, Side]  # by the key of the way, in the order in which they ran
Figure = Callable[[Side], float]


@dataclasses.dataclass
class ArchiveResults:
    """All figures, as far as it came."""

    machine: dict[str, str]
    options: dict[str, Any]
    ways: dict[str, str]
    database: dict[str, int] = dataclasses.field(default_factory=dict)
    rounds: list[Round] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


def p99(side: Side) -> float:
    """Seconds that a commit was late by."""
    return side.service.p99


def restored(side: Side) -> float:
    """Median wall seconds of a restore as it comes: Litekeep's with a check, Litestream's without."""
    return spread([usage.wall for usage in side.restores]).median


def restored_cpu(side: Side) -> float:
    """Median processor seconds of a restore as it comes."""
    return spread([usage.cpu for usage in side.restores]).median


def restored_checked(side: Side) -> float:
    """Median wall seconds of a restore with integrity_check."""
    return spread([usage.wall for usage in side.checked or side.restores]).median


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One figure of ``key``'s over ``other``'s, round by round. aim: not above that; None is for information."""

    label: str
    figure: Figure
    key: str
    other: str
    aim: float | None = None


_SERVICE: tuple[tuple[str, Figure], ...] = (
    ("late by, p50", lambda side: side.service.p50),
    ("late by, p99", p99),
    ("late by, worst", lambda side: side.service.worst),
    ("the writers' CPU", lambda side: side.busy),
)
_COST: tuple[tuple[str, Figure], ...] = (
    ("CPU under load", lambda side: side.cpu),
    ("memory under load", lambda side: side.anonymous),
    ("largest WAL", lambda side: side.wal),
    ("stored size", lambda side: side.stored),
    ("restore", restored),
    ("restore, CPU", restored_cpu),
    ("restore, both checked", restored_checked),
)
PAIRS = (("litekeep", "none"), ("litekeep", "litestream"), ("litestream", "none"))
AIMS = {
    ("late by, p99", "litekeep", "none"): 1.15,
    ("late by, p99", "litekeep", "litestream"): 1.0,
    ("restore", "litekeep", "litestream"): 1.0,
}
RATIOS = tuple(
    Ratio(label, figure, key, other, AIMS.get((label, key, other)))
    for label, figure in (*_SERVICE, *_COST)
    for key, other in PAIRS
    if other != "none" or (label, figure) in _SERVICE
)


def paired(rounds: Sequence[Round], ratio: Ratio) -> list[float]:
    """The ratio in each round that has both sides; none where there is nothing to divide by."""
    both = [(found[ratio.key], found[ratio.other]) for found in rounds if {ratio.key, ratio.other} <= found.keys()]
    values = [(ratio.figure(mine), ratio.figure(other)) for mine, other in both if complete(mine) and complete(other)]
    if not all(other for _mine, other in values):
        return []
    return ratios([mine for mine, _other in values], [other for _mine, other in values])


def complete(side: Side) -> bool:
    """Whether it has come as far as its restores; without an archiver there are none."""
    return bool(side.restores) or not side.stored


def published(results: ArchiveResults) -> dict[str, Any]:
    """Everything, unrounded, as plain values; the ratios of the rounds beside it."""
    return {
        "format": {"name": "litekeep-bench", "version": 1},
        "command": "archive",
        **dataclasses.asdict(results),
        "ratios": [
            {
                "figure": ratio.label,
                "of": ratio.key,
                "over": ratio.other,
                "aim": ratio.aim,
                "rounds": paired(results.rounds, ratio),
            }
            for ratio in RATIOS
        ],
    }
