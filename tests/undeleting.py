"""What the tests of undelete share: a database of any schema with its backups, and its content by table."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import protect

from litekeep import backup, undelete
from litekeep.missing import Undeleted
from litekeep.progress import Progress
from litekeep.undelete import Outcome, Wish


class Case:
    """Connections are short: the engine opens the same file in this process, and POSIX would drop their locks."""

    def __init__(self, folder: Path, schema: str, mode: str = "wal", **policy: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "events.db"
        self.repository, self.database = protect(folder, self.path, **policy)
        self.run(f"PRAGMA journal_mode={mode};" + schema)

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """As the application has it: with foreign keys."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as db:
            db.execute("PRAGMA foreign_keys=ON")
            yield db

    def run(self, script: str) -> None:
        """SQL of the application."""
        with self.open() as db:
            db.executescript(script)

    def rows(self, sql: str) -> list[Any]:
        """What it reads."""
        with self.open() as db:
            return db.execute(sql).fetchall()

    def backup(self) -> str:
        """A moment to go back to."""
        return backup.take(self.repository, self.database, Progress()).id

    def undelete(self, to: str = "latest", **wish: Any) -> Outcome:
        """Put back."""
        return undelete.undelete(self.repository, self.database, Wish(to=to, **wish), Progress())

    def table(self, name: str, to: str = "latest", **wish: Any) -> Undeleted:
        """Put back; what became of one table."""
        return next(table for table in self.undelete(to, **wish).tables if table.table == name)

    def dump(self) -> str:
        """Schema and rows, in a form that can be compared."""
        with self.open() as db:
            schema = sorted(map(str, db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")))
            # What virtual tables hold stands in other ones.
            sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
            names = [row[0] for row in db.execute(sql)]
            return "\n".join(schema + [f"{n} {row!r}" for n in names for row in db.execute(f'SELECT * FROM "{n}"')])

    def check(self) -> None:
        """It is sound, points nowhere wrong, and its search indexes agree with what they index."""
        with self.open() as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%USING fts5%'").fetchall():
                if "content=''" not in sql:
                    db.execute(f'INSERT INTO "{name}"("{name}", rank) VALUES(\'integrity-check\', 1)')
