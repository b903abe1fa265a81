# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bringing a restored base to a later commit: the last image of every page that the archive holds, written once.

What SQLite would do with the same WALs ("WAL-mode File Format", section 4.5), backwards: the newest segment first,
and a page that is written once is done.
"""

from __future__ import annotations

import concurrent.futures
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .errors import NoRestorePointError, VerificationError
from .files import write_all
from .progress import Progress
from .timefmt import to_text
from .timeline import Position, Segment, read_segment, segment_file
from .walfile import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, parse_header

_IN_MEMORY = 32 << 20
_LOADERS = 2
_AHEAD = 3
_HEADER = struct.Struct(">II")


@dataclass(frozen=True)
class _Loaded:
    """A segment, decompressed and proven. Larger ones stand in a file, which ``close`` removes."""

    segment: Segment
    content: bytes | bytearray | mmap.mmap
    close: Callable[[], None]


def replay(
    path: str, write_base: Callable[[], None], segments: Sequence[Segment], end: Position, progress: Progress
) -> int:
    """Apply the segments, up to ``end``, to the base that ``write_base`` puts into the file ``path``.

    It is left to the caller to sync it. Returns the number of pages of the database then. Raises VerificationError when
    a segment is not what was archived, NoRestorePointError when no commit ends at ``end``; the file is worthless then.
    Memory: a byte a page of the database, and a few segments.
    """
    pages = 0
    written = bytearray()
    descriptor = -1
    try:
        total = sum(segment.stored.size for segment in segments)
        done = 0
        for loaded in _backwards(segments, f"{path}.segment", write_base):
            if not pages:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                pages = _pages_at(loaded, end)
                written = bytearray(pages + 1)
            _apply(descriptor, loaded, end, written)
            done += loaded.segment.stored.size
            progress.advance("replay", done, total)
        os.ftruncate(descriptor, pages * segments[-1].page_size)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return pages


def commits_of(segment: Segment) -> list[int]:
    """The frames that end a transaction, in their order. Raises VerificationError as ``replay`` does."""
    size = FRAME_HEADER_SIZE + segment.page_size
    found, content, at = [], bytearray(), _offset(segment, segment.first)
    number = segment.first
    try:
        for block in read_segment(segment, Progress(), twice=False):
            content += block
            while at + size <= len(content):
                if _HEADER.unpack_from(content, at)[1]:
                    found.append(number)
                number, at = number + 1, at + size
            used = min(at, len(content))
            del content[:used]
            at -= used
    except VerificationError as problem:
        raise _damaged(segment, problem.expected, problem.found) from problem
    return found


def _backwards(segments: Sequence[Segment], spare: str, meanwhile: Callable[[], None]) -> Iterator[_Loaded]:
    """The newest segment first. The next ones are decompressed and hashed in other threads, from the start on."""
    waiting = [(segment, f"{spare}-{number}") for number, segment in enumerate(segments)]
    with concurrent.futures.ThreadPoolExecutor(_LOADERS) as pool:
        coming: list[concurrent.futures.Future[_Loaded]] = []
        begun = False
        try:
            while waiting or coming:
                while waiting and len(coming) < _AHEAD:
                    coming.append(pool.submit(_load, *waiting.pop()))
                if not begun:
                    meanwhile()
                    begun = True
                loaded = coming.pop(0).result()
                try:
                    yield loaded
                finally:
                    loaded.close()
        finally:
            for future in coming:
                if not future.cancel() and future.exception() is None:
                    future.result().close()


def _load(segment: Segment, spare: str) -> _Loaded:
    """Decompress and prove a segment."""
    try:
        blocks = read_segment(segment, Progress(), twice=False)
        loaded = _in_file(segment, blocks, spare) if segment.stored.size > _IN_MEMORY else _in_memory(segment, blocks)
    except VerificationError as problem:
        raise _damaged(segment, problem.expected, problem.found) from problem
    size = FRAME_HEADER_SIZE + segment.page_size
    found = len(loaded.content)
    if found != _offset(segment, segment.first) + (segment.last - segment.first + 1) * size:
        loaded.close()
        raise _damaged(segment, f"frames {segment.first} to {segment.last}", f"{found} bytes")
    header = parse_header(bytes(loaded.content[:WAL_HEADER_SIZE])) if segment.first == 1 else None
    if segment.first == 1 and (header is None or header.salts != segment.salts):
        loaded.close()
        raise _damaged(segment, "the WAL header of its round", "another one")
    return loaded


def _in_memory(segment: Segment, blocks: Iterator[bytes]) -> _Loaded:
    content = bytearray()
    for block in blocks:
        content += block
    return _Loaded(segment, content, lambda: None)


def _in_file(segment: Segment, blocks: Iterator[bytes], spare: str) -> _Loaded:
    descriptor = os.open(spare, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Only this process needs it, and nobody has to remove it after a kill.
    os.unlink(spare)
    try:
        for block in blocks:
            write_all(descriptor, block)
        mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    return _Loaded(segment, mapping, mapping.close)


def _offset(segment: Segment, number: int) -> int:
    """Where a frame begins in the segment's content: the first segment of a round has the WAL's header before it."""
    header = WAL_HEADER_SIZE if segment.first == 1 else 0
    return header + (number - segment.first) * (FRAME_HEADER_SIZE + segment.page_size)


def _last_frame(segment: Segment, end: Position) -> int:
    return min(segment.last, end.frame) if segment.round == end.round else segment.last


def _pages_at(loaded: _Loaded, end: Position) -> int:
    """Pages of the database after the commit at ``end``, in the last segment."""
    segment = loaded.segment
    number = _last_frame(segment, end)
    _page, pages = _HEADER.unpack_from(loaded.content, _offset(segment, number))
    if not pages and number != segment.last:
        raise NoRestorePointError(
            f"Frame {number} of round {segment.round} is inside a transaction",
            expected="the last frame of a commit (litekeep commits names them)",
            safe="nothing was replaced",
            next_step="choose a state that litekeep commits or litekeep restore --plan has named",
        )
    if not pages or (number == segment.last and pages != segment.pages):
        raise _damaged(segment, f"a commit in frame {number}", "a frame inside a transaction")
    return int(pages)


def _apply(descriptor: int, loaded: _Loaded, end: Position, written: bytearray) -> None:
    """Write the pages that no later frame held."""
    segment, content = loaded.segment, loaded.content
    page_size, size = segment.page_size, FRAME_HEADER_SIZE + segment.page_size
    salts = struct.pack(">II", *segment.salts)
    pages, unpack = len(written), _HEADER.unpack_from
    with memoryview(content) as view:
        for at in range(_offset(segment, _last_frame(segment, end)), _offset(segment, segment.first) - 1, -size):
            page, _commit = unpack(content, at)
            if content[at + 8 : at + 16] != salts:
                raise _damaged(segment, f"salts {segment.salts} in every frame", content[at + 8 : at + 16].hex())
            if page < pages and not written[page]:
                written[page] = 1
                image = view[at + FRAME_HEADER_SIZE : at + size]
                if os.pwrite(descriptor, image, (page - 1) * page_size) != page_size:
                    os.lseek(descriptor, (page - 1) * page_size, os.SEEK_SET)
                    write_all(descriptor, image)


def _damaged(segment: Segment, expected: str, found: str) -> VerificationError:
    before = to_text(segment.begun)
    return VerificationError(
        f"The segment {segment_file(segment)[0]} of the archive is not what was archived",
        expected=expected,
        found=found,
        safe=f"nothing was replaced; what was committed until {before} is in the segments before it",
        next_step=f"restore that moment: --to {before}; then check the disk below the repository",
    )
