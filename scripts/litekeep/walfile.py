# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Formats of SQLite's WAL and wal-index files ("WAL-mode File Format", sections 2.1 and 3)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

WAL_HEADER_SIZE = 32
FRAME_HEADER_SIZE = 24
_MAGICS = (0x377F0682, 0x377F0683)
_INDEX_HEADER_SIZE = 48
_INDEX_SIZE = 2 * _INDEX_HEADER_SIZE + 4


@dataclass(frozen=True)
class WalPosition:
    """How far a WAL had been written: its two salts, and the number of its last committed frame."""

    salts: tuple[int, int]
    frame: int

    def to_json(self) -> dict[str, object]:
        """As manifests hold it."""
        return {"salts": list(self.salts), "frame": self.frame}


@dataclass(frozen=True)
class IndexState:
    """What the wal-index says at one moment.

    page_count: pages of the database after the last commit; 0 while the WAL is empty. checksum: that of the last
    frame, as it stands in the frame's header. backfilled: frames that are in the database file already.
    """

    position: WalPosition
    page_size: int
    page_count: int
    checksum: bytes
    backfilled: int


def read_index(descriptor: int) -> IndexState | None:
    """The wal-index (``-shm``) open as ``descriptor``; None while it is being changed, or was never filled.

    The header stands there twice and is only valid when both copies are equal. Native byte order, but the
    salts are as in the WAL: big-endian.
    """
    block = os.pread(descriptor, _INDEX_SIZE, 0)
    first, second = block[:_INDEX_HEADER_SIZE], block[_INDEX_HEADER_SIZE : 2 * _INDEX_HEADER_SIZE]
    if len(block) < _INDEX_SIZE or first != second or not first[12]:
        return None
    page_size, frame, page_count, sum_1, sum_2 = struct.unpack_from("=HIIII", first, 14)
    return IndexState(
        position=WalPosition(struct.unpack_from(">II", first, 32), frame),
        page_size=65536 if page_size == 1 else page_size,
        page_count=page_count,
        checksum=struct.pack(">II", sum_1, sum_2),
        backfilled=struct.unpack_from("=I", block, 2 * _INDEX_HEADER_SIZE)[0],
    )


def read_position(descriptor: int) -> WalPosition | None:
    """The position alone."""
    state = read_index(descriptor)
    return None if state is None else state.position


@dataclass(frozen=True)
class WalHeader:
    """The first 32 bytes of a WAL."""

    page_size: int
    salts: tuple[int, int]


def parse_header(block: bytes) -> WalHeader | None:
    """The header of a WAL; None where these bytes are none."""
    if len(block) < WAL_HEADER_SIZE or struct.unpack_from(">I", block, 0)[0] not in _MAGICS:
        return None
    return WalHeader(struct.unpack_from(">I", block, 8)[0], struct.unpack_from(">II", block, 16))


def frame_offset(number: int, page_size: int) -> int:
    """Where frame ``number`` (the first is 1) begins in the file."""
    return WAL_HEADER_SIZE + (number - 1) * (FRAME_HEADER_SIZE + page_size)


def has_frames(path: str) -> bool:
    """Whether the file is a WAL whose first frame carries the header's salts: opening it would replay it.

    A missing, empty or torn file has none. The checksum is not computed: a doubtful file counts as a WAL.
    """
    try:
        with open(path, "rb") as stream:
            block = stream.read(WAL_HEADER_SIZE + FRAME_HEADER_SIZE)
    except FileNotFoundError:
        return False
    if len(block) < WAL_HEADER_SIZE + FRAME_HEADER_SIZE:
        return False
    return parse_header(block) is not None and block[16:24] == block[WAL_HEADER_SIZE + 8 : WAL_HEADER_SIZE + 16]


def parse_frame(header: bytes) -> tuple[int, tuple[int, int], bytes]:
    """Of a frame's header: pages of the database after this commit (0: no commit), salts, and the running checksum."""
    pages, salt_1, salt_2 = struct.unpack_from(">III", header, 4)
    return pages, (salt_1, salt_2), header[16:24]


def wal_in_use(path: str) -> int:
    """Bytes of the WAL of the database ``path`` that hold commits. Only for processes that hold no lock on it."""
    try:
        descriptor = os.open(f"{path}-shm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        state = read_index(descriptor)
    finally:
        os.close(descriptor)
    return 0 if state is None else state.position.frame * (FRAME_HEADER_SIZE + state.page_size)
