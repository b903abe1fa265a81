# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What makes a copy a verified one: SQLite's own checks, and a fingerprint that an empty file cannot have."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .source import connect
from .store import CancelledError

_MESSAGES = 100
_VIOLATIONS = 1000
_MMAP = 1 << 40


@dataclass
class Outcome:
    """The result of one check: ``ok`` or ``failed``, its messages, the seconds it took."""

    result: str
    messages: list[str]
    seconds: float

    def to_json(self) -> dict[str, object]:
        """As manifests hold it."""
        return {"result": self.result, "messages": self.messages, "seconds": round(self.seconds, 3)}


@dataclass
class Fingerprint:
    """What identifies a database's content at a glance.

    schema_sha256: over type, name, table and SQL of every schema entry. rows: per ordinary table; None
    where the table could not be counted.
    """

    application_id: int
    user_version: int
    page_size: int
    page_count: int
    encoding: str
    schema_sha256: str
    rows: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Report:
    """All that was found out about a copy. Foreign keys are reported; they are the application's affair."""

    integrity: Outcome
    foreign_keys: Outcome
    fingerprint: Fingerprint | None

    @property
    def passed(self) -> bool:
        """Whether the copy is a sound database."""
        return self.integrity.result == "ok" and self.fingerprint is not None


def check(path: str, cancelled: threading.Event) -> Report:
    """Check a sealed copy with ``integrity_check``, ``foreign_key_check`` and a fingerprint.

    Raises CancelledError when the event is set while a check runs.
    """
    with contextlib.closing(connect(path, immutable=True)) as connection:
        connection.execute(f"PRAGMA mmap_size={_MMAP}")
        connection.set_progress_handler(cancelled.is_set, 1_000_000)
        try:
            return check_connection(connection)
        finally:
            if cancelled.is_set():
                raise CancelledError


def check_connection(connection: sqlite3.Connection) -> Report:
    """The same checks on a connection that the caller opened, in the state that it sees."""
    integrity = _integrity(connection)
    fingerprint: Fingerprint | None = None
    try:
        foreign_keys = _foreign_keys(connection)
        fingerprint = fingerprint_of(connection, count_rows=True)
    except sqlite3.Error as problem:
        foreign_keys = Outcome("failed", [str(problem)], 0.0)
        integrity.result = "failed"
        integrity.messages.append(str(problem))
    return Report(integrity, foreign_keys, fingerprint)


def _integrity(connection: sqlite3.Connection) -> Outcome:
    """Anything but exactly one row ``ok`` is a failure; damage often raises instead of answering."""
    started = time.monotonic()
    try:
        rows = [_text(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MESSAGES})")]
    except sqlite3.Error as problem:
        rows = [str(problem)]
    good = rows == ["ok"]
    return Outcome("ok" if good else "failed", [] if good else rows or ["no answer"], time.monotonic() - started)


def _foreign_keys(connection: sqlite3.Connection) -> Outcome:
    """Count violations by table pair; the first thousand are enough to know."""
    started = time.monotonic()
    counts: dict[str, int] = {}
    try:
        for number, row in enumerate(connection.execute("PRAGMA foreign_key_check")):
            label = f"{_text(row[0])} -> {_text(row[2])}"
            counts[label] = counts.get(label, 0) + 1
            if number + 1 >= _VIOLATIONS:
                counts["and more"] = 1
                break
    except sqlite3.OperationalError as problem:
        # A parent that lacks the referenced unique key is a fault of the schema, not damage.
        counts[str(problem)] = 1
    messages = [f"{label}: {count}" for label, count in counts.items()]
    return Outcome("failed" if messages else "ok", messages, time.monotonic() - started)


def fingerprint_of(connection: sqlite3.Connection, *, count_rows: bool) -> Fingerprint:
    """The fingerprint of what the connection sees. Raises sqlite3.Error when the schema cannot be read."""

    def number(pragma: str) -> int:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    return Fingerprint(
        application_id=number("application_id"),
        user_version=number("user_version"),
        page_size=number("page_size"),
        page_count=number("page_count"),
        encoding=str(connection.execute("PRAGMA encoding").fetchone()[0]),
        schema_sha256=_schema_sha256(connection),
        rows=rows_per_table(connection) if count_rows else {},
    )


def rows_per_table(connection: sqlite3.Connection) -> dict[str, int | None]:
    """Rows of every ordinary table. Virtual tables are skipped: their modules may not be here."""
    counts: dict[str, int | None] = {}
    with _bytes_for_text(connection):
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall()
    for (name,) in tables:
        counts[_text(name)] = _count(connection, _text(name))
    return counts


def _count(connection: sqlite3.Connection, table: str) -> int | None:
    quoted = table.replace('"', '""')
    try:
        return int(connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0])
    except sqlite3.OperationalError:
        return None


def _schema_sha256(connection: sqlite3.Connection) -> str:
    digest = hashlib.sha256()
    with _bytes_for_text(connection):
        for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name, sql"):
            digest.update(json.dumps([None if value is None else value.hex() for value in row]).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _bytes_for_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Schemas hold text in any bytes; the strict default would raise on some."""
    before = connection.text_factory
    connection.text_factory = bytes
    try:
        yield
    finally:
        connection.text_factory = before


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
