# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writing into a live database, as the data tools do it: one transaction with its foreign keys checked, or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Collection, Iterable, Iterator

from . import sqlitefail
from .config import Database
from .errors import LitekeepError, SourceError, SpaceError, VerificationError
from .files import free_bytes
from .source import busy, identify, refuse_foreign_sidecars
from .tables import folded, quoted, tables_of

SAFE = "nothing was changed: the whole transaction was taken back"
TRIGGERS = ("fire", "skip")
_PATIENCE = 0.25
_NAMED = 5
_LITTLE = 1 << 20
_MEND = "mend what it names, then run the same command again"
_STEPS = {
    "no such": "a function or collation of the application is not here: leave triggers out (--triggers skip)",
    "foreign key mismatch": "that table's foreign keys were never usable: --foreign-keys ignore",
}


@contextlib.contextmanager
def connected(database: Database, what: str, past: str | None = None) -> Iterator[sqlite3.Connection]:
    """A connection to the live database that may write. Nothing of ours checkpoints beside the application's writers.

    past: a file that nobody writes to, as the schema ``past``. Raises SourceError, VerificationError, SpaceError.
    """
    identity = identify(database.path)
    refuse_foreign_sidecars(identity)
    uri = f"file:{urllib.parse.quote(os.fsencode(identity.path))}?mode=rw"
    with _explained(database, what), contextlib.closing(_connect(uri)) as connection:
        # SQLite up to 3.51.2 can lose a WAL reset to a checkpoint beside a writer ("Write-Ahead Logging", section 11).
        connection.execute("PRAGMA wal_autocheckpoint=0")
        if past is not None:
            attach_past(connection, past)
        yield connection


def attach_past(connection: sqlite3.Connection, path: str) -> None:
    """Make a file that nobody writes to the schema ``past``. The connection must take URIs."""
    connection.execute("ATTACH ? AS past", (f"file:{urllib.parse.quote(os.fsencode(path))}?immutable=1",))


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
    # As for the application: otherwise no trigger may write to a search index ("PRAGMA trusted_schema"). Nothing that
    # a schema could call here reaches beyond the database: no function of ours, no extension.
    connection.execute("PRAGMA trusted_schema=ON")
    return connection


@contextlib.contextmanager
def transaction(
    connection: sqlite3.Connection, database: Database, what: str, dry_run: bool = False, foreign_keys: bool = True
) -> Iterator[None]:
    """One write transaction, committed at the end; a dry run is taken back instead, and so is one that fails.

    foreign_keys: enforce them, at the end, whatever the application does; a caller that looks after them itself may
    take a dry run back before. Raises BusyError when the lock cannot be had, or readers do not go, within the
    database's deadline; VerificationError when a foreign key would point nowhere.
    """
    connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
    _begin(connection, database)
    connection.execute("PRAGMA defer_foreign_keys=ON")
    try:
        yield
        if not dry_run:
            _commit(connection, database, what)
        elif foreign_keys and connection.in_transaction:
            _require_whole(connection, database, what)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection, database: Database) -> None:
    give_up_at = time.monotonic() + database.deadline
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as problem:
            if not sqlitefail.is_busy(problem):
                raise
            if time.monotonic() > give_up_at:
                raise busy(database.path, database.deadline) from problem


def _commit(connection: sqlite3.Connection, database: Database, what: str) -> None:
    give_up_at = time.monotonic() + database.deadline
    while True:
        try:
            connection.execute("COMMIT")
            return
        except sqlite3.IntegrityError as problem:
            if "FOREIGN KEY" not in str(problem):
                raise
            after = _violations(connection)
            connection.execute("ROLLBACK")
            raise _dangling(after - _violations(connection) or after, database.name, what) from problem
        except sqlite3.OperationalError as problem:
            # In a rollback-journal mode, those who read already go on; nobody new can begin.
            if not sqlitefail.is_busy(problem):
                raise
            if time.monotonic() > give_up_at:
                raise busy(database.path, database.deadline) from problem


def _require_whole(connection: sqlite3.Connection, database: Database, what: str) -> None:
    """For a dry run: only a real COMMIT asks for the foreign keys, so all rows are looked at, before and after."""
    after = _violations(connection)
    connection.execute("ROLLBACK")
    if after and (new := after - _violations(connection)):
        raise _dangling(new, database.name, what)


def _violations(connection: sqlite3.Connection) -> set[tuple[str, int | None, str]]:
    return {(row[0], row[1], row[2]) for row in connection.execute("PRAGMA foreign_key_check")}


def _dangling(found: Collection[tuple[str, int | None, str]], name: str, what: str) -> VerificationError:
    rows = sorted(found, key=str)[:_NAMED]
    words = [f"{table} {'' if row is None else f'row {row} '}to {parent}" for table, row, parent in rows]
    return VerificationError(
        f"{what} of {name}: rows would point to rows that are not there",
        expected="every foreign key finds its row",
        found="; ".join(words) + (f"; {len(found)} in all" if len(found) > _NAMED else ""),
        safe=SAFE,
        next_step="take the tables that they point to along; or --foreign-keys ignore, where the application does",
    )


@contextlib.contextmanager
def without_triggers(connection: sqlite3.Connection, tables: Iterable[str]) -> Iterator[None]:
    """Take the triggers of these tables away and put them back, inside the transaction: nobody ever sees it."""
    triggers = _triggers(connection, tables)
    for name, _sql in triggers:
        connection.execute(f"DROP TRIGGER {quoted(name)}")
    yield
    for _name, sql in triggers:
        connection.execute(sql)


def triggers_of(connection: sqlite3.Connection, tables: Iterable[str], event: str = "") -> list[str]:
    """The names of the triggers of these tables. event: only of those ON this one, such as INSERT."""
    return [name for name, sql in _triggers(connection, tables) if _is_on(sql, event)]


def mentioned_by_triggers(
    connection: sqlite3.Connection, table: str, names: Iterable[str], event: str = "INSERT"
) -> list[str]:
    """Those of the names that stand in the triggers of a table on this event: what they may read or write."""
    said = " ".join(sql for _name, sql in _triggers(connection, [table]) if _is_on(sql, event))
    return [name for name in names if _mentions(said, name)]


def _is_on(sql: str, event: str) -> bool:
    return not event or re.search(rf"\b{event}\s+ON\b", sql, re.IGNORECASE) is not None


def _mentions(sql: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", sql, re.IGNORECASE) is not None


def _triggers(connection: sqlite3.Connection, tables: Iterable[str]) -> list[tuple[str, str]]:
    names = list(tables)
    return connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name COLLATE NOCASE IN "
        f"({', '.join('?' * len(names))}) ORDER BY rowid",
        names,
    ).fetchall()


def rebuild_indexes(connection: sqlite3.Connection, tables: Iterable[str], attended: Collection[str] = ()) -> list[str]:
    """Make the search indexes over these tables anew, where no trigger kept them up ("FTS5", section 6.7).

    attended: those of the tables whose triggers fired. Returns the names of the indexes.
    """
    written, attended = {folded(name) for name in tables}, {folded(name) for name in attended}
    views = dict(connection.execute("SELECT lower(name), sql FROM sqlite_master WHERE type = 'view'").fetchall())
    stale = []
    for index in tables_of(connection).values():
        if not index.index_of:
            continue
        content = folded(index.index_of)
        sources = {name for name in written if name == content or _mentions(views.get(content, ""), name)}
        # Without a DELETE trigger, it still holds what was deleted, and would hold it twice.
        kept_up = {
            name
            for name in sources & attended
            if all(mentioned_by_triggers(connection, name, [index.name], event) for event in ("INSERT", "DELETE"))
        }
        if sources - kept_up or folded(index.name) in written:
            stale.append(index.name)
            connection.execute(f"INSERT INTO main.{quoted(index.name)} ({quoted(index.name)}) VALUES ('rebuild')")
    return stale


def _is_full(database: Database) -> bool:
    """Without room for its -shm file SQLite speaks of an I/O error."""
    return free_bytes(os.path.dirname(os.path.realpath(database.path))) < _LITTLE


@contextlib.contextmanager
def _explained(database: Database, what: str) -> Iterator[None]:
    try:
        yield
    except LitekeepError:
        raise
    except sqlite3.Error as problem:
        if sqlitefail.is_full(problem) or ("disk I/O error" in str(problem) and _is_full(database)):
            raise SpaceError(
                f"{what} of {database.name}: the disk is full",
                found=str(problem),
                safe=SAFE,
                next_step="free space beside the database and in the directory for temporary files, then run it again",
            ) from problem
        if sqlitefail.is_damage(problem):
            raise VerificationError(
                f"{database.path} is damaged",
                found=str(problem),
                safe=SAFE,
                next_step="the playbook recover_corruption.yml brings it back",
            ) from problem
        raise SourceError(
            f"{what} of {database.name}: SQLite refuses",
            found=str(problem),
            safe=SAFE,
            next_step=next((step for words, step in _STEPS.items() if words in str(problem)), _MEND),
        ) from problem
