# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The staged copy: one committed state of a live database, page by page, through SQLite's backup API.

In WAL mode the source's read transaction stands during the whole copy: no restart, no blocked writer. In a
rollback-journal mode that would block writers, so the lock is taken for one bounded step at a time and the
copy starts again when somebody wrote ("SQLite Backup API", section "File and Database Connection Locking").
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator

from . import sqlitefail
from .errors import LitekeepError, SpaceError
from .files import CHUNK
from .progress import Progress
from .source import Source, busy

_STEP_BYTES = 16 << 20
_RETRY_SECONDS = 0.02


def copy_snapshot(source: Source, staged: str, deadline: int, progress: Progress) -> None:
    """Copy the source to the new file ``staged``. The copy differs only in its change counter.

    Raises BusyError when a rollback-journal database stayed locked or changing for ``deadline`` seconds,
    sqlitefail.DamagedError when SQLite cannot read the source, SpaceError when staging filled up.
    """
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
            raise SpaceError(
                f"No space left for the staged copy {staged}",
                found=str(problem),
                safe="the source is untouched; earlier backups stand",
                next_step=f"free space there (df -h {os.path.dirname(staged)}), or set the database's key staging",
            ) from problem
        if sqlitefail.is_damage(problem):
            raise sqlitefail.DamagedError(str(problem)) from problem
        raise LitekeepError(
            f"The staged copy {staged} could not be made",
            found=str(problem),
            safe="the source is untouched; earlier backups stand",
            next_step=f"look at: ls -la {os.path.dirname(staged)}",
        ) from problem


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
