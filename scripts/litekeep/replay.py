# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bringing a restored base to a later commit: the last image of every page that the archive holds, written once.

What SQLite would do with the same WALs ("WAL-mode File Format", section 4.5), for many of them at a time.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence

from . import store
from .errors import VerificationError
from .files import write_all
from .progress import Progress
from .timefmt import to_text
from .timeline import Position, Segment, segment_file
from .walfile import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, parse_header

_HEADER = struct.Struct(">II")
_FRAMES = 1 << 40


def replay(path: str, segments: Sequence[Segment], end: Position, progress: Progress) -> int:
    """Apply the segments, up to ``end``, to the base in the file ``path``, and sync it.

    Returns the number of pages of the database then. Raises VerificationError when a segment is not what was
    archived; the file is worthless then. Memory: 8 bytes a page of the database.
    """
    last, pages = _last_images(segments, end, progress)
    needed = {value // _FRAMES for value in last}
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for index, segment in enumerate(segments, 1):
            if index in needed:
                _write_images(descriptor, segment, index, last, pages, progress)
        os.ftruncate(descriptor, pages * segments[-1].page_size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return pages


def _last_images(segments: Sequence[Segment], end: Position, progress: Progress) -> tuple[array[int], int]:
    """By page number: which frame of which segment (counted from 1) holds its last image; 0 for none.

    Every byte of every segment is proven on the way.
    """
    last = array("Q", bytes(8))
    pages = 0
    for index, segment in enumerate(segments, 1):
        for number, page, commit, _image in _frames(segment, progress):
            if Position(segment.round, number) > end:
                continue
            if page >= len(last):
                last.frombytes(bytes(8 * (page + 1 - len(last))))
            last[page] = index * _FRAMES + number
            if commit:
                pages = commit
    final = segments[-1]
    if end == final.end and pages != final.pages:
        raise _damaged(final, f"{final.pages} pages after the last commit", f"{pages} pages")
    return last, pages


def _write_images(
    descriptor: int, segment: Segment, index: int, last: array[int], pages: int, progress: Progress
) -> None:
    for number, page, _commit, image in _frames(segment, progress):
        if page < len(last) and last[page] == index * _FRAMES + number and page <= pages:
            os.lseek(descriptor, (page - 1) * segment.page_size, os.SEEK_SET)
            write_all(descriptor, image)


def _frames(segment: Segment, progress: Progress) -> Iterator[tuple[int, int, int, memoryview]]:
    """Number, page, pages after the commit (0: none) and image of each frame; each carries the round's salts."""
    size = FRAME_HEADER_SIZE + segment.page_size
    salts = struct.pack(">II", *segment.salts)
    path, offset = segment_file(segment)
    number, rest, header_left = segment.first, b"", segment.first == 1
    try:
        for block in store.read_back(path, segment.stored, progress, part_at=offset):
            data = rest + block
            at = 0
            if header_left and len(data) >= WAL_HEADER_SIZE:
                header = parse_header(data)
                if header is None or header.salts != segment.salts or header.page_size != segment.page_size:
                    raise _damaged(segment, "the WAL header of its round", repr(data[:WAL_HEADER_SIZE]))
                at, header_left = WAL_HEADER_SIZE, False
            view = memoryview(data)
            while not header_left and at + size <= len(data):
                if data[at + 8 : at + 16] != salts:
                    raise _damaged(segment, f"salts {segment.salts} in frame {number}", data[at + 8 : at + 16].hex())
                page, commit = _HEADER.unpack_from(data, at)
                yield number, page, commit, view[at + FRAME_HEADER_SIZE : at + size]
                at += size
                number += 1
            rest = data[at:]
    except VerificationError as problem:
        raise _damaged(segment, problem.expected, problem.found) from problem
    if rest or number != segment.last + 1:
        raise _damaged(segment, f"frames {segment.first} to {segment.last}", f"they end before frame {number}")


def _damaged(segment: Segment, expected: str, found: str) -> VerificationError:
    before = to_text(segment.begun)
    return VerificationError(
        f"The segment {segment_file(segment)[0]} of the archive is not what was archived",
        expected=expected,
        found=found,
        safe=f"nothing was replaced; what was committed until {before} is in the segments before it",
        next_step=f"restore that moment: --to {before}; then check the disk below the repository",
    )
