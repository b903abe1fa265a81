# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One of several writers beside an archiver: ``python -m benchlib.archive_writer DATABASE RATE LOG SEED BEGIN``.

Mostly one event and its note a transaction, now and then many events, as imports and batches do. BEGIN is the moment of
the system's monotonic clock at which it starts. Beside what ``benchlib.writer`` writes, LOG has ``events``: how many it
has committed, and ``cpu``: the processor seconds that all this took.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import sys
import time
from pathlib import Path

from sample_events import KINDS, short_payload

from .writer import AUTHOR, Writer

LARGE_SHARE = 1 / 100  # of all transactions
LARGE = (20, 200)  # events in one of these
PATIENCE = 5000  # milliseconds that a connection waits for a lock, as Python's default


class ArchiveWriter(Writer):
    """SQLite's automatic checkpoints, and what most applications set with WAL. rate: commits a second."""

    def __init__(self, database: str, rate: float, seed: int) -> None:
        super().__init__(database, rate)
        self.chance = random.Random(seed)
        self.events = 0
        self.set_up()

    def set_up(self) -> None:
        """What an application sets on each of its connections."""
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")

    def commit(self) -> None:
        """One transaction; its rows are made before it begins."""
        rows = self.rows()
        self.connection.execute("BEGIN IMMEDIATE")
        self.insert(rows)
        self.connection.execute("COMMIT")
        self.events += len(rows)

    def insert(self, rows: list[tuple[str, str, str, str]]) -> None:
        """All rows, and a note to the first."""
        sql = "INSERT INTO events (timestamp, kind, payload, request_id) VALUES (?, ?, ?, ?)"
        event = self.connection.execute(sql, rows[0]).lastrowid
        self.connection.execute(
            "INSERT INTO notes (event_id, author, note) VALUES (?, ?, ?)", (event, AUTHOR, f"beside event {event}")
        )
        self.connection.executemany(sql, rows[1:])

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The events of the next transaction."""
        moment = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        count = self.chance.randint(*LARGE) if self.chance.random() < LARGE_SHARE else 1
        kinds = self.chance.choices(KINDS, k=count)
        return [
            (moment, kind, short_payload(self.chance, kind), f"{self.chance.getrandbits(128):032x}") for kind in kinds
        ]


def write(writer: ArchiveWriter, begin: float, log: str) -> int:
    """Write from the moment ``begin`` until told to end, then tell."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, writer.end)
    time.sleep(max(0.0, begin - time.monotonic()))
    before = time.process_time()
    writer.run()
    cpu = time.process_time() - before
    writer.connection.close()
    told = {"commits": writer.commits, "errors": writer.errors, "events": writer.events, "cpu": cpu}
    Path(log).write_text(json.dumps(told), encoding="utf-8")
    return 0


def main() -> int:
    """The words of the command line."""
    database, rate, log, seed, begin = sys.argv[1:]
    return write(ArchiveWriter(database, float(rate), int(seed)), float(begin), log)


if __name__ == "__main__":
    sys.exit(main())
