# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a manifest says: everything that was found out while a backup was taken."""

from __future__ import annotations

import datetime as dt
import platform
import sqlite3

from . import __version__, store
from .capture import Capture
from .checks import Outcome, Report
from .config import Database
from .manifest import FORMAT, VERSION
from .repository import Partial, Repository
from .store import Stored
from .timefmt import to_text


def manifest_values(
    repository: Repository,
    database: Database,
    partial: Partial,
    started: dt.datetime,
    finished: dt.datetime,
    capture: Capture,
    files: list[Stored],
    read_back: Outcome,
    report: Report,
) -> dict[str, object]:
    """The manifest of a full backup, without its checksum. Times UTC, sizes in bytes, durations in seconds."""
    fingerprint = report.fingerprint
    return {
        "format": {"name": FORMAT, "version": VERSION},
        "id": partial.id,
        "sequence": partial.sequence,
        "type": "full",
        "parent": None,
        "host": repository.host,
        "database": database.name,
        "source": {
            **capture.source,
            "application_id": fingerprint.application_id if fingerprint else None,
            "user_version": fingerprint.user_version if fingerprint else None,
            "schema_sha256": fingerprint.schema_sha256 if fingerprint else None,
        },
        "times": {"started": to_text(started), "snapshot": to_text(capture.taken), "finished": to_text(finished)},
        "capture": "raw" if capture.damage else "snapshot",
        "page_size": fingerprint.page_size if fingerprint else None,
        "page_count": fingerprint.page_count if fingerprint else None,
        "encoding": fingerprint.encoding if fingerprint else None,
        "rows": fingerprint.rows if fingerprint else {},
        "files": [file.to_json() for file in files],
        "compression": {"method": "zstd", "level": database.compression_level, "checksum": True},
        "checks": {
            "integrity": report.integrity.to_json(),
            "foreign_keys": report.foreign_keys.to_json(),
            "read_back": read_back.to_json(),
        },
        "verified": report.passed,
        "warnings": _warnings(report),
        "wal": capture.wal,
        "timeline": capture.timeline,
        "tool": {
            "litekeep": __version__,
            "sqlite": sqlite3.sqlite_version,
            "zstandard": store.require_zstandard(),
            "python": platform.python_version(),
        },
    }


def raw_report(damage: str) -> Report:
    """The report on a source that SQLite could not even read."""
    return Report(Outcome("failed", [damage], 0.0), Outcome("not run", [], 0.0), None)


def _warnings(report: Report) -> list[str]:
    warnings = [f"foreign key violations in {message}" for message in report.foreign_keys.messages]
    if report.fingerprint is not None and not report.fingerprint.rows:
        warnings.append("the database has no tables")
    return warnings
