# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pages of a database file without SQLite: it refuses a whole table for one bad page.

"Database File Format", sections 1.2 to 1.6 and 2. Only for files to which nobody writes. Whatever is in a page, nothing
but DamagedError is raised.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from .sqlitefail import DamagedError

HEADER_SIZE = 100
TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR = 13, 5, 10, 2
KINDS = (TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR)
_FIXED = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_ENCODINGS = {2: "utf-16-le", 3: "utf-16-be"}
Value = object


@dataclass(frozen=True)
class Text:
    """A text that is none in the database's encoding; its bytes."""

    raw: bytes


@dataclass(frozen=True)
class Header:
    """The first 100 bytes. usable: bytes of a page that SQLite uses."""

    raw: bytes
    page_size: int
    usable: int
    pages: int
    first_free: int
    free: int
    auto_vacuum: bool
    encoding: str
    wal: bool


def parse_header(raw: bytes) -> Header | None:
    """None where these bytes are no header of a database that this SQLite knows."""
    if len(raw) < HEADER_SIZE or not raw.startswith(b"SQLite format 3\0"):
        return None
    size = struct.unpack_from(">H", raw, 16)[0]
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1) or raw[21:24] != b"\x40\x20\x20" or size - raw[20] < 480:
        return None
    (pages, first, free), (root,) = struct.unpack_from(">III", raw, 28), struct.unpack_from(">I", raw, 52)
    encoding = _ENCODINGS.get(struct.unpack_from(">I", raw, 56)[0], "utf-8")
    return Header(
        raw[:HEADER_SIZE], size, size - raw[20], pages, first, free, root > 0, encoding, raw[18:20] == b"\2\2"
    )


def read_header(path: str) -> Header | None:
    """That of a file."""
    with open(path, "rb") as stream:
        return parse_header(stream.read(HEADER_SIZE))


@dataclass(frozen=True)
class Cell:
    """An entry of a page. rowid: None in an index. child: the page below it, 0 in a leaf. record: None in the interior
    of a table; damaged: why it cannot be read."""

    rowid: int | None
    child: int
    record: tuple[Value, ...] | None
    damaged: str = ""


class Pages:
    """An open file. count: whole pages in it."""

    def __init__(self, path: str) -> None:
        self._stream = open(path, "rb")  # noqa: SIM115 - __exit__ closes it
        header = parse_header(self._stream.read(HEADER_SIZE))
        if header is None:
            self._stream.close()
            raise DamagedError(f"{path} has no header that can be read")
        self.header = header
        self.count = os.fstat(self._stream.fileno()).st_size // header.page_size

    def __enter__(self) -> Pages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def page(self, number: int) -> bytes:
        """Its bytes. DamagedError when there is no such page."""
        if not 1 <= number <= self.count:
            raise DamagedError(f"there is no page {number}")
        return os.pread(self._stream.fileno(), self.header.page_size, (number - 1) * self.header.page_size)

    def kind(self, number: int) -> int:
        """One of KINDS; 0 for a page of no b-tree."""
        found = self.page(number)[HEADER_SIZE if number == 1 else 0]
        return found if found in KINDS else 0

    def cells(self, number: int) -> Iterator[Cell]:
        """The entries of a page of a b-tree in their order; of an interior page, its last child comes last.

        An entry that cannot be read is told as such.
        """
        block = self.page(number)
        start = HEADER_SIZE if number == 1 else 0
        kind = block[start]
        if kind not in KINDS:
            raise DamagedError(f"page {number} belongs to no table and no index")
        interior = kind in (TABLE_INTERIOR, INDEX_INTERIOR)
        count = struct.unpack_from(">H", block, start + 3)[0]
        first = start + (12 if interior else 8)
        if first + 2 * count > self.header.usable:
            raise DamagedError(f"page {number} says that it holds {count} entries")
        for at in struct.unpack_from(f">{count}H", block, first):
            try:
                if at < first + 2 * count:
                    raise DamagedError(f"page {number} has an entry where its header is")
                yield self._cell(block, kind, at)
            except DamagedError as problem:
                yield Cell(None, 0, None, str(problem))
        if interior:
            yield Cell(None, struct.unpack_from(">I", block, start + 8)[0], None)

    def entries(self, root: int, depth: int = 20) -> int:
        """How many entries the b-tree of an index has. DamagedError when it is none."""
        block, start = self.page(root), HEADER_SIZE if root == 1 else 0
        if block[start] not in (INDEX_LEAF, INDEX_INTERIOR) or not depth:
            raise DamagedError(f"page {root} belongs to no index")
        (count,) = struct.unpack_from(">H", block, start + 3)
        if block[start] == INDEX_LEAF:
            return int(count)
        places = struct.unpack_from(f">{count}H", block, start + 12)
        children = [struct.unpack_from(">I", block, at)[0] for at in (*places, start + 8)]
        return int(count) + sum(self.entries(child, depth - 1) for child in children)

    def _cell(self, block: bytes, kind: int, at: int) -> Cell:
        child, rowid = 0, None
        if kind in (TABLE_INTERIOR, INDEX_INTERIOR):
            child, at = struct.unpack_from(">I", block.ljust(at + 4, b"\0"), at)[0], at + 4
        if kind == TABLE_INTERIOR:
            return Cell(_signed(_varint(block, at)[0]), child, None)
        size, at = _varint(block, at)
        if kind == TABLE_LEAF:
            number, at = _varint(block, at)
            rowid = _signed(number)
        usable = self.header.usable
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            payload = block[at : min(at + size, usable)]
        else:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
            if at + local + 4 > usable:
                raise DamagedError("an entry goes over the end of its page")
            payload = block[at : at + local] + self._overflow(block, at + local, size - local)
        if len(payload) != size:
            raise DamagedError("an entry goes over the end of its page")
        return Cell(rowid, child, self.record(payload))

    def _overflow(self, block: bytes, at: int, missing: int) -> bytes:
        """The rest of an entry, from the pages behind it."""
        room = self.header.usable - 4
        if missing > room * self.count:
            raise DamagedError("an entry is larger than the file")
        following, parts = struct.unpack_from(">I", block, at)[0], []
        while missing > 0:
            block = self.page(following)
            parts.append(block[4 : 4 + min(room, missing)])
            missing -= room
            following = struct.unpack_from(">I", block, 0)[0]
        return b"".join(parts)

    def record(self, payload: bytes) -> tuple[Value, ...]:
        """The values of a record (section 2.1)."""
        end, at = _varint(payload, 0)
        place, found = end, []
        if end > len(payload):
            raise DamagedError("a record's header is longer than the record")
        while at < end:
            serial, at = _varint(payload, at)
            size = _FIXED.get(serial, 8 if serial == 7 else (serial - 12) // 2 if serial >= 12 else 0)
            if serial in (10, 11) or place + size > len(payload):
                raise DamagedError("a record's header does not fit its content")
            found.append(self._value(serial, payload[place : place + size]))
            place += size
        return tuple(found)

    def _value(self, serial: int, raw: bytes) -> Value:
        if serial in _FIXED:
            return int.from_bytes(raw, "big", signed=True)
        if serial == 7:
            return struct.unpack(">d", raw)[0]
        if serial < 12:
            return (None, 0, 1)[(0, 8, 9).index(serial)]
        if not serial % 2:
            return raw
        try:
            return raw.decode(self.header.encoding)
        except UnicodeDecodeError:
            return Text(raw)

    def free(self) -> set[int]:
        """The pages of the free list, as far as it can be followed (section 1.5)."""
        found: set[int] = set()
        trunk = self.header.first_free
        while trunk and trunk not in found and 1 < trunk <= self.count:
            found.add(trunk)
            block = self.page(trunk)
            trunk, count = struct.unpack_from(">II", block, 0)
            leaves: Sequence[int] = ()
            if count <= self.header.usable // 4 - 2:
                leaves = struct.unpack_from(f">{count}I", block, 8)
            if not all(1 < leaf <= self.count for leaf in leaves):
                break
            found.update(leaves)
        return found


def _varint(block: bytes, at: int) -> tuple[int, int]:
    value = 0
    for number, byte in enumerate(block[at : at + 9]):
        if number == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + number + 1
    raise DamagedError("a number goes over the end of its page")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
