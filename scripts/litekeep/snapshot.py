# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The staged copy: one committed state of a live database, page by page.

In WAL mode the source's read transaction stands during the whole copy: no restart, no blocked writer. It keeps
checkpoints from bringing later commits into the database file, and what is not there yet in the WAL ("WAL-mode File
Format", section 2.3.1). So the file, with those frames laid over it, is the committed state; what a checkpoint writes
while the file is read is among the frames. The kernel copies the file, on some file systems without reading it.

In a rollback-journal mode that would block writers, so SQLite's backup API takes the lock for one bounded step at a
time, and starts again when somebody wrote ("SQLite Backup API", section "File and Database Connection Locking").
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import struct
import time
from collections.abc import Iterator

from . import sqlitefail
from .errors import LitekeepError, SpaceError
from .files import CHUNK, write_all
from .progress import Progress
from .source import Source, busy
from .walfile import FRAME_HEADER_SIZE, frame_offset

_STEP_BYTES = 16 << 20
_RETRY_SECONDS = 0.02


def copy_snapshot(source: Source, staged: str, deadline: int, progress: Progress) -> None:
    """Copy the source to the new file ``staged``. Through the backup API its change counter becomes another one.

    Raises BusyError when a rollback-journal database stayed locked or changing for ``deadline`` seconds,
    sqlitefail.DamagedError when SQLite cannot read the source, SpaceError when staging filled up.
    """
    if source.wal is not None and source.connection.in_transaction:
        _copy_pages(source, staged, progress)
    else:
        _copy_by_steps(source, staged, deadline, progress)


def _copy_pages(source: Source, staged: str, progress: Progress) -> None:
    """The file as it stands, cut or extended to the state's size, and the frames of the WAL over it."""
    reader = os.open(source.identity.path, os.O_RDONLY | os.O_CLOEXEC)
    # To close it now would drop the lock that the transaction is made of.
    source.kept_open.append(reader)
    try:
        with open(staged, "xb", buffering=0) as copy:
            _copy_range(reader, copy.fileno(), min(source.size, os.fstat(reader).st_size), source.size, progress)
            copy.truncate(source.size)
            if source.in_wal:
                _lay_over(source, copy.fileno())
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _no_space(staged, str(problem.strerror)) from problem
        raise sqlitefail.DamagedError(f"{source.identity.path} cannot be read: {problem.strerror}") from problem


def _copy_range(reader: int, writer: int, size: int, total: int, progress: Progress) -> None:
    """Let the kernel copy; block by block where it cannot."""
    done, by_kernel = 0, True
    while done < size:
        try:
            if by_kernel:
                count = os.copy_file_range(reader, writer, min(_STEP_BYTES, size - done), done, done)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
                raise
            by_kernel = False
        if not by_kernel:
            block = os.pread(reader, min(CHUNK, size - done), done)
            os.lseek(writer, done, os.SEEK_SET)
            write_all(writer, block)
            count = len(block)
        if not count:
            raise OSError(errno.EIO, "it became shorter while it was copied")
        done += count
        progress.advance("copy", done, total)


def _lay_over(source: Source, writer: int) -> None:
    size = FRAME_HEADER_SIZE + source.page_size
    salts = struct.pack(">II", *source.wal.salts) if source.wal else b""
    with open(f"{source.identity.path}-wal", "rb", buffering=0) as wal:
        position, end = frame_offset(1, source.page_size), frame_offset(source.in_wal + 1, source.page_size)
        while position < end:
            block = os.pread(wal.fileno(), min(end - position, max(1, CHUNK // size) * size), position)
            if not block or len(block) % size:
                raise OSError(errno.EIO, "its WAL is shorter than the wal-index says")
            for at in range(0, len(block), size):
                if block[at + 8 : at + 16] != salts:
                    raise OSError(errno.EIO, "its WAL is not the one that the wal-index speaks of")
                page = int.from_bytes(block[at : at + 4], "big")
                if page <= source.page_count:
                    os.lseek(writer, (page - 1) * source.page_size, os.SEEK_SET)
                    write_all(writer, memoryview(block)[at + FRAME_HEADER_SIZE : at + size])
            position += len(block)


def _copy_by_steps(source: Source, staged: str, deadline: int, progress: Progress) -> None:
    in_transaction = source.connection.in_transaction

    def on_step(_status: int, remaining: int, total: int) -> None:
        progress.advance("copy", (total - remaining) * source.page_size, total * source.page_size)
        if not in_transaction and remaining and time.monotonic() > source.give_up_at:
            raise busy(source.identity.path, deadline)

    with _explained(staged), _new_database(source, staged) as copy:
        source.connection.backup(
            copy, pages=max(1, _STEP_BYTES // source.page_size), progress=on_step, sleep=_RETRY_SECONDS
        )


@contextlib.contextmanager
def _new_database(source: Source, staged: str) -> Iterator[sqlite3.Connection]:
    """An empty file that nobody else sees: no journal, no syncs, because a crash discards it."""
    with contextlib.closing(sqlite3.connect(staged, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute("PRAGMA locking_mode=EXCLUSIVE")
        copy.execute(f"PRAGMA page_size={source.page_size}")
        # The backup API sets the copy's schema cookie to one more than the copy's own: so it equals the source's.
        if source.schema_version > 0:
            copy.execute(f"PRAGMA schema_version={source.schema_version - 1}")
        yield copy


@contextlib.contextmanager
def _explained(staged: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        if sqlitefail.is_full(problem):
            raise _no_space(staged, str(problem)) from problem
        if sqlitefail.is_damage(problem):
            raise sqlitefail.DamagedError(str(problem)) from problem
        raise LitekeepError(
            f"The staged copy {staged} could not be made",
            found=str(problem),
            safe="the source is untouched; earlier backups stand",
            next_step=f"look at: ls -la {os.path.dirname(staged)}",
        ) from problem


def _no_space(staged: str, found: str) -> SpaceError:
    return SpaceError(
        f"No space left for the staged copy {staged}",
        found=found,
        safe="the source is untouched; earlier backups stand",
        next_step=f"free space there (df -h {os.path.dirname(staged)}), or set the database's key staging",
    )


def copy_raw(path: str, staged: str, progress: Progress) -> list[str]:
    """Copy a database that SQLite cannot read, byte by byte, with its -wal or -journal: evidence, no backup.

    Returns the copied files. The caller holds no SQLite connection on ``path``.
    """
    copied = []
    for suffix in ("", "-wal", "-journal"):
        with contextlib.suppress(FileNotFoundError), open(path + suffix, "rb") as reader:
            with open(staged + suffix, "wb") as writer:
                total = os.fstat(reader.fileno()).st_size
                while block := reader.read(CHUNK):
                    writer.write(block)
                    progress.advance("copy", writer.tell(), total)
            copied.append(staged + suffix)
    return copied
