# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the archive consists of: timelines of segments, and the names and lines in which they are kept."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import VerificationError
from .progress import Progress
from .store import Stored, read_back

RECORDS = "timeline.jsonl"
HEARTBEAT = "heartbeat.json"
FORMAT = "litekeep-archive"
VERSION = 1
SUFFIX = ".wal.zst"
PARTIAL = ".partial-"
_SEPARATOR = b', "checksum": "'

Salts = tuple[int, int]


class Position(NamedTuple):
    """A commit's place in a timeline: the round, and the number of its last frame in that round's WAL."""

    round: int
    frame: int


@dataclass(frozen=True)
class Mark:
    """A look at the WAL that found it changed. unchanged: when it was last seen as before."""

    unchanged: dt.datetime
    observed: dt.datetime
    position: Position


@dataclass(frozen=True)
class Segment:
    """Whole commits of one round, as one zstd frame in a file.

    frames ``first`` to ``last``. before: salts of the empty WALs that were seen since the last round. last_frame:
    SHA-256 of the last frame, header and page.
    pages: of the database, after the last commit. begun, observed: the first ``unchanged`` and the last ``observed``
    of its marks. offset: where the segment begins in the merged file of its round.
    continuous: nothing can have been committed between the segment before and this one.
    """

    folder: str
    sequence: int
    round: int
    first: int
    last: int
    salts: Salts
    before: tuple[Salts, ...]
    page_size: int
    pages: int
    last_frame: str
    commits: int
    begun: dt.datetime
    observed: dt.datetime
    marks_text: str
    stored: Stored
    merged: str = ""
    offset: int = 0
    continuous: bool = True

    @property
    def name(self) -> str:
        """The file of the segment alone."""
        return self.stored.name

    @property
    def end(self) -> Position:
        """The position of its last commit."""
        return Position(self.round, self.last)

    def marks(self) -> Iterator[Mark]:
        """What was seen when, oldest first."""
        for text in self.marks_text.split():
            unchanged, observed, frame = map(int, text.split(","))
            yield Mark(self._moment(unchanged), self._moment(observed), Position(self.round, frame))

    def _moment(self, milliseconds: int) -> dt.datetime:
        return self.begun + dt.timedelta(milliseconds=milliseconds)


@dataclass(frozen=True)
class Run:
    """Segments without a break, and the moments they speak of: from ``started`` to ``until``.

    start: the position before its first segment. empty: salts of the empty WAL after its last segment.
    """

    timeline: str
    segments: tuple[Segment, ...]
    start: Position
    started: dt.datetime
    until: dt.datetime
    empty: tuple[Salts, ...] = ()

    @property
    def end(self) -> Position:
        """The position of the last commit that is known."""
        return self.segments[-1].end if self.segments else self.start

    def locate(self, salts: Salts, frame: int) -> Position | None:
        """Where a snapshot of that WAL position belongs; None when it does not belong to this run, or may twice."""
        rounds, empties = self._places
        if frame == 0 and salts in empties:
            return empties[salts]
        if salts in rounds:
            number, first, last = rounds[salts]
            return Position(number, frame) if first - 1 <= frame <= last else None
        return None

    @functools.cached_property
    def _places(self) -> tuple[dict[Salts, tuple[int, int, int]], dict[Salts, Position | None]]:
        """By salts: round, first and last frame of a WAL; and the position at which an empty one was seen."""
        rounds: dict[Salts, tuple[int, int, int]] = {}
        empties: dict[Salts, Position | None] = {}
        position = self.start
        for segment in self.segments:
            for pair in segment.before:
                empties[pair] = None if pair in empties else position
            _number, first, _last = rounds.get(segment.salts, (0, segment.first, 0))
            rounds[segment.salts] = segment.round, first, segment.last
            position = segment.end
        for pair in self.empty:
            empties[pair] = None if pair in empties else position
        return rounds, empties


@dataclass(frozen=True)
class Timeline:
    """One timeline as it stands.

    state: ``running``, ``stopped`` (it may go on), ``ended`` (a newer one follows). problems: damage, in words; what it
    hits is left out of ``runs``. reason: why it was begun. last: the checksum of the last record. trouble: what
    the archiver complained of last. follows: the timeline that it goes on from, with no moment between them.
    """

    id: str
    folder: str
    number: int
    started: dt.datetime
    reason: str
    source: Mapping[str, Any]
    runs: tuple[Run, ...]
    until: dt.datetime
    state: str
    problems: tuple[str, ...]
    sequence: int
    last: str
    trouble: str
    stored_size: int
    follows: str = ""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All that is there and whole."""
        return tuple(segment for run in self.runs for segment in run.segments)


def file_name(number: int, first: int, last: int) -> str:
    """The name of a segment, or of a whole merged round: in the order of names is the order of time."""
    return f"{number:08d}-{first:010d}-{last:010d}{SUFFIX}"


def partial_name(number: int, first: int) -> str:
    """The name of a segment until its record stands."""
    return f"{PARTIAL}{number:08d}-{first:010d}{SUFFIX}"


def seal(values: Mapping[str, object]) -> tuple[bytes, str]:
    """A record's line with its checksum at the end, and the checksum."""
    body = json.dumps(values).encode()[:-1]
    checksum = hashlib.sha256(body).hexdigest()
    return body + _SEPARATOR + checksum.encode() + b'"}\n', checksum


def unseal(line: bytes) -> tuple[dict[str, Any], str]:
    """The record of a line, and its checksum. Raises ValueError when they do not belong together."""
    body, separator, tail = line.rstrip(b"\n").rpartition(_SEPARATOR)
    checksum = hashlib.sha256(body).hexdigest()
    if not separator or tail != checksum.encode() + b'"}':
        raise ValueError("a line with a wrong checksum")
    try:
        values = json.loads(body + b"}")
    except RecursionError as problem:
        raise ValueError("a line that is nested too deeply") from problem
    if not isinstance(values, dict):
        raise ValueError("a line that is no record")
    return values, checksum


def segment_file(segment: Segment) -> tuple[str, int]:
    """The file that holds the segment now, and where in it the segment begins."""
    partial = partial_name(segment.round, segment.first)
    for name, offset in ((segment.name, 0), (segment.merged, segment.offset), (partial, 0)):
        path = os.path.join(segment.folder, name)
        if os.path.exists(path):
            return path, offset
    # The round may have gone on, and been merged, since the segment's record was read.
    whole_round = f"{segment.round:08d}-{1:010d}-"
    merged = [name for name in os.listdir(segment.folder) if name.startswith(whole_round) and name > segment.merged]
    if merged:
        return os.path.join(segment.folder, max(merged)), segment.offset
    return os.path.join(segment.folder, segment.name), 0


def read_segment(segment: Segment, progress: Progress, twice: bool = True) -> Iterator[bytes]:
    """The segment's part of its round's WAL; when the last block is through, all of it is proven.

    As ``store.read_back`` does it, with the same errors.
    """
    for attempt in range(3):
        path, offset = segment_file(segment)
        try:
            yield from read_back(path, segment.stored, progress, part_at=offset, twice=twice)
            return
        except VerificationError as problem:
            # Merged away between a look and the next: nothing was handed out yet.
            if attempt == 2 or not isinstance(problem.__cause__, FileNotFoundError):
                raise
