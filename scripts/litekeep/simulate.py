# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a policy leaves standing in the days to come, if backups go on as they did. Pure."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .repository import VERIFIED
from .retention import BACKUP, Item, decide
from .retentionpolicy import Policy
from .timefmt import to_id

_DAY = dt.timedelta(days=1)
# How many backups may be made up.
_MOST = 20_000


@dataclass(frozen=True)
class Day:
    """What stands after that day's retention. size: bytes. removed: how many backups went that day."""

    day: dt.datetime
    backups: int
    oldest: dt.datetime | None
    size: int
    removed: int


def simulated(items: Sequence[Item], policy: Policy, seconds: int, every: int | None) -> tuple[list[Day], int]:
    """Day by day for so many seconds from the newest backup on; and the seconds between two backups.

    every: those seconds; None takes the median of those that stand, or a day. Sizes to come are the newest one's. The
    archive is left out: it is as long as its window.
    """
    points = sorted((item for item in items if item.kind == BACKUP and item.state == VERIFIED), key=lambda i: i.end)
    between = [(later.end - one.end).total_seconds() for one, later in zip(points, points[1:])]
    interval = every or int(statistics.median(between) if between else 0) or int(_DAY.total_seconds())
    interval = max(interval, seconds // _MOST, 1)
    last = (
        points[-1] if points else Item(BACKUP, "", dt.datetime.now(dt.timezone.utc), dt.datetime.now(dt.timezone.utc))
    )
    standing, days, number, moment = list(points), [], last.sequence, last.end
    end = last.end + dt.timedelta(seconds=seconds)
    day = last.end
    while day < end:
        day += _DAY
        while moment + dt.timedelta(seconds=interval) <= day:
            moment += dt.timedelta(seconds=interval)
            number += 1
            made = replace(last, id=f"{to_id(moment)}-simulated", start=moment, end=moment, sequence=number)
            standing.append(made)
        kept = [decision.item for decision in decide(policy, standing, day) if decision.keep]
        days.append(
            Day(day, len(kept), kept[0].start if kept else None, sum(i.size for i in kept), len(standing) - len(kept))
        )
        standing = kept
    return days, interval
