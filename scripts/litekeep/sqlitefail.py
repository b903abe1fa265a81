# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What SQLite's refusals mean. Python before 3.11 gives no error codes, so the words decide.

The words are those of ``sqlite3ErrStr()``; they have not changed since 2006 ("Result and Error Codes").
"""

from __future__ import annotations

import sqlite3


class DamagedError(Exception):
    """SQLite cannot read the database because its content is damaged."""


def is_busy(problem: sqlite3.Error) -> bool:
    """SQLITE_BUSY or SQLITE_LOCKED: somebody else holds a lock."""
    return "is locked" in str(problem)


def is_damage(problem: sqlite3.Error) -> bool:
    """SQLITE_CORRUPT, SQLITE_NOTADB or SQLITE_IOERR: the bytes, or the disk below them, are bad."""
    words = ("malformed", "file is not a database", "disk I/O error", "unsupported file format")
    return any(word in str(problem) for word in words)


def is_full(problem: sqlite3.Error) -> bool:
    """SQLITE_FULL: the disk below the file that SQLite writes is full."""
    return "is full" in str(problem)
