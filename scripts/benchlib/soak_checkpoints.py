# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The soak application's own checkpoints: ``python -m benchlib.soak_checkpoints DATABASE SECONDS LOG SEED``.

One of the four kinds at random, SECONDS apart on average. It ends at SIGTERM, or when its parent is gone, and then
writes LOG: a JSON object with ``checkpoints``, a list of [begun, seconds, kind, busy], and ``failures``, a list of
[moment, message]. Moments are seconds of the system's monotonic clock; busy is what SQLite answered: 1 when it could
not do all that was asked for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

from .archive_writer import PATIENCE

KINDS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


class Keeper:
    """A connection that only checkpoints. pause: seconds between two, on average."""

    def __init__(self, database: str, pause: float, seed: int) -> None:
        self.connection = sqlite3.connect(database, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")
        self.pause = pause
        self.chance = random.Random(seed)
        self.checkpoints: list[tuple[float, float, str, int]] = []
        self.failures: list[tuple[float, str]] = []
        self.ended = False

    def end(self, _number: int, _frame: object) -> None:
        """A signal's handler: finish the checkpoint at hand, then stop."""
        self.ended = True

    def run(self) -> None:
        """Checkpoint until told to end."""
        parent, due = os.getppid(), time.monotonic()
        while True:
            due += self.chance.expovariate(1 / self.pause)
            while time.monotonic() < due:
                time.sleep(min(0.2, max(0.0, due - time.monotonic())))
                if self.ended or os.getppid() != parent:
                    return
            self.checkpoint(self.chance.choice(KINDS))

    def checkpoint(self, kind: str) -> None:
        """One checkpoint, and what became of it."""
        begun = time.monotonic()
        try:
            busy = self.connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()[0]
            self.checkpoints.append((begun, time.monotonic() - begun, kind, busy))
        except sqlite3.Error as problem:
            self.failures.append((begun, f"{kind}: {problem}"))


def main() -> int:
    """Checkpoint until told to end, then tell."""
    database, pause, log, seed = sys.argv[1:]
    keeper = Keeper(database, float(pause), int(seed))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, keeper.end)
    keeper.run()
    keeper.connection.close()
    told = {"checkpoints": keeper.checkpoints, "failures": keeper.failures}
    Path(log).write_text(json.dumps(told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
