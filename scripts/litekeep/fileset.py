# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database's four files as one unit, and how to make one file out of them.

The committed state of a database lies in its file and in a WAL or hot journal beside it. Taking one of them
away loses commits or lets the disaster come back, and ``integrity_check`` says ok to both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from dataclasses import dataclass

from . import sqlitefail
from .files import sync_file
from .openers import SUFFIXES
from .ownership import attributes_of
from .walfile import has_frames

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


@dataclass(frozen=True)
class FileSet:
    """The four names of a database whose file is (or would be) at ``path``."""

    path: str

    def present(self) -> list[str]:
        """The suffixes of those that exist: ``""``, ``-wal``, ``-shm``, ``-journal``."""
        return [suffix for suffix in SUFFIXES if os.path.lexists(self.path + suffix)]

    def sidecars(self) -> list[str]:
        """The suffixes that exist, without the database itself."""
        return [suffix for suffix in self.present() if suffix]

    def is_whole_by_itself(self) -> bool:
        """Whether the database file alone is the whole committed state."""
        return not has_frames(f"{self.path}-wal") and not _is_hot(f"{self.path}-journal")

    def signature(self) -> dict[str, tuple[int, int, int]]:
        """Inode, size and time of change of those files that hold content: any commit changes it."""
        found = {}
        for suffix in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                state = os.stat(self.path + suffix)
                found[suffix] = (state.st_ino, state.st_size, state.st_mtime_ns)
        return found

    def settle_into(self, path: str) -> None:
        """Make one whole file at ``path`` by copying the set and letting SQLite recover the copy.

        The set itself stays as it is. Raises sqlitefail.DamagedError when SQLite cannot, OSError when the disk cannot.
        """
        for suffix in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.path + suffix, path + suffix)
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                blocked = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.Error as problem:
            raise sqlitefail.DamagedError(str(problem)) from problem
        if blocked or not FileSet(path).is_whole_by_itself():
            raise sqlitefail.DamagedError("SQLite could not bring the WAL into the database")
        for suffix in FileSet(path).sidecars():
            os.unlink(path + suffix)
        attributes_of(self.path).apply(path)
        sync_file(path)


def _is_hot(path: str) -> bool:
    """Whether a rollback journal would be played back ("Atomic Commit In SQLite", section 4.2)."""
    try:
        with open(path, "rb") as stream:
            return stream.read(8) == _JOURNAL_MAGIC
    except FileNotFoundError:
        return False
