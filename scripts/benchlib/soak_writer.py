# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A writer of the soak: ``python -m benchlib.soak_writer DATABASE RATE LOG SEED BEGIN``, as benchlib.archive_writer.

It also changes and deletes, as an application with a retention of its own does, so that the database does not grow for
ever; and now and then it opens its connection anew.
"""

from __future__ import annotations

import sqlite3
import sys

from .archive_writer import LARGE, LARGE_SHARE, ArchiveWriter, write

CHANGE = 1 / 10  # of all transactions change an event, too
DELETE_EVERY = 200  # commits of one writer
RECONNECT_EVERY = 2000  # commits of one writer
# What so many commits bring, on average: as much goes as comes.
DELETED = round(DELETE_EVERY * (1 - LARGE_SHARE + LARGE_SHARE * sum(LARGE) / 2))


class SoakWriter(ArchiveWriter):
    """Inserts, changes, deletes, reconnects."""

    def __init__(self, database: str, rate: float, seed: int) -> None:
        super().__init__(database, rate, seed)
        self._database = database
        self._done = 0

    def commit(self) -> None:
        """One transaction."""
        rows = self.rows()
        self._done += 1
        if self._done % RECONNECT_EVERY == 0:
            self.connection.close()
            self.connection = sqlite3.connect(self._database, isolation_level=None)
            self.set_up()
        self.connection.execute("BEGIN IMMEDIATE")
        self.insert(rows)
        if self.chance.random() < CHANGE:
            self.connection.execute(
                "UPDATE events SET kind = 'changed' WHERE id = (SELECT max(id) FROM events) - ?",
                (self.chance.randrange(10_000),),
            )
        if self._done % DELETE_EVERY == 0:
            last = self.connection.execute("SELECT min(id) FROM events").fetchone()[0] + DELETED
            self.connection.execute("DELETE FROM notes WHERE event_id < ?", (last,))
            self.connection.execute("DELETE FROM events WHERE id < ?", (last,))
        self.connection.execute("COMMIT")
        self.events += len(rows)


def main() -> int:
    """The words of the command line."""
    database, rate, log, seed, begin = sys.argv[1:]
    return write(SoakWriter(database, float(rate), int(seed)), float(begin), log)


if __name__ == "__main__":
    sys.exit(main())
