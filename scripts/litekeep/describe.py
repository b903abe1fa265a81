# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a live database is like: size, mode, tables, who has it open. Looks, and changes nothing."""

from __future__ import annotations

import os
import sqlite3

from . import checks, sqlitefail
from .config import Database
from .openers import SUFFIXES, find_openers
from .source import open_source
from .sqliteversion import can_lose_a_reset


def describe(database: Database, count_rows: bool = False) -> dict[str, object]:
    """Describe the live database. ``count_rows`` reads every table once.

    Raises SourceError, BusyError; a damaged database is described with ``readable`` false.
    """
    path = os.path.realpath(database.path)
    try:
        with open_source(database.path, database.deadline) as source:
            fingerprint = checks.fingerprint_of(source.connection, count_rows=count_rows)
            free = int(source.connection.execute("PRAGMA freelist_count").fetchone()[0])
            values: dict[str, object] = {
                "readable": True,
                "problem": "",
                "journal_mode": source.journal_mode,
                "page_size": source.page_size,
                "page_count": source.page_count,
                "free_pages": free,
                "application_id": fingerprint.application_id,
                "user_version": fingerprint.user_version,
                "encoding": fingerprint.encoding,
                "schema_sha256": fingerprint.schema_sha256,
                "rows": fingerprint.rows,
            }
    except (sqlitefail.DamagedError, sqlite3.DatabaseError) as problem:
        values = {"readable": False, "problem": str(problem)}
    look = find_openers(path)
    return {
        "name": database.name,
        "path": path,
        **values,
        "sizes": {suffix or "database": _size(path + suffix) for suffix in SUFFIXES},
        "openers": [{"pid": o.pid, "command": o.command, "file": o.file} for o in look.openers],
        "hidden_processes": look.hidden,
        "sqlite_version": sqlite3.sqlite_version,
        "sqlite_wal_reset_bug": can_lose_a_reset(sqlite3.sqlite_version_info),
    }


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
