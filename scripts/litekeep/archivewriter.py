# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writing a timeline: frames into segments, segments into records, closed rounds into one file each.

A segment is written under a hidden name and synced, then its record, then it gets its name. So a segment with a
name and no record, and a record without a segment, are damage, never what a crash leaves.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import walfile
from .files import CHUNK, append_bytes, cut_torn_line, free_bytes, remove_tree, sync_directory, write_durably
from .hold import Hold, LostError
from .store import Stored, StreamWriter, concatenate
from .timefmt import from_text, size_text, to_text
from .timeline import (
    FORMAT,
    HEARTBEAT,
    PARTIAL,
    RECORDS,
    VERSION,
    Position,
    Salts,
    Segment,
    Timeline,
    file_name,
    partial_name,
    seal,
    segment_file,
)
from .timelinefile import segment_from
from .walfile import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, IndexState, WalPosition

_RESOLUTION = 50  # milliseconds


class StorageError(OSError):
    """The archive's disk has less room than its reserve."""


@dataclass
class _Open:
    """The segment that is being written."""

    file: StreamWriter
    first: int
    before: list[Salts]
    begun: dt.datetime
    commits: int = 0
    pages: int = 0
    last_frame: str = ""
    marks: list[tuple[int, int, int]] = field(default_factory=list)

    def mark(self, unchanged: int, observed: int, frame: int) -> None:
        """Remember when the WAL was seen changed. Looks that follow each other closely are one."""
        if self.marks and observed - self.marks[-1][0] <= _RESOLUTION:
            unchanged = self.marks.pop()[0]
        self.marks.append((unchanged, observed, frame))


@dataclass
class _Sealed:
    """A segment that waits to be made durable."""

    part: _Open
    values: dict[str, Any]


class ArchiveWriter:
    """A timeline that grows. One process at a time; it holds the archive's lock.

    started: when the timeline began. round, salts, frame: the place up to which frames were taken over. What waits for
    the disk is ``store``, ``merge`` and ``heartbeat``: another thread may do it, one call at a time, while this one
    goes on taking over.
    """

    def __init__(self, folder: str, level: int, reserve: int, started: dt.datetime) -> None:
        self.folder = folder
        self.started = started
        self._level = level
        self._reserve = reserve
        self.round = 0
        self.salts: Salts | None = None
        self.frame = 0
        self.empty: list[Salts] = []
        self._next = 1
        self._stored = Position(0, 0)
        self._waiting: list[_Sealed] = []
        self._lost = False
        self._page_size = 0
        self._open: _Open | None = None
        self._dropped: dt.datetime | None = None
        self._sequence = 0
        self._last: str | None = None
        self._parts: list[Segment] = []
        self._closed: list[list[Segment]] = []

    @classmethod
    def begin(cls, folder: str, level: int, reserve: int, values: dict[str, object]) -> ArchiveWriter:
        """A new timeline. values: number, host, database, source, started and reason of its first record."""
        archive, name = os.path.split(folder)
        for entry in os.listdir(archive):
            if entry.startswith(PARTIAL):
                remove_tree(os.path.join(archive, entry))
        started = from_text(str(values["started"]))
        writer = cls(os.path.join(archive, PARTIAL + name), level, reserve, started)
        os.mkdir(writer.folder, 0o700)
        first = {"kind": "start", "format": {"name": FORMAT, "version": VERSION}, "sequence": 0, "timeline": name}
        writer._record({**first, **values})
        os.rename(writer.folder, folder)
        sync_directory(archive)
        writer.folder = folder
        return writer

    @classmethod
    def resume(cls, timeline: Timeline, level: int, reserve: int, seen: WalPosition | None) -> ArchiveWriter:
        """Go on with a timeline whose last segment still stands in the WAL. Clears away what a crash left.

        seen: the WAL's position when that was found out.
        """
        writer = cls(timeline.folder, level, reserve, timeline.started)
        last = timeline.segments[-1]
        writer.round, writer.salts, writer.frame = last.round, last.salts, last.last
        writer._next, writer._stored = last.last + 1, last.end
        writer.empty = list(timeline.runs[-1].empty)
        writer._page_size = last.page_size
        if seen is not None and seen.salts == last.salts:
            # The reader may sit on mark 0: until it is taken over, what came meanwhile can leave the WAL.
            writer.frame = max(last.last, seen.frame)
        writer._sequence, writer._last = timeline.sequence, timeline.last
        cut_torn_line(os.path.join(writer.folder, RECORDS))
        for segment in timeline.segments:
            partial = os.path.join(writer.folder, partial_name(segment.round, segment.first))
            if segment_file(segment)[0] == partial:
                os.rename(partial, os.path.join(writer.folder, segment.name))
            if segment.round != last.round:
                writer._close_round(segment)
            else:
                writer._parts.append(segment)
        for entry in os.listdir(writer.folder):
            if entry.startswith(PARTIAL):
                remove_tree(os.path.join(writer.folder, entry))
        sync_directory(writer.folder)
        return writer

    @property
    def id(self) -> str:
        """The timeline's name."""
        return os.path.basename(self.folder)

    def _close_round(self, segment: Segment) -> None:
        if not self._closed or self._closed[-1][0].round != segment.round:
            self._closed.append([])
        self._closed[-1].append(segment)

    def take(self, hold: Hold, state: IndexState, unchanged: dt.datetime, observed: dt.datetime) -> bool:
        """Take over all frames up to the state; False when there are none.

        unchanged: when the WAL was last seen as before; observed: now. Raises LostError when the WAL is not the one
        that was archived so far, OSError when the archive's disk refuses.
        """
        salts, frame = state.position.salts, state.position.frame
        if self._lost or salts != self.salts:
            if self.behind:
                raise LostError("the WAL began anew before its last commits could be stored")
            if frame == 0:
                if salts not in self.empty:
                    self.empty.append(salts)
                return False
            self._next_round(hold, state)
        if frame < self.frame:
            raise LostError(f"the WAL ends at frame {frame}, but {self.frame} were archived: its last commits are gone")
        if frame == (self.frame if self._open else self._next - 1):
            return False
        # Marks of a segment that had to be dropped are gone; what it held was seen to change since then.
        unchanged = self._dropped or unchanged
        part = self._copy(hold, state, unchanged)
        part.mark(_milliseconds(unchanged - part.begun), _milliseconds(observed - part.begun), frame)
        self.frame, self._dropped = frame, None
        return True

    @property
    def open_size(self) -> int:
        """Bytes in the open segment."""
        return self._open.file.size if self._open else 0

    @property
    def behind(self) -> bool:
        """Whether frames that were seen are in no segment, stored, waiting or open."""
        return self._lost or (self._open is None and self._next <= self.frame)

    def _next_round(self, hold: Hold, state: IndexState) -> None:
        self.seal()
        header = walfile.parse_header(os.pread(hold.wal, WAL_HEADER_SIZE, 0))
        if header is None or header.salts != state.position.salts or header.page_size != state.page_size:
            raise LostError("the WAL's header does not belong to the wal-index")
        self.round, self.salts, self.frame, self._next = self.round + 1, header.salts, 0, 1
        self._page_size = header.page_size

    def _copy(self, hold: Hold, state: IndexState, unchanged: dt.datetime) -> _Open:
        """Frames into the open segment, a new one if none is open."""
        last = state.position.frame
        if self._open is None:
            first = self._next
            path = os.path.join(self.folder, partial_name(self.round, first))
            remove_tree(path)
            before = list(self.empty) if first == 1 else []
            self._open = _Open(StreamWriter(path, self._level), first, before, unchanged)
            position = 0 if first == 1 else walfile.frame_offset(first, self._page_size)
        else:
            position = walfile.frame_offset(self.frame + 1, self._page_size)
        try:
            self._copy_bytes(self._open, hold, position, last)
            self._check_last(hold, state)
        except BaseException:
            self.drop()
            raise
        self._open.pages = state.page_count
        return self._open

    def _copy_bytes(self, part: _Open, hold: Hold, position: int, last: int) -> None:
        size = FRAME_HEADER_SIZE + self._page_size
        if position == 0:
            part.file.write(os.pread(hold.wal, WAL_HEADER_SIZE, 0))
            position = WAL_HEADER_SIZE
        end = walfile.frame_offset(last + 1, self._page_size)
        while position < end:
            block = os.pread(hold.wal, min(end - position, max(1, CHUNK // size) * size), position)
            if not block or len(block) % size:
                raise LostError("the WAL is shorter than its index says")
            part.file.write(block)
            part.commits += sum(1 for at in range(4, len(block), size) if block[at : at + 4] != b"\0\0\0\0")
            position += len(block)
        part.last_frame = hashlib.sha256(block[-size:]).hexdigest()

    def _check_last(self, hold: Hold, state: IndexState) -> None:
        """The last frame must be the commit that the wal-index speaks of, and still be in the same WAL."""
        offset = walfile.frame_offset(state.position.frame, self._page_size)
        header = os.pread(hold.wal, FRAME_HEADER_SIZE, offset)
        expected = state.page_count, state.position.salts, state.checksum
        if walfile.parse_frame(header) != expected or hold.look().position.salts != state.position.salts:
            raise LostError("the WAL's last frame is not the commit that the wal-index names")

    def flush(self) -> bool:
        """Make all that was taken over durable, here and now; False when that was nothing. Raises OSError."""
        if not self.seal():
            return False
        try:
            self.store()
        except BaseException:
            self.abandon()
            raise
        return True

    def seal(self) -> bool:
        """End the open segment; whether one waits to be stored now. Raises OSError."""
        part = self._open
        if part is not None:
            try:
                values = self._segment_values(part, part.file.seal())
            except BaseException:
                self.drop()
                raise
            self._waiting.append(_Sealed(part, values))
            self._open, self._next = None, self.frame + 1
            # Empty WALs that were seen since the segment was opened belong to the next round.
            self.empty = self.empty[len(part.before) :]
        return bool(self._waiting)

    def store(self) -> None:
        """Make the sealed segments durable, each with its record. Raises OSError: then they must be abandoned."""
        while self._waiting:
            sealed = self._waiting[0]
            if free_bytes(self.folder) < self._reserve:
                raise StorageError(f"less than {size_text(self._reserve)} free in {self.folder}")
            sealed.part.file.sync()
            self._record({"kind": "segment", "sequence": self._sequence + 1, **sealed.values})
            segment = segment_from(self.folder, {"sequence": self._sequence, **sealed.values})
            if self._parts and self._parts[-1].round != segment.round:
                self._closed.append(self._parts)
                self._parts = []
            self._parts.append(segment)
            self._stored = segment.end
            self._waiting.pop(0)
            os.rename(sealed.part.file.path, os.path.join(self.folder, segment.name))
            sync_directory(self.folder)

    def abandon(self) -> None:
        """Forget what could not be stored, and what was taken over after it; its frames may still be in the WAL."""
        if not self._waiting:
            return
        self._dropped = self._waiting[0].part.begun
        self._lost = self._waiting[0].values["round"] != self.round
        for sealed in self._waiting:
            sealed.part.file.discard()
        self._waiting = []
        self.drop()
        self._next = self._stored.frame + 1 if self._stored.round == self.round else 1

    def _segment_values(self, part: _Open, stored: Stored) -> dict[str, Any]:
        return {
            "round": self.round,
            "first": part.first,
            "last": self.frame,
            "salts": list(self.salts or ()),
            "before": [list(pair) for pair in part.before],
            "page_size": self._page_size,
            "pages": part.pages,
            "commits": part.commits,
            "begun": to_text(part.begun),
            "marks": " ".join(f"{unchanged},{observed},{frame}" for unchanged, observed, frame in part.marks),
            "last_frame": part.last_frame,
            "size": stored.size,
            "sha256": stored.sha256,
            "stored_size": stored.stored_size,
            "stored_sha256": stored.stored_sha256,
        }

    def drop(self) -> None:
        """Forget the open segment: its frames are still in the WAL."""
        if self._open is not None:
            self._open.file.discard()
            self._dropped = self._dropped or self._open.begun
            self._open = None

    def heartbeat(self, until: dt.datetime, trouble: str = "", empty: Sequence[Salts] | None = None) -> None:
        """Record that up to that moment nothing was committed that is not in a segment. Raises OSError.

        empty: salts of the empty WALs seen until then, where the caller's thread is not the one that takes over.
        """
        values = {
            "sequence": self._sequence,
            "record": self._last,
            "until": to_text(until),
            "empty": [list(pair) for pair in (self.empty if empty is None else empty)],
            "trouble": trouble,
        }
        write_durably(os.path.join(self.folder, HEARTBEAT), seal(values)[0].decode())

    def _record(self, values: dict[str, Any]) -> None:
        line, checksum = seal({**values, "previous": self._last})
        path = os.path.join(self.folder, RECORDS)
        size = os.path.getsize(path) if os.path.exists(path) else 0
        try:
            append_bytes(path, line)
        except OSError:
            # Even a whole line without its end must not come back to life when the next one is appended.
            os.truncate(path, size)
            raise
        self._sequence, self._last = int(values["sequence"]), checksum

    def merge(self) -> None:
        """Make one file of each round that is over: the parts one after the other are a zstd file again.

        Raises OSError, VerificationError when a part is not what its record says; the parts stay then.
        """
        while self._closed:
            merge_round(self._closed[0])
            self._closed.pop(0)


def merge_round(segments: list[Segment]) -> None:
    """Make one file of a round's segments, and remove theirs. Nothing to do for a single one."""
    if len(segments) < 2:
        return
    folder, merged = segments[0].folder, file_name(segments[0].round, segments[0].first, segments[-1].last)
    path, partial = os.path.join(folder, merged), os.path.join(folder, PARTIAL + merged)
    if not os.path.exists(path):
        concatenate([(segment_file(s)[0], s.stored) for s in segments], partial)
        os.rename(partial, path)
        sync_directory(folder)
    for segment in segments:
        remove_tree(os.path.join(folder, segment.name))


def _milliseconds(span: dt.timedelta) -> int:
    return span // dt.timedelta(milliseconds=1)
