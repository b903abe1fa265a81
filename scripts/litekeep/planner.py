# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files restore which moment. Pure: what the repository holds in, a restore point or a refusal out."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import timefmt
from .errors import LitekeepError, NoRestorePointError, UsageError, VerificationError
from .moments import State, Window, state_at, windows
from .repository import DAMAGED, VERIFIED, Backup, Catalogue
from .timefmt import NO_OFFSET, duration_text, size_text, to_text
from .timeline import Position, Segment, Timeline

# Between two looks of the archiver it is unknown when a commit came; this much of it is no news to anybody.
_BLINK = dt.timedelta(seconds=1)
_POINT = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)@(\d+)\.(\d+)")
SAFE = "nothing was changed"


@dataclass(frozen=True)
class Point:
    """A restore point and the files that make it.

    recovered: the moment whose state it is. next: when the first later state was seen, None when none is known.
    observed: when its last commit was seen. segments: what is applied to the backup, the last one up to ``end``.
    """

    backup: Backup
    requested: dt.datetime | None
    recovered: dt.datetime
    next: dt.datetime | None
    observed: dt.datetime | None = None
    timeline: str | None = None
    segments: tuple[Segment, ...] = ()
    end: Position | None = None

    @property
    def id(self) -> str:
        """Names the same state again, also when the archive has gone on: ``--to`` takes it."""
        if self.end is None:
            return self.backup.id
        return f"{self.timeline}@{self.end.round}.{self.end.frame}"


@dataclass(frozen=True)
class Choice:
    """What there is to choose from.

    nearest: take the moment before one that cannot be restored. timeline: only this one, where a moment came twice.
    """

    catalogue: Catalogue
    timelines: Sequence[Timeline]
    nearest: bool = False
    timeline: str | None = None

    @functools.cached_property
    def windows(self) -> list[Window]:
        """The windows that may be used."""
        found = windows(self.catalogue, self.timelines)
        return [window for window in found if self.timeline in (None, window.timeline.id)]

    def backups(self) -> tuple[Backup, ...]:
        """The backups that may be used by themselves: none where a timeline is asked for."""
        return self.catalogue.restore_points if self.timeline is None else ()


def choose(choice: Choice, to: str) -> Point:
    """The restore point that ``to`` means: ``latest``, a moment, a backup's id or a point's.

    Raises NoRestorePointError (no such thing; a gap, the future, before the first backup), VerificationError (it is
    there and does not count), UsageError (a time without an offset, an unknown timeline).
    """
    if choice.timeline is not None and choice.timeline not in [timeline.id for timeline in choice.timelines]:
        known = ", ".join(timeline.id for timeline in choice.timelines) or "none"
        raise UsageError(
            f"{choice.catalogue.database} has no timeline {choice.timeline!r}",
            expected=f"one of: {known}",
            safe=SAFE,
            next_step=f"litekeep list {choice.catalogue.database}",
        )
    if to == "latest":
        return _latest(choice)
    backup = choice.catalogue.find(to)
    if backup is not None:
        return _of_backup(choice, backup)
    position = _POINT.fullmatch(to)
    if position:
        return _again(choice, to, position[1], Position(int(position[2]), int(position[3])))
    return _at(choice, to, _moment(choice, to))


def _of_backup(choice: Choice, backup: Backup, requested: dt.datetime | None = None) -> Point:
    if backup.state != VERIFIED or backup.manifest is None:
        raise VerificationError(
            f"The backup {backup.id} of {choice.catalogue.database} is no restore point: {backup.state}",
            expected="a verified backup",
            found=backup.problem,
            safe=f"nothing was changed; restore points: {_listed(choice.catalogue)}",
            next_step=_inspect(backup),
        )
    snapshot = backup.manifest.snapshot
    return Point(backup, requested, snapshot, _after(choice, snapshot))


def _latest(choice: Choice) -> Point:
    found = choice.windows
    newest = choice.backups()[-1] if choice.backups() else None
    last = [timeline for timeline in choice.timelines if choice.timeline in (None, timeline.id)][-1:]
    if last and last[0].problems and not choice.nearest:
        # How far it went is not known, so neither is what the newest state was.
        raise _damaged_archive(choice, last[0].problems)
    if found and (newest is None or newest.manifest is None or found[-1].end >= newest.manifest.snapshot):
        return _in_window(choice, found[-1], None, found[-1].end)
    if newest is not None:
        return _of_backup(choice, newest)
    others = ", ".join(f"{backup.id} ({backup.state})" for backup in choice.catalogue.backups) or "none"
    raise NoRestorePointError(
        f"There is no restore point of {choice.catalogue.database}",
        expected="at least one verified backup",
        found=f"backups: {others}",
        safe=SAFE,
        next_step=f"check --repository and the host's name, then: litekeep list {choice.catalogue.database}",
    )


def _again(choice: Choice, to: str, timeline: str, position: Position) -> Point:
    """A point that was chosen before."""
    for window in choice.windows:
        if window.timeline.id == timeline and window.bases[0][0] <= position <= window.run.end:
            if position == window.run.start:
                return _in_window(choice, window, None, window.start)
            for segment in window.run.segments:
                if segment.round == position.round and segment.first <= position.frame <= segment.last:
                    return _of_commit(choice, window, position, segment)
    raise NoRestorePointError(
        f"{choice.catalogue.database} has no restore point {to}",
        expected="a timeline and a commit that are still in the archive",
        safe=SAFE,
        next_step=f"litekeep list {choice.catalogue.database}",
    )


def _of_commit(choice: Choice, window: Window, position: Position, segment: Segment) -> Point:
    """The state after a commit that the archive has. Whether it is one, the segment's content tells (``replay``)."""
    mark = next(mark for mark in segment.marks() if mark.position >= position)
    if mark.position == position:
        return _in_window(choice, window, None, mark.observed)
    # Between two looks: it came after the first one, and was not the last one when the second one came.
    base, backup = window.base_of(position)
    segments = _between(window, base, position)
    observed = mark.observed
    return Point(backup, None, mark.unchanged, observed, observed, window.timeline.id, segments, position)


def _between(window: Window, base: Position, end: Position) -> tuple[Segment, ...]:
    """The segments that bring the base to that commit."""
    return tuple(s for s in window.run.segments if base < s.end and Position(s.round, s.first) <= end)


def _moment(choice: Choice, to: str) -> dt.datetime:
    try:
        return timefmt.from_text(to)
    except ValueError as problem:
        if str(problem) == NO_OFFSET:
            raise UsageError(
                f"The time {to} has no offset from UTC",
                expected="for example 2026-11-22T02:00:00Z or 2026-11-22T03:00:00+01:00",
                safe=SAFE,
                next_step="add the offset",
            ) from problem
    raise NoRestorePointError(
        f"{choice.catalogue.database} has no backup {to!r}, and that is no time",
        expected=f"latest, a time such as 2026-11-22T02:00:00Z, or one of: {_listed(choice.catalogue)}",
        safe=SAFE,
        next_step=f"litekeep list {choice.catalogue.database}",
    )


def _at(choice: Choice, to: str, moment: dt.datetime) -> Point:
    holding = [window for window in choice.windows if window.holds(moment)]
    holding = [window for window in holding if not any(other.goes_on_from(window) for other in holding)]
    if len(holding) > 1 and not choice.nearest:
        raise NoRestorePointError(
            f"{to_text(moment)} came more than once, because the clock was set back",
            expected="the timeline that is meant",
            found=", ".join(f"{window.timeline.id} until {to_text(window.end)}" for window in holding),
            safe=SAFE,
            next_step="add --timeline with one of these",
        )
    if holding:
        window = holding[0]
        state = state_at(window.run, moment)
        blink = state.next is None or state.next - state.unchanged <= _BLINK
        if moment <= state.unchanged or blink or choice.nearest:
            return _in_window(choice, window, moment, moment)
        raise _refused(choice, moment, state.unchanged, state.next, "nobody watched in between; it is unknown when")
    exact = [b for b in choice.backups() if b.manifest and b.manifest.snapshot == moment]
    if exact:
        return _of_backup(choice, exact[-1], moment)
    return _outside(choice, moment)


def _outside(choice: Choice, moment: dt.datetime) -> Point:
    """Not in any window: refused, or the nearest state before it."""
    window = max((w for w in choice.windows if w.end < moment), key=lambda w: w.end, default=None)
    backup = max(
        (b for b in choice.backups() if b.manifest and b.manifest.snapshot < moment),
        key=lambda b: b.order,
        default=None,
    )
    snapshot = backup.manifest.snapshot if backup and backup.manifest else None
    before = max(filter(None, (window.end if window else None, snapshot)), default=None)
    if choice.nearest and window is not None and window.end == before:
        return _in_window(choice, window, moment, window.end)
    if choice.nearest and backup is not None:
        return _of_backup(choice, backup, moment)
    if moment > timefmt.now():
        why = "it lies in the future"
    elif before is None:
        why = "it lies before the first restore point"
    elif window is not None and window.timeline.state == "running" and window == choice.windows[-1]:
        why = "the archive does not reach it yet"
    elif choice.windows:
        why = "it lies in a gap: what happened then is not archived"
    else:
        why = "between two backups nothing is recorded"
    raise _refused(choice, moment, before, _after(choice, moment), why)


def _in_window(choice: Choice, window: Window, requested: dt.datetime | None, moment: dt.datetime) -> Point:
    state: State = state_at(window.run, moment)
    end = state.position
    base, backup = window.base_of(end)
    segments = _between(window, base, end)
    recovered = min(moment, max(state.unchanged, state.observed))
    later = state.next or _after(choice, window.end)
    return Point(backup, requested, recovered, later, state.observed, window.timeline.id, segments, end)


def _after(choice: Choice, moment: dt.datetime) -> dt.datetime | None:
    """The first moment after this one that can be restored."""
    starts = [window.start for window in choice.windows]
    inside = [window for window in choice.windows if window.holds(moment)]
    within = state_at(inside[0].run, moment).next if inside else None
    if within:
        return within
    snapshots = [backup.manifest.snapshot for backup in choice.backups() if backup.manifest]
    return min((found for found in starts + snapshots if found > moment), default=None)


def _refused(
    choice: Choice, moment: dt.datetime, before: dt.datetime | None, after: dt.datetime | None, why: str
) -> LitekeepError:
    name = choice.catalogue.database
    steps = [f"litekeep restore {name} --to {to_text(near)}" for near in (before, after) if near]
    near_before = to_text(before) if before else "none"
    ago = f" ({duration_text((moment - before).total_seconds())} earlier; --nearest takes it)" if before else ""
    return NoRestorePointError(
        f"{name} cannot be restored to {to_text(moment)}: {why}",
        expected="a moment that the archive proves, or that a backup holds (litekeep list shows them)",
        found=f"before it: {near_before}{ago}; after it: {to_text(after) if after else 'none'}",
        safe=SAFE,
        next_step=" or: ".join(steps) or f"litekeep list {name}",
    )


def _damaged_archive(choice: Choice, problems: Sequence[str]) -> VerificationError:
    name = choice.catalogue.database
    until = [window.end for window in choice.windows]
    return VerificationError(
        f"The archive of {name} is damaged, so its end is not known",
        expected="records and segments as they were written",
        found="; ".join(problems[:3]),
        safe=f"nothing was changed; the archive is whole until {to_text(max(until)) if until else 'its first backup'}",
        next_step=f"litekeep restore {name} --nearest takes the newest state before the damage",
    )


def _inspect(backup: Backup) -> str:
    if backup.state == DAMAGED:
        return f"after mending the storage: litekeep verify --backup {backup.id}; else choose another with --to ID"
    if backup.manifest is None:
        return "choose another with --to ID"
    file = backup.manifest.files[0]
    return (
        f"choose another with --to ID; to look inside: zstd -d {backup.folder}/{file.name} -o /tmp/damaged.db"
        f" ({size_text(file.size)}), then sqlite3 /tmp/damaged.db .recover"
    )


def _listed(catalogue: Catalogue) -> str:
    ids = [backup.id for backup in reversed(catalogue.restore_points)]
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} older" if len(ids) > 5 else "") or "none"
