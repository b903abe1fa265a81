# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which moments an archive can bring back: windows of continuous runs that hang on a verified backup, and the gaps.

Pure: what the repository holds in, moments out.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .repository import Backup, Catalogue
from .timeline import Mark, Position, Run, Salts, Segment, Timeline

NO_SALTS: Salts = (0, 0)


@dataclass(frozen=True)
class Window:
    """Every moment from ``start`` to ``end`` can be restored. bases: backups in it, by position."""

    timeline: Timeline
    run: Run
    start: dt.datetime
    end: dt.datetime
    bases: tuple[tuple[Position, Backup], ...]

    def holds(self, moment: dt.datetime) -> bool:
        """Whether the moment lies inside."""
        return self.start <= moment <= self.end

    def goes_on_from(self, before: Window) -> bool:
        """Whether its timeline was begun out of the other one."""
        return bool(before.timeline.id == self.timeline.follows)

    def base_of(self, position: Position) -> tuple[Position, Backup]:
        """The newest backup that is not newer than the position."""
        return [base for base in self.bases if base[0] <= position][-1]


@dataclass(frozen=True)
class State:
    """What was committed at a moment. observed: when its last commit was seen.

    unchanged: until when nothing further was committed. next: when the commit after it was seen; None for the last.
    """

    position: Position
    observed: dt.datetime
    unchanged: dt.datetime
    next: dt.datetime | None


@dataclass(frozen=True)
class Gap:
    """No moment between the two can be restored. Where a clock was set back, ``end`` lies before ``start``."""

    start: dt.datetime
    end: dt.datetime
    reason: str


def windows(catalogue: Catalogue, timelines: Sequence[Timeline]) -> list[Window]:
    """All windows, in the order in which they came to be."""
    found = []
    for timeline in timelines:
        for run in timeline.runs:
            bases = bases_of(run, catalogue.restore_points)
            start = _first_moment(run, bases[0][0]) if bases else None
            if start is not None:
                found.append(Window(timeline, run, start, run.until, tuple(bases)))
    return [_up_to(window, after) for window, after in zip(found, [*found[1:], None])]


def _up_to(window: Window, after: Window | None) -> Window:
    """Where a timeline goes on from another one, both have seen the moments in which it began."""
    if after is not None and after.goes_on_from(window) and after.start <= window.end:
        return replace(window, end=after.start)
    return window


def gaps(found: Sequence[Window]) -> list[Gap]:
    """What lies between the windows, and why."""
    between = []
    for before, after in zip(found, found[1:]):
        if after.goes_on_from(before) and after.start <= before.end:
            continue
        same = before.timeline is after.timeline
        reason = "; ".join(before.timeline.problems) if same else after.timeline.reason
        between.append(Gap(before.end, after.start, reason))
    return between


def bases_of(run: Run, backups: Sequence[Backup]) -> list[tuple[Position, Backup]]:
    """The backups whose snapshot belongs to the run, by position."""
    found = []
    for backup in backups:
        place = _wal_position(backup)
        if place is None or (place[0] == NO_SALTS and backup.timeline != run.timeline):
            continue
        position = run.locate(*place)
        if position is not None:
            found.append((position, backup))
    return sorted(found, key=lambda base: (base[0], base[1].order))


def _wal_position(backup: Backup) -> tuple[Salts, int] | None:
    wal = backup.manifest.part("wal") if backup.manifest else {}
    salts, frame = wal.get("salts"), wal.get("frame")
    if isinstance(salts, list) and len(salts) == 2 and isinstance(frame, int):
        return (int(salts[0]), int(salts[1])), frame
    return None


def _first_moment(run: Run, base: Position) -> dt.datetime | None:
    """The first moment whose state is at or after the base; None when the run does not reach it."""
    if base <= run.start:
        return run.started
    for segment in run.segments:
        if segment.end >= base:
            return next(mark.observed for mark in segment.marks() if mark.position >= base)
    return None


def state_at(run: Run, moment: dt.datetime) -> State:
    """The last commit that was seen by that moment, which lies in the run."""
    index = bisect_right([segment.observed for segment in run.segments], moment)
    before = Mark(run.started, run.started, run.start)
    if index:
        before = _last_mark(run.segments[index - 1])
    for mark in _marks(run.segments[index:]):
        if mark.observed > moment:
            return State(before.position, before.observed, mark.unchanged, mark.observed)
        before = mark
    return State(before.position, before.observed, run.until, None)


def _last_mark(segment: Segment) -> Mark:
    return list(segment.marks())[-1]


def _marks(segments: Sequence[Segment]) -> Iterator[Mark]:
    for segment in segments:
        yield from segment.marks()
