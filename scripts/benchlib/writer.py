# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An application that commits at a fixed rate: ``python -m benchlib.writer DATABASE RATE LOG``.

Each commit adds one event and one note. It ends at SIGTERM, or when its parent is gone, and then writes LOG: a JSON
object with ``commits``, a list of [due, begun, done], and ``errors``, a list of [moment, message]. Moments are seconds
of the system's monotonic clock.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

from sample_events import payload

AUTHOR = "bench"


class Writer:
    """A connection, its schedule, and the record of what it did. rate: commits a second."""

    def __init__(self, database: str, rate: float) -> None:
        # Everything as SQLite and Python set it: full syncs, automatic checkpoints, 5 seconds of patience.
        self.connection = sqlite3.connect(database, isolation_level=None)
        self.pause = 1 / rate
        self.chance = random.Random(0)
        self.commits: list[tuple[float, float, float]] = []
        self.errors: list[tuple[float, str]] = []
        self.ended = False

    def end(self, _number: int, _frame: object) -> None:
        """A signal's handler: finish the commit at hand, then stop."""
        self.ended = True

    def run(self) -> None:
        """Commit until told to end. Who is late catches up: a stall must not make the load smaller."""
        parent, due = os.getppid(), time.monotonic()
        while not self.ended and os.getppid() == parent:
            due += self.pause
            time.sleep(max(0.0, due - time.monotonic()))
            begun = time.monotonic()
            try:
                self.commit()
                self.commits.append((due, begun, time.monotonic()))
            except sqlite3.Error as problem:
                self.errors.append((time.monotonic(), str(problem)))
                with contextlib.suppress(sqlite3.Error):
                    self.connection.rollback()

    def commit(self) -> None:
        """One transaction."""
        moment = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.connection.execute("BEGIN IMMEDIATE")
        event = self.connection.execute(
            "INSERT INTO events (timestamp, kind, payload) VALUES (?, 'live', ?)",
            (moment, payload(self.chance, "live")),
        ).lastrowid
        self.connection.execute(
            "INSERT INTO notes (event_id, author, note) VALUES (?, ?, ?)", (event, AUTHOR, f"beside event {event}")
        )
        self.connection.execute("COMMIT")


def main() -> int:
    """Write until told to end, then tell."""
    database, rate, log = sys.argv[1:]
    writer = Writer(database, float(rate))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, writer.end)
    writer.run()
    writer.connection.close()
    Path(log).write_text(json.dumps({"commits": writer.commits, "errors": writer.errors}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
