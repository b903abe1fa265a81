# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may go and what stays, each with its reasons. Pure: what stands there in, a decision for each item out.

Only restore points (verified backups) count, and only periods that have one: after an outage the same number of days
stays as before it. All windows reach back from what stands there, not from the clock, and keep one restore point older
than themselves.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from .repository import BAD_SOURCE, DAMAGED, UNREADABLE, VERIFIED
from .retentionpolicy import Policy
from .timefmt import to_text

BACKUP = "backup"
ARCHIVE = "archive"

# What did not pass is evidence for so long.
EVIDENCE = dt.timedelta(days=30)
# Clocks of a host and of a backup server may differ by so much.
_SKEW = dt.timedelta(minutes=5)

_PERIODS: dict[str, Callable[[dt.datetime], tuple[int, ...]]] = {
    "keep_hourly": lambda moment: (moment.year, moment.month, moment.day, moment.hour),
    "keep_daily": lambda moment: (moment.year, moment.month, moment.day),
    "keep_weekly": lambda moment: tuple(moment.isocalendar())[:2],
    "keep_monthly": lambda moment: (moment.year, moment.month),
    "keep_yearly": lambda moment: (moment.year,),
}


@dataclass(frozen=True)
class Item:
    """A backup, or a part of the archive (a timeline), that stands in the repository.

    start, end: a backup's snapshot, twice; the moments that a part of the archive speaks of. state: a backup's; a
    part's is ``running``, ``stopped``, ``ended`` or ``unreadable``. sequence: the order in which they came to be.
    parent: of an incremental. bases: ids of the restore points that hang on a part, oldest first. size: bytes stored.
    """

    kind: str
    id: str
    start: dt.datetime
    end: dt.datetime
    state: str = VERIFIED
    sequence: int = 0
    parent: str | None = None
    bases: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class Hold:
    """Nothing that is needed for a moment from ``start`` to ``end`` goes."""

    name: str
    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True)
class Decision:
    """What becomes of an item, and why."""

    item: Item
    keep: bool
    reasons: tuple[str, ...]


@dataclass
class _Reasons:
    """Reasons to keep, by kind and id."""

    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, item: Item, reason: str) -> None:
        known = self.found.setdefault((item.kind, item.id), [])
        if reason not in known:
            known.append(reason)

    def of(self, item: Item) -> list[str]:
        return self.found.get((item.kind, item.id), [])


def decide(
    policy: Policy, items: Iterable[Item], now: dt.datetime, pins: Collection[str] = (), holds: Sequence[Hold] = ()
) -> list[Decision]:
    """A decision for each item, oldest first.

    pins: ids of backups that stay. now: a moment that lies after it is no measure for anything.
    """
    items = sorted(items, key=lambda item: (item.start, item.sequence, item.kind, item.id))
    backups = [item for item in items if item.kind == BACKUP]
    parts = [item for item in items if item.kind == ARCHIVE]
    points = [item for item in backups if item.state == VERIFIED]
    counted = [point for point in points if point.end <= now + _SKEW]
    reasons = _Reasons()
    for point in points:
        if point not in counted:
            reasons.add(point, "lies in the future: a clock was wrong, so it is not counted")
    if not counted:
        for item in items:
            reasons.add(item, "there is no verified backup")
        return _decisions(items, reasons, "")
    _keep_by_rules(policy, counted, reasons)
    newest = counted[-1]
    _keep_evidence(backups, newest, reasons)
    for item in backups:
        if item.id in pins:
            reasons.add(item, "pinned")
    believed = [part.end for part in parts if part.end <= now + _SKEW]
    last = max([newest.end, *believed])
    archive = Hold("archive_window", last - dt.timedelta(seconds=policy.archive_window), last)
    for span in (archive, *holds):
        _keep_span(span, points, parts, reasons)
    _keep_archive_that_may_go_on(parts, points, now, reasons)
    _keep_parents(backups, reasons)
    return _decisions(items, reasons, newest.id)


def _keep_by_rules(policy: Policy, counted: Sequence[Item], reasons: _Reasons) -> None:
    newest_first = list(reversed(counted))
    for number, point in enumerate(newest_first[: policy.keep_last], 1):
        reasons.add(point, f"keep_last {number} of {policy.keep_last}")
    for rule, period in _PERIODS.items():
        limit = getattr(policy, rule)
        seen: dict[tuple[int, ...], Item] = {}
        for point in newest_first:
            seen.setdefault(period(point.start), point)
        for number, point in enumerate(list(seen.values())[:limit], 1):
            reasons.add(point, f"{rule} {number} of {limit}")
    if policy.keep_within:
        begin = newest_first[0].end - dt.timedelta(seconds=policy.keep_within)
        for point in newest_first:
            reasons.add(point, "keep_within" if point.end > begin else "keep_within: the one before it")
            if point.end <= begin:
                break
    for number, point in enumerate(newest_first[: policy.min_verified], 1):
        reasons.add(point, f"min_verified {number} of {policy.min_verified}")


def _keep_evidence(backups: Sequence[Item], newest: Item, reasons: _Reasons) -> None:
    """What is no restore point."""
    for item in backups:
        if item.state not in (VERIFIED, BAD_SOURCE, DAMAGED):
            reasons.add(item, f"{item.state}: only a person can tell what it is worth")
        elif item.state != VERIFIED and item.end > newest.end:
            reasons.add(item, f"{item.state}, and nothing newer is verified")
        elif item.state != VERIFIED and item.end > newest.end - EVIDENCE:
            reasons.add(item, f"{item.state}: kept {EVIDENCE.days} days as evidence")


def _keep_span(span: Hold, points: Sequence[Item], parts: Sequence[Item], reasons: _Reasons) -> None:
    """Every moment of the span that can be restored can be restored afterwards."""
    words = span.name if span.name == "archive_window" else f"hold {span.name}"
    by_id = {point.id: point for point in points}
    for part in parts:
        bases = [by_id[base] for base in part.bases if base in by_id]
        if bases and part.end >= span.start and part.start <= span.end:
            reasons.add(part, words)
            before = [base for base in bases if base.end <= span.start]
            base = before[-1] if before else bases[0]
            reasons.add(base, f"{words}: the archive {part.id} hangs on it")
    if span.name == "archive_window":
        return
    for point in points:
        if span.start <= point.end <= span.end:
            reasons.add(point, words)
    before = [point for point in points if point.end < span.start]
    if before:
        reasons.add(before[-1], f"{words}: the one before it")


def _keep_archive_that_may_go_on(
    parts: Sequence[Item], points: Sequence[Item], now: dt.datetime, reasons: _Reasons
) -> None:
    by_id = {point.id: point for point in points}
    for part in parts:
        bases = [by_id[base] for base in part.bases if base in by_id]
        if part.state == UNREADABLE:
            reasons.add(part, f"{UNREADABLE}: only a person can tell what it is worth")
        elif part.state != "ended":
            reasons.add(part, "it may go on")
        elif part.end > now + _SKEW:
            reasons.add(part, "lies in the future: a clock was wrong")
        if reasons.of(part) and bases and not any(reasons.of(base) for base in bases):
            reasons.add(bases[-1], f"the archive {part.id} hangs on it")


def _keep_parents(backups: Sequence[Item], reasons: _Reasons) -> None:
    by_id = {item.id: item for item in backups}
    for item in backups:
        while reasons.of(item) and item.parent in by_id:
            parent = by_id[item.parent]
            reasons.add(parent, f"parent of {item.id}")
            item = parent


def _decisions(items: Iterable[Item], reasons: _Reasons, newest: str) -> list[Decision]:
    return [
        Decision(item, bool(reasons.of(item)), tuple(reasons.of(item)) or (_why_not(item, newest),)) for item in items
    ]


def _why_not(item: Item, newest: str) -> str:
    if item.kind == ARCHIVE:
        if not item.bases:
            return "no verified backup hangs on it: nothing can be restored with it"
        return f"ended {to_text(item.end)}: before the archive_window and every hold"
    if item.state != VERIFIED:
        return f"{item.state}; the newer {newest} is verified"
    return "no rule keeps it"
