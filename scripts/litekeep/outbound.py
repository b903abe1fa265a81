# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a timeline leaves the host, and in which files: segments in batches, then the records that speak of them.

On a remote nothing is ever changed, so a timeline's records travel in pieces: ``records-<from>-<to>.jsonl.zst`` holds
those bytes of ``timeline.jsonl``. A batch bears the name of a segment with its first and last frames and holds the
segments between them one after the other, as the merged file of a round does.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from .errors import VerificationError
from .files import CHUNK, sync
from .timeline import RECORDS, SUFFIX, Segment, file_name, segment_file, unseal
from .timelinefile import segment_from

_PIECE = re.compile(r"records-(\d{12})-(\d{12})\.jsonl\.zst")
_BATCH = re.compile(r"(\d{8,})-(\d{10,})-(\d{10,})" + re.escape(SUFFIX))
# Bytes: of a batch of segments, and of the records that are looked at together.
_LARGEST_BATCH = 32 << 20
_LINES = 1 << 20
# Of the records in one piece. Whoever takes them over reads no more.
LARGEST_PIECE = 32 << 20


@dataclass(frozen=True)
class Parcel:
    """Consecutive segments of one round, as one file."""

    name: str
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(segment.stored.stored_size for segment in self.segments)

    def blocks(self) -> Iterator[bytes]:
        """Its content, each segment proven as it goes. Raises VerificationError, OSError."""
        for segment in self.segments:
            yield from _stored_bytes(segment)


@dataclass(frozen=True)
class Delivery:
    """Records ``start`` to ``end`` of a timeline, in bytes, and the parcels that they speak of.

    observed: of the last segment, empty for none.
    """

    start: int
    end: int
    lines: bytes
    parcels: tuple[Parcel, ...]
    observed: str

    @property
    def name(self) -> str:
        """Of the piece."""
        return piece_name(self.start, self.end)


class Outbound:
    """One timeline's records, read on from where they were left."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.position = 0
        self._rounds: dict[int, int] = {}

    def skip_to(self, position: int) -> None:
        """Begin behind what the remote has. Raises VerificationError when the records are not those that it has."""
        for delivery in self._deliveries(position):
            self.position = delivery.end
        if self.position != position:
            raise VerificationError(
                f"The records of timeline {os.path.basename(self.folder)} do not end a line where the remote's end",
                expected=f"a line that ends at byte {position}",
                found=f"one that ends at byte {self.position}",
                safe="both copies are as they were",
                next_step="take a new full backup (litekeep backup); the archive goes on after it",
            )

    def deliveries(self) -> Iterator[Delivery]:
        """What came since, in the order in which it has to arrive. Each one counts as sent when the next is asked for.

        Raises VerificationError when a record or a segment is damaged here, OSError.
        """
        for delivery in self._deliveries(None):
            yield delivery
            self.position = delivery.end

    def _deliveries(self, end: int | None) -> Iterator[Delivery]:
        path = os.path.join(self.folder, RECORDS)
        # What a power failure could still take back does not leave the host.
        sync(path)
        with open(path, "rb") as stream:
            # Not what comes meanwhile: on a slow line that would never end.
            until = os.fstat(stream.fileno()).st_size if end is None else end
            while True:
                stream.seek(self.position)
                lines = stream.read(min(_LINES, max(0, until - self.position)))
                while lines and b"\n" not in lines and (more := stream.read(_LINES)):
                    lines += more
                lines = lines[: lines.rfind(b"\n") + 1]
                if not lines:
                    return
                segments = list(self._segments(lines))
                parcels = tuple(_parcels(segments))
                observed = segments[-1].observed.isoformat() if segments else ""
                yield Delivery(self.position, self.position + len(lines), lines, parcels, observed)

    def _segments(self, lines: bytes) -> Iterator[Segment]:
        for line in lines.splitlines():
            try:
                values, _checksum = unseal(line)
            except ValueError:
                # One that a crash tore; where more is wrong, the chain of checksums tells whoever reads.
                continue
            if values.get("kind") == "segment":
                segment = segment_from(self.folder, values)
                offset = self._rounds.get(segment.round, 0)
                self._rounds = {segment.round: offset + segment.stored.stored_size}
                yield replace(segment, merged=file_name(segment.round, 1, segment.last), offset=offset)


def _parcels(segments: Iterable[Segment]) -> Iterator[Parcel]:
    group: list[Segment] = []
    for segment in segments:
        last = group[-1] if group else None
        follows = last is not None and (segment.round, segment.first) == (last.round, last.last + 1)
        if group and (
            not follows or sum(s.stored.stored_size for s in group) + segment.stored.stored_size > _LARGEST_BATCH
        ):
            yield _parcel(group)
            group = []
        group.append(segment)
    if group:
        yield _parcel(group)


def _parcel(group: list[Segment]) -> Parcel:
    return Parcel(file_name(group[0].round, group[0].first, group[-1].last), tuple(group))


def _stored_bytes(segment: Segment) -> Iterator[bytes]:
    """The segment's stored bytes, wherever it stands now."""
    for attempt in range(3):
        path, offset = segment_file(segment)
        try:
            stream = open(path, "rb")  # noqa: SIM115 - closed below; between the look and this it may be merged away
        except FileNotFoundError:
            if attempt == 2:
                raise
            continue
        with stream:
            stream.seek(offset)
            left, found = segment.stored.stored_size, hashlib.sha256()
            while left and (block := stream.read(min(CHUNK, left))):
                left -= len(block)
                found.update(block)
                yield block
        if left or found.hexdigest() != segment.stored.stored_sha256:
            raise VerificationError(
                f"The segment {path} is not what was archived",
                expected=f"sha256 {segment.stored.stored_sha256}",
                found=f"sha256 {found.hexdigest()}, {left} bytes too few",
                safe="what was sent before it is whole",
                next_step="take a new full backup (litekeep backup), then check the disk below the repository",
            )
        return


def piece_name(start: int, end: int) -> str:
    """The file that holds these bytes of the records."""
    return f"records-{start:012d}-{end:012d}.jsonl.zst"


def piece_of(name: str) -> tuple[int, int] | None:
    """Which bytes of the records a file holds; None when it is no piece."""
    found = _PIECE.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def batch_of(name: str) -> tuple[int, int, int] | None:
    """Round, first and last frame of what a file holds; None when it holds no frames."""
    found = _BATCH.fullmatch(name)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


class Batches:
    """Which files hold frames, and how large they are."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._rounds: dict[int, list[tuple[int, int, str]]] = {}
        for name in sizes:
            number, first, last = batch_of(name) or (0, 0, 0)
            self._rounds.setdefault(number, []).append((first, last, name))
        for files in self._rounds.values():
            files.sort()

    def holding(self, segment: Segment, starts: Mapping[int, int]) -> Iterator[tuple[str, int]]:
        """The files that may hold the segment, and where in them it begins.

        starts: where in the merged file of its round segments begin, by their first frames, its own among them.
        """
        files = self._rounds.get(segment.round, [])
        for number in range(bisect_right(files, (segment.first, sys.maxsize)) - 1, -1, -1):
            first, last, name = files[number]
            at = starts[segment.first] - starts[first] if first in starts else None
            if last >= segment.last and at is not None and at + segment.stored.stored_size <= self._sizes[name]:
                yield name, at


def cover(sizes: Mapping[str, int], known: Iterable[str] | None = None) -> tuple[list[str], int]:
    """The fewest pieces that hold the records from their beginning without a break, and where they end.

    sizes: the files of a timeline's folder. known: only these pieces count. A ``timeline.jsonl`` that stands there
    comes before them.
    """
    end = sizes.get(RECORDS, 0)
    pieces = [(span, name) for name in sizes if (span := piece_of(name)) and (known is None or name in known)]
    chosen: list[str] = []
    while True:
        reaching = [(span[1], name) for span, name in pieces if span[0] <= end < span[1]]
        if not reaching:
            return chosen, end
        end, name = max(reaching)
        chosen.append(name)
