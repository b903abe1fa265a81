# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has arrived of a timeline, in batches and pieces, becomes a timeline as the archiver writes it.

Nothing that arrives is trusted: each record must follow the one before it, each segment must be what its record says,
and sizes are bounded before anything is read. Files are read through an open directory, and links are not followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .archivewriter import merge_round
from .errors import SpaceError, VerificationError
from .files import CHUNK, append_bytes, private_directory, remove_tree, sync_directory, write_all, write_durably
from .incoming import names, opened, sent
from .outbound import LARGEST_PIECE, Batches, batch_of, cover, piece_of
from .store import unpacked
from .timeline import HEARTBEAT, PARTIAL, RECORDS, Segment, partial_name, unseal
from .timelinefile import read_timeline, segment_from

# Bytes of the records that are kept, from the end: more than one round of an archive that works has; and the most that
# is looked through.
_TAIL, _LONGEST_TAIL = 1 << 20, 512 << 20
# Bytes of one record, and torn records one after the other.
_LONGEST_RECORD, _MOST_TORN = 4 << 20, 100
# Pieces that one look takes over, and about how many seconds it may take; the next look goes on.
_PIECES, _PATIENCE = 1000, 60.0


@dataclass
class Arrived:
    """What was taken over.

    used: names of files that are not needed any more. waiting: what is missing for the rest. full: no room for it.
    ended: whether a round has.
    """

    segments: int = 0
    records: int = 0
    used: list[str] = field(default_factory=list)
    waiting: str = ""
    full: SpaceError | None = None
    ended: bool = False


@dataclass
class _Kept:
    """What stands there already. size: of the whole records. last: checksum of the last one, None where there is none.

    starts: of the last round, where in its merged file each segment begins, by its first frame. frame: its last one.
    """

    size: int = 0
    last: str | None = None
    round: int = 0
    frame: int = 0
    offset: int = 0
    starts: dict[int, int] = field(default_factory=dict)

    def take(self, segment: Segment) -> None:
        """One more."""
        self.starts = self.starts_with(segment)
        self.offset = self.starts[segment.first] + segment.stored.stored_size
        self.round, self.frame = segment.round, segment.last

    def starts_with(self, segment: Segment) -> dict[int, int]:
        """The same with that segment after the last one."""
        if segment.round != self.round:
            return {segment.first: 0}
        self.starts[segment.first] = self.offset
        return self.starts


def take_over(inbox: int, folder: str, need: Callable[[int], None] = lambda _size: None) -> Arrived:
    """Bring the timeline ``folder`` forward by what stands in the open directory ``inbox``.

    need: raises SpaceError where so many bytes have no room. The files of the inbox stay. Raises VerificationError when
    a record or a segment is not what it should be, OSError.
    """
    kept = _kept(folder)
    sizes = {name: size for name in names(inbox) if (size := sent(inbox, name)) >= 0}
    ahead = [name for name in sizes if (span := piece_of(name)) and span[1] > kept.size]
    pieces, _end = cover({**{name: sizes[name] for name in heapq.nsmallest(_PIECES, ahead)}, RECORDS: kept.size})
    taking = _Taking(inbox, folder, Batches(sizes), kept, need)
    for name in pieces:
        lines = _new_lines(inbox, name, sizes[name], kept.size)
        if not taking.take(lines):
            break
    if HEARTBEAT in sizes and kept.size:
        _take_heartbeat(inbox, folder)
    taking.done.used = _used(sizes, kept)
    return taking.done


def merge_ended_rounds(folder: str) -> None:
    """Make one file of each round that is over, as the archiver does. Raises VerificationError, OSError."""
    rounds: dict[int, list[Segment]] = {}
    timeline = read_timeline(folder)
    for segment in timeline.segments:
        rounds.setdefault(segment.round, []).append(segment)
    for number in sorted(rounds)[:-1]:
        if rounds[number][0].first == 1:
            merge_round(rounds[number])


def _kept(folder: str) -> _Kept:
    """Read the end of the records, and finish what a crash has left: records whose segments have no name yet."""
    if not os.path.exists(os.path.join(folder, RECORDS)):
        return _Kept()
    partial = [entry for entry in os.listdir(folder) if entry.startswith(PARTIAL)]
    with open(os.path.join(folder, RECORDS), "rb+") as stream:
        size = _whole_lines(stream)
        tail = size if partial else _TAIL
        while (kept := _read_kept(folder, stream, max(0, size - tail), bool(partial))) is None:
            if tail > _LONGEST_TAIL:
                raise _refused(folder, f"rounds of at most {_LONGEST_TAIL:,} bytes of records", "a longer one")
            tail *= 4
    for entry in partial:
        remove_tree(os.path.join(folder, entry))
    kept.size = size
    return kept


def _whole_lines(stream: BinaryIO) -> int:
    """Cut a last line that a crash tore; what is left, in bytes."""
    size = at = stream.seek(0, os.SEEK_END)
    while at:
        start = max(0, at - CHUNK)
        stream.seek(start)
        found = stream.read(at - start).rfind(b"\n")
        at = start + found + 1 if found >= 0 else start
        if found >= 0:
            break
    if at != size:
        stream.truncate(at)
        os.fsync(stream.fileno())
    return at


def _read_kept(folder: str, stream: BinaryIO, start: int, settle: bool) -> _Kept | None:
    """What the records from ``start`` on say; None when they do not reach back to the beginning of the last round.

    settle: give segments their names.
    """
    kept, rounds = _Kept(), set[int]()
    stream.seek(start)
    if start:
        stream.readline()
    for line in stream:
        # One that a crash tore is passed over; where more is wrong, the next one does not follow.
        with contextlib.suppress(ValueError):
            values, kept.last = unseal(line)
            if values.get("kind") == "segment":
                segment = segment_from(folder, values)
                kept.take(segment)
                rounds.add(segment.round)
                if settle:
                    _settle(segment)
    return kept if start == 0 or len(rounds) > 1 else None


def _settle(segment: Segment) -> None:
    partial = os.path.join(segment.folder, partial_name(segment.round, segment.first))
    final = os.path.join(segment.folder, segment.name)
    if os.path.exists(partial) and not os.path.exists(final):
        os.rename(partial, final)


def _new_lines(inbox: int, name: str, size: int, kept: int) -> bytes:
    """The records of a piece that are new."""
    start, end = piece_of(name) or (0, 0)
    if end - start > LARGEST_PIECE or size > LARGEST_PIECE:
        raise _refused(name, f"at most {LARGEST_PIECE} bytes of records", f"{end - start} in {size} bytes")
    with opened(inbox, name) as descriptor:
        stored = os.pread(descriptor, size, 0)
    try:
        lines = unpacked(stored, end - start)
    except ValueError as problem:
        raise _refused(name, f"bytes {start} to {end} of the records", str(problem)) from problem
    if len(lines) != end - start or not lines.endswith(b"\n"):
        raise _refused(name, f"{end - start} bytes of whole records", f"{len(lines)} bytes")
    return lines[kept - start :]


@dataclass
class _Taking:
    """One look at one timeline. taken: bytes of the piece at hand that are taken over."""

    inbox: int
    folder: str
    batches: Batches
    kept: _Kept
    need: Callable[[int], None]
    taken: int = 0
    done: Arrived = field(default_factory=Arrived)
    until: float = field(default_factory=lambda: time.monotonic() + _PATIENCE)

    def take(self, lines: bytes) -> bool:
        """Segments, then their records, then their names; False when the rest has to wait. What is wrong with a record
        costs none before it."""
        segments: list[Segment] = []
        self.taken = 0
        try:
            return self._take_records(lines, segments)
        finally:
            if self.taken:
                append_bytes(os.path.join(self.folder, RECORDS), lines[: self.taken])
                self.kept.size += self.taken
                for segment in segments:
                    _settle(segment)
                sync_directory(self.folder)
                self.done.segments += len(segments)

    def _take_records(self, lines: bytes, segments: list[Segment]) -> bool:
        torn = passed = 0
        for line in self._lines(lines):
            try:
                values, checksum = unseal(line)
            except ValueError as problem:
                # It counts only with a record behind it that follows the one before it.
                torn, passed = torn + 1, passed + len(line)
                if torn > _MOST_TORN or self.kept.last is None:
                    raise _refused(self.folder, "records", "something else") from problem
                continue
            self._check_order(values)
            if self.kept.last is None:
                private_directory(self.folder)
            if values.get("kind") == "segment" and not self._take_segment(_segment(self.folder, values), segments):
                return False
            self.kept.last = checksum
            self.taken += passed + len(line)
            torn = passed = 0
            self.done.records += 1
            if time.monotonic() > self.until:
                return False
        self.taken += passed
        return True

    def _lines(self, content: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(content):
            end = content.find(b"\n", at) + 1
            if end - at > _LONGEST_RECORD:
                raise _refused(self.folder, f"records of at most {_LONGEST_RECORD:,} bytes", f"one of {end - at:,}")
            yield content[at:end]
            at = end

    def _check_order(self, values: Mapping[str, Any]) -> None:
        first = self.kept.last is None
        if values.get("previous") != self.kept.last or (first and values.get("timeline") != _name(self.folder)):
            found = "one that does not follow the last that is here"
            raise _refused(self.folder, "records that follow each other", found)

    def _take_segment(self, segment: Segment, segments: list[Segment]) -> bool:
        """Copy the segment out of the file that holds it, and prove it."""
        try:
            self.need(segment.stored.stored_size)
        except SpaceError as problem:
            self.done.full = problem
            return False
        partial = os.path.join(segment.folder, partial_name(segment.round, segment.first))
        for name, at in self.batches.holding(segment, self.kept.starts_with(segment)):
            with opened(self.inbox, name) as descriptor:
                if _copy(descriptor, at, segment, partial):
                    self.done.ended |= self.kept.round not in (0, segment.round)
                    self.kept.take(segment)
                    segments.append(segment)
                    return True
        self.done.waiting = f"the segment {segment.name} is not there yet"
        return False


def _name(folder: str) -> str:
    return os.path.basename(folder)


def _segment(folder: str, values: Mapping[str, Any]) -> Segment:
    try:
        segment = segment_from(folder, values)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, AttributeError) as problem:
        raise _refused(folder, "the record of a segment", repr(problem)) from problem
    if not 0 < segment.first <= segment.last < 1 << 32 or not 0 < segment.round < 1 << 32:
        raise _refused(folder, "frames and rounds from 1 on", segment.name)
    if segment.stored.stored_size < 1:
        raise _refused(folder, "a segment with content", segment.name)
    return segment


def _copy(source: int, at: int, segment: Segment, target: str) -> bool:
    left, found = segment.stored.stored_size, hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while left and (block := os.pread(source, min(CHUNK, left), at)):
            found.update(block)
            write_all(descriptor, block)
            at, left = at + len(block), left - len(block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    right = not left and found.hexdigest() == segment.stored.stored_sha256
    if not right:
        os.unlink(target)
    return right


def _take_heartbeat(inbox: int, folder: str) -> None:
    """A hint: one that is torn is passed over, and one that is there already is not written again."""
    path = os.path.join(folder, HEARTBEAT)
    with opened(inbox, HEARTBEAT) as descriptor:
        content = os.pread(descriptor, CHUNK, 0)
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:
        if stream.read() == content:
            return
    with contextlib.suppress(ValueError, RecursionError):
        unseal(content)
        write_durably(path, content.decode())


def _used(sizes: Mapping[str, int], kept: _Kept) -> list[str]:
    """Pieces whose records are all there, and batches that end no later than the last segment that is there."""
    used = []
    for name in sizes:
        piece, batch = piece_of(name), batch_of(name)
        if (piece and piece[1] <= kept.size) or (batch and (batch[0], batch[2]) <= (kept.round, kept.frame)):
            used.append(name)
    return used


def _refused(what: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        f"What arrived for {what} is not what was sent",
        expected=expected,
        found=found,
        safe="what is there already; nothing of this was taken over",
        next_step="look at the host that sent it: litekeep status there",
    )
