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


@dataclass(frozen=True)
class WalPosition:
    """How far a WAL had been written: its two salts, and the number of its last committed frame."""

    salts: tuple[int, int]
    frame: int

    def to_json(self) -> dict[str, object]:
        """As manifests hold it."""
        return {"salts": list(self.salts), "frame": self.frame}


def read_position(descriptor: int) -> WalPosition | None:
    """The position in the wal-index (``-shm``) open as ``descriptor``; None while it is being changed.

    The header stands there twice and is only valid when both copies are equal. Native byte order, but the
    salts are as in the WAL: big-endian.
    """
    block = os.pread(descriptor, 2 * _INDEX_HEADER_SIZE, 0)
    first, second = block[:_INDEX_HEADER_SIZE], block[_INDEX_HEADER_SIZE:]
    if len(second) < _INDEX_HEADER_SIZE or first != second or not first[12]:
        return None
    salt_1, salt_2 = struct.unpack_from(">II", first, 32)
    return WalPosition((salt_1, salt_2), struct.unpack_from("=I", first, 16)[0])


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
    magic = struct.unpack_from(">I", block, 0)[0]
    return magic in _MAGICS and block[16:24] == block[WAL_HEADER_SIZE + 8 : WAL_HEADER_SIZE + 16]
