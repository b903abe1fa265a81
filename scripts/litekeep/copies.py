# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of a damaged database to work on. The original set is only read; SQLite opens it only where a process has it
open anyhow, because it would write a ``-shm``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
from dataclasses import dataclass

from .config import Database
from .fileset import FileSet
from .openers import find_openers
from .pages import read_header
from .progress import Progress
from .snapshot import copy_snapshot
from .source import busy, open_source
from .sqlitefail import DamagedError
from .walfile import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, frame_offset, parse_frame

_ATTEMPTS = 3


@dataclass(frozen=True)
class Copied:
    """What is not as it should be, in words. lost: commits that SQLite leaves out. mended: in the copy only."""

    lost: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()


def copy_of(database: Database, copy: str, progress: Progress) -> Copied:
    """Copy the committed state, whatever is in its pages.

    Raises DamagedError or SourceError when SQLite cannot tell what the committed state is, BusyError.
    """
    path = os.path.realpath(database.path)
    if find_openers(path).openers:
        with open_source(database.path, database.deadline) as source:
            copy_snapshot(source, copy, database.deadline, progress)
            return Copied()
    for _attempt in range(_ATTEMPTS):
        before = FileSet(path).signature()
        remove_set(copy)
        mended = copy_set(path, copy)
        if FileSet(path).signature() == before:
            return Copied(settle(copy), mended)
    raise busy(database.path, database.deadline)


def copy_set(path: str, copy: str) -> tuple[str, ...]:
    """Copy the files that hold content. SQLite refuses a file with fewer pages than its header counts: what is not
    there is not counted in the copy. Returns that in words."""
    for suffix in ("", "-wal", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(path + suffix, copy + suffix)
    header = read_header(copy)
    beside = _size(f"{copy}-wal") or _size(f"{copy}-journal")
    if header is None or beside or os.path.getsize(copy) >= header.pages * header.page_size:
        return ()
    whole = os.path.getsize(copy) // header.page_size
    with open(copy, "r+b") as stream:
        stream.truncate(whole * header.page_size)
        stream.seek(28)
        stream.write(struct.pack(">I", whole))
    return (f"the header counts {header.pages:,} pages, the file holds {whole:,}",)


def remove_set(path: str) -> None:
    """Remove the files of a copy, those that are there."""
    for suffix in FileSet(path).present():
        os.unlink(path + suffix)


def settle(path: str) -> tuple[str, ...]:
    """Make one file of a copied set. Returns the commits in its WAL that SQLite ignores, in words."""
    wal = b""
    if _size(f"{path}-wal"):
        with open(f"{path}-wal", "rb") as stream:
            wal = _heads(stream.fileno(), path)
    lost = ""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            taken = max(0, connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
            if wal:
                lost = _ignored(path, wal, taken)
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise DamagedError("SQLite could not bring the WAL into the database")
    except sqlite3.Error as problem:
        raise DamagedError(str(problem)) from problem
    for suffix in FileSet(path).sidecars():
        os.unlink(path + suffix)
    return (lost,) if lost else ()


def graft(path: str, healthy: str) -> bool:
    """Put the first page of an older, sound state into a copy; False where their pages cannot be the same.

    That page has the header and the beginning of the schema; tables stay where they are until they are dropped.
    """
    header = read_header(healthy)
    if header is None or os.path.getsize(path) < header.page_size:
        return False
    count = -(-os.path.getsize(path) // header.page_size)
    os.truncate(path, count * header.page_size)
    with open(healthy, "rb") as stream:
        page = bytearray(stream.read(header.page_size))
    # Pages now, no free list, and a count of pages that SQLite believes (section 1.3.7).
    struct.pack_into(">III", page, 28, count, 0, 0)
    page[92:96] = page[24:28]
    with open(path, "r+b") as stream:
        stream.write(page)
    return True


def _heads(wal: int, path: str) -> bytes:
    """The headers of all whole frames, one after the other."""
    header = read_header(path)
    if header is None:
        return b""
    size = FRAME_HEADER_SIZE + header.page_size
    count = (os.fstat(wal).st_size - WAL_HEADER_SIZE) // size
    return b"".join(os.pread(wal, FRAME_HEADER_SIZE, frame_offset(n + 1, header.page_size)) for n in range(count))


def _ignored(path: str, heads: bytes, taken: int) -> str:
    """Whole commits behind the last frame that SQLite took, of the same round, that are not in the database.

    A crash leaves such frames only where the disk lost some of those before them.
    """
    header = read_header(path)
    frames = [heads[at : at + FRAME_HEADER_SIZE] for at in range(0, len(heads), FRAME_HEADER_SIZE)]
    with open(f"{path}-wal", "rb") as wal, open(path, "rb") as file:
        salts = struct.unpack(">II", os.pread(wal.fileno(), 8, 16))
        same = [number for number, head in enumerate(frames) if parse_frame(head)[1] == salts]
        if not same and frames and not taken and not _is_wal(os.pread(wal.fileno(), 4, 0)):
            salts = parse_frame(frames[0])[1]
            same = [number for number, head in enumerate(frames) if parse_frame(head)[1] == salts]
        commits = [number for number in same if number >= taken and parse_frame(frames[number])[0]]
        if not commits or header is None:
            return ""
        last = {int.from_bytes(frames[n][:4], "big"): n for n in same if taken <= n <= commits[-1]}
        for page, number in last.items():
            image = os.pread(
                wal.fileno(), header.page_size, frame_offset(number + 1, header.page_size) + FRAME_HEADER_SIZE
            )
            if image != os.pread(file.fileno(), header.page_size, (page - 1) * header.page_size):
                break
        else:
            return ""
    return f"the -wal is damaged behind its frame {taken}: SQLite ignores {len(commits)} commits that stand there"


def _is_wal(magic: bytes) -> bool:
    return magic in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
