"""kill -9 of the archiver, the application, or both, at random moments: a restore is exact, or the gap is named."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from archiving import Archive, archived

from litekeep.errors import NoRestorePointError

ROUNDS = int(os.environ.get("LITEKEEP_KILLS", "12"))
BLUR = 0.005  # seconds: the archive keeps milliseconds, and rounds what it observed up

# Every commit is one row; when it began and when it was done goes into a file, line by line.
WRITER = """
import sqlite3, sys, time
path, writer, diary = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a", buffering=1)
db = sqlite3.connect(path, isolation_level=None, timeout=30)
db.execute("PRAGMA wal_autocheckpoint=%d" % (100 * writer))
number = db.execute("SELECT coalesce(max(number), 0) FROM commits WHERE writer = ?", (writer,)).fetchone()[0]
while True:
    number += 1
    diary.write("begin %d %.6f\\n" % (number, time.time()))
    db.execute("INSERT INTO commits VALUES(?, ?, ?)", (writer, number, "x" * (number * 37 % 4000)))
    diary.write("done %d %.6f\\n" % (number, time.time()))
    time.sleep(0.002 * (number % 3))
"""


class Work:
    """Writers that are killed and started again, and what they wrote down."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder, self.path = folder, path
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for writer in (1, 2):
            words = [sys.executable, "-c", textwrap.dedent(WRITER), self.path, writer, self.diary(writer)]
            self.processes[writer] = subprocess.Popen([str(word) for word in words])

    def diary(self, writer: int) -> Path:
        return self.folder / f"diary-{writer}"

    def kill(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()

    def told(self, writer: int, word: str) -> dict[int, float]:
        """When each of its commits began, or was done. One that was begun anew after a kill: the first beginning."""
        found: dict[int, float] = {}
        for line in self.diary(writer).read_text().splitlines():
            parts = line.split()
            if len(parts) == 3 and parts[0] == word:
                found.setdefault(int(parts[1]), float(parts[2]))
        return found

    def check(self, restored: Path, recovered: float) -> None:
        """What was done by then is there, what was begun after it is not, and nothing is missing in between."""
        with contextlib.closing(sqlite3.connect(restored)) as db:
            for writer in (1, 2):
                there = [n for (n,) in db.execute("SELECT number FROM commits WHERE writer = ? ORDER BY 1", (writer,))]
                assert there == list(range(1, len(there) + 1))
                missing = [n for n, t in self.told(writer, "done").items() if t < recovered - BLUR and n > len(there)]
                early = [n for n, t in self.told(writer, "begin").items() if t > recovered + BLUR and n <= len(there)]
                assert not missing, (writer, missing, recovered)
                assert not early, (writer, early, recovered)


def test_whatever_is_killed_a_restore_is_exact_or_refused(in_memory: Path) -> None:
    chance = random.Random(7)
    path = in_memory / "events.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=wal")
        db.execute("CREATE TABLE commits(writer INTEGER, number INTEGER, payload TEXT)")
    archive = Archive(in_memory, path)
    work = Work(in_memory, path)
    begun = time.time()
    exact = refused = 0
    with archived(archive):
        work.start()
        try:
            for _round in range(ROUNDS):
                time.sleep(chance.uniform(0.05, 1.2))
                victim = chance.choice(("archiver", "application", "both"))
                if victim != "archiver":
                    work.kill()
                if victim != "application":
                    archive.kill()
                    time.sleep(chance.choice((0.0, 0.3)))
                    archive.start(base=chance.random() < 0.7)
                if victim != "archiver":
                    work.start()
                anywhere = [
                    dt.datetime.fromtimestamp(chance.uniform(begun, time.time()), dt.timezone.utc) for _n in "12"
                ]
                # What kills leave can be gaps mostly: look where something was proven, too.
                proven = [window.start + (window.end - window.start) * chance.random() for window in archive.windows()]
                for asked in anywhere + proven[-2:]:
                    try:
                        point = archive.point(asked)
                    except NoRestorePointError as refusal:
                        refused += 1
                        assert "before it: " in refusal.found, refusal
                        assert "after it: " in refusal.found, refusal
                    else:
                        exact += 1
                        restored = archive.restored(point.id)
                        work.check(restored, point.recovered.timestamp())
                        assert point.recovered <= asked
                        restored.unlink()
        finally:
            work.kill()
        archive.wait_for(archive.hangs)
        time.sleep(0.2)
        archive.stop()
    last = archive.restored("latest")
    work.check(last, time.time())
    assert not any(timeline.problems for timeline in archive.timelines())
    assert all(gap.reason for gap in archive.gaps())
    assert exact > ROUNDS // 2
    print(f"{ROUNDS} kills, {exact} restores exact, {refused} refused, {len(archive.timelines())} timelines")
