# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where rows went: the states around a suspected time, their rows of each table, and the commit that took some."""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import itertools
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import timefmt
from .config import Database
from .difference import has_content
from .errors import NoRestorePointError, UsageError
from .export import readable
from .moments import Window, windows
from .progress import Progress
from .replay import commits_of, replay
from .repository import Repository
from .scratch import Beside, restored_beside
from .source import connect
from .tables import quoted, tables_of
from .timefmt import to_text
from .timeline import Mark, Position, Segment

_STEPS = 24
_FALLS = 5
_LOOKS_INSIDE = 12

Rows = dict[str, int]


@dataclass(frozen=True)
class State:
    """A state of the archive. point: what ``--to`` takes; observed: by when its last commit was seen."""

    point: str
    position: Position
    observed: dt.datetime
    rows: Rows


@dataclass(frozen=True)
class Fall:
    """Rows that went between two states. rows: how many; gone: the table itself went.

    before: the last state that had them. looks: how many looks of the archiver found commits between the two: 1 where
    it is one commit; 0 where nobody watched; more where many smaller losses follow each other.
    """

    table: str
    rows: int
    gone: bool
    before: State
    after: State
    looks: int = 1


@dataclass(frozen=True)
class Commits:
    """What was found from ``start`` to ``end``. commits: looks of the archiver that found commits in that time."""

    start: dt.datetime
    end: dt.datetime
    commits: int
    states: tuple[State, ...]
    falls: tuple[Fall, ...]


def commits_around(repository: Repository, database: Database, around: str, within: int, progress: Progress) -> Commits:
    """Look at the states from ``within`` seconds before that time until as long after it.

    A table's rows are counted at some places; between two of them where they became fewer, at places between, until
    single looks of the archiver are found, and in these single commits. Losses that were made good before the next
    place stay unseen: a shorter time shows more. Disk: one restored copy. Raises UsageError for a time without an
    offset, NoRestorePointError when nothing of that time is in the archive, and what ``restore`` raises.
    """
    try:
        moment = timefmt.from_text(around)
    except ValueError as problem:
        raise UsageError(
            f"The time {around} {'has no offset from UTC' if str(problem) == timefmt.NO_OFFSET else 'cannot be read'}",
            expected="for example 2026-11-22T02:00:00Z or 2026-11-22T03:00:00+01:00",
            next_step="correct the time",
        ) from problem
    span = dt.timedelta(seconds=within)
    with readable(database.name), repository.lease(database.name, progress=progress):
        stretches = _stretches(repository, database, moment - span, moment + span, progress)
        looked = [stretch.look(0, len(stretch) - 1) for stretch in stretches]
        falls = _narrow(list(zip(stretches, looked)))
    for one, other in zip(looked, looked[1:]):
        falls += _falls(one[-1][1], other[0][1], 0)
    states = tuple(state for found in looked for _place, state in found)
    return Commits(
        stretches[0].mark(0).observed,
        stretches[-1].mark(len(stretches[-1]) - 1).observed,
        sum(len(stretch) - 1 for stretch in stretches),
        states,
        tuple(sorted(falls, key=lambda fall: (fall.after.observed, fall.after.position))),
    )


def _narrow(looked: Sequence[tuple[_Stretch, Sequence[tuple[int, State]]]]) -> list[Fall]:
    """The single commits that took most rows: the largest fall is looked into first."""
    waiting: list[tuple[int, int, _Places, tuple[int, State], tuple[int, State]]] = []
    number = itertools.count()

    def wait(places: _Places, states: Sequence[tuple[int, State]]) -> None:
        for one, other in zip(states, states[1:]):
            falls = _falls(one[1], other[1])
            if falls:
                largest = max(fall.rows + fall.gone for fall in falls)
                heapq.heappush(waiting, (-largest, next(number), places, one, other))

    for stretch, states in looked:
        wait(stretch, states)
    found: list[list[Fall]] = []
    inside = 0
    while waiting and len(found) < _FALLS:
        _largest, _number, places, one, other = heapq.heappop(waiting)
        closer = places.between(one[0], other[0]) if inside < _LOOKS_INSIDE else None
        if closer is None:
            found.append(_falls(one[1], other[1], places.looks(one[0], other[0])))
        else:
            inside += 1
            wait(closer[0], closer[0].look(closer[1], closer[2]))
    return [fall for falls in found for fall in falls]


def _stretches(
    repository: Repository, database: Database, start: dt.datetime, end: dt.datetime, progress: Progress
) -> list[_Stretch]:
    """What the windows that reach into that time hold of it."""
    timelines = repository.timelines(database.name)
    found = [
        _Stretch(_Source(repository, database, window, progress), start, end)
        for window in windows(repository.catalogue(database.name), timelines)
        if window.start <= end and window.end >= start
    ]
    if found:
        return found
    raise NoRestorePointError(
        f"The archive of {database.name} holds nothing from {to_text(start)} to {to_text(end)}",
        expected="a time that it covers (litekeep list shows the windows)",
        safe="nothing was changed",
        next_step=f"litekeep list {database.name}; without an archive, compare backups: litekeep list shows their rows",
    )


@dataclass(frozen=True)
class _Source:
    """What states are made from."""

    repository: Repository
    database: Database
    window: Window
    progress: Progress


class _Places:
    """Commits in their order, by place; place 0 is the state that they begin with."""

    def __init__(self, source: _Source) -> None:
        self.source = source

    def __len__(self) -> int:
        raise NotImplementedError

    def mark(self, place: int) -> Mark:
        """What was seen there."""
        raise NotImplementedError

    def looks(self, first: int, last: int) -> int:
        """How many looks of the archiver lie between."""
        raise NotImplementedError

    def between(self, first: int, last: int) -> tuple[_Places, int, int] | None:
        """Where to look for what came between the two; None when nothing is known between them."""
        return (self, first, last) if last - first > 1 else None

    def look(self, first: int, last: int) -> list[tuple[int, State]]:
        """The states at both ends and at some places between: one restored copy, brought forward."""
        count = min(_STEPS, last - first)
        places = sorted({first + (last - first) * step // count for step in range(count + 1)}) if count else [first]
        found: list[tuple[int, State]] = []
        with self._restored(places[0]) as (path, _point):
            for before, place in zip([places[0], *places], places):
                self._forward(path, self.mark(before).position, self.mark(place).position)
                found.append((place, self._state(path, place)))
        return found

    def _restored(self, place: int) -> contextlib.AbstractContextManager[Beside]:
        source = self.source
        return restored_beside(source.repository, source.database, self._point(place), source.progress)

    def _point(self, place: int) -> str:
        position = self.mark(place).position
        return f"{self.source.window.timeline.id}@{position.round}.{position.frame}"

    def _forward(self, path: str, after: Position, end: Position) -> None:
        """Bring the file on to a later commit. What it has of the first segment already is written again, the same."""
        needed = [s for s in self.source.window.run.segments if after < s.end and Position(s.round, s.first) <= end]
        if after < end and needed:
            replay(path, lambda: None, needed, end, Progress())

    def _state(self, path: str, place: int) -> State:
        with contextlib.closing(connect(path, immutable=True)) as connection:
            mark = self.mark(place)
            return State(self._point(place), mark.position, mark.observed, _rows(connection))


class _Inside(_Places):
    """The commits of one look. When each of them came is not known."""

    def __init__(self, source: _Source, before: Mark, segment: Segment, found: Mark) -> None:
        super().__init__(source)
        positions = [Position(segment.round, frame) for frame in commits_of(segment)]
        inside = [replace(found, position=p) for p in positions if before.position < p <= found.position]
        self._marks = [before, *inside]

    def __len__(self) -> int:
        return len(self._marks)

    def mark(self, place: int) -> Mark:
        return self._marks[place]

    def looks(self, first: int, last: int) -> int:
        return 1


class _Stretch(_Places):
    """The looks of a time in one window. Only their texts are kept."""

    def __init__(self, source: _Source, start: dt.datetime, end: dt.datetime) -> None:
        super().__init__(source)
        segments = source.window.run.segments
        first = bisect_left([segment.observed for segment in segments], start)
        self._opening = self._state_before(start, first)
        inside = [s for s in segments[first:] if s.begun <= end]
        self._parts: list[tuple[Segment, int]] = []
        self._ends: list[int] = []
        total = 0
        for segment in inside:
            observed = [mark.position > self._opening.position and mark.observed <= end for mark in segment.marks()]
            if any(observed):
                self._parts.append((segment, observed.index(True)))
                total += sum(observed)
                self._ends.append(total)

    def _state_before(self, start: dt.datetime, first: int) -> Mark:
        """The last look before ``start`` that can be restored; else the first that can be."""
        window = self.source.window
        run, base = window.run, window.bases[0][0]
        opening = Mark(run.started, run.started, run.start)
        for segment in run.segments[max(0, first - 1) : first + 1]:
            for mark in segment.marks():
                if mark.observed < start:
                    opening = mark
        if opening.position >= base:
            return opening
        marks = (mark for segment in run.segments if segment.end >= base for mark in segment.marks())
        return next(mark for mark in marks if mark.position >= base)

    def __len__(self) -> int:
        return 1 + (self._ends[-1] if self._ends else 0)

    def mark(self, place: int) -> Mark:
        if place == 0:
            return self._opening
        segment, number = self._part(place)
        return list(segment.marks())[number]

    def _part(self, place: int) -> tuple[Segment, int]:
        """The segment that holds it, and the number of its mark there."""
        part = bisect_right(self._ends, place - 1)
        segment, skipped = self._parts[part]
        return segment, skipped + place - 1 - (self._ends[part - 1] if part else 0)

    def looks(self, first: int, last: int) -> int:
        return last - first

    def between(self, first: int, last: int) -> tuple[_Places, int, int] | None:
        if last - first > 1:
            return self, first, last
        inside = _Inside(self.source, self.mark(first), self._part(last)[0], self.mark(last))
        return inside.between(0, len(inside) - 1)


def _rows(connection: sqlite3.Connection) -> Rows:
    return {
        name: int(connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0])
        for name, table in tables_of(connection).items()
        if has_content(table)
    }


def _falls(before: State, after: State, looks: int = 1) -> list[Fall]:
    found = []
    for table, rows in before.rows.items():
        left = after.rows.get(table)
        if left is None or left < rows:
            found.append(Fall(table, rows - (left or 0), left is None, before, after, looks))
    return found
