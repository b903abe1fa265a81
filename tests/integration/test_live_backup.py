"""Backups of databases that are being written to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, content, litekeep, make_database, protect, writing

from litekeep import backup, restore
from litekeep.errors import BusyError
from litekeep.progress import Progress
from litekeep.snapshot import copy_snapshot
from litekeep.source import open_source

SIZE = os.environ.get("LITEKEEP_TEST_SIZE", "120MB")


def rows_sha256(path: Path, last: int) -> str:
    """Every row up to ``last``, in order."""
    digest = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for row in db.execute("SELECT * FROM events WHERE id <= ? ORDER BY id", (last,)):
            digest.update(repr(row).encode())
    return digest.hexdigest()


def peak_anonymous_memory(process: subprocess.Popen[str]) -> int:
    """The largest RssAnon seen while the process ran, in bytes."""
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]) * 1024)
        time.sleep(0.01)
    return peak


def test_a_large_database_under_200_commits_a_second(tmp_path: Path) -> None:
    path = tmp_path / "data" / "events.db"
    path.parent.mkdir()
    subprocess.run([sys.executable, ROOT / "scripts/sample_events.py", path, "--size", SIZE], check=True)
    command = ["--database", path, "--repository", tmp_path / "repository", "--host", "host"]
    with writing(path, rate=200):
        process = subprocess.Popen(
            [sys.executable, "-m", "litekeep", *map(str, command), "backup", "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            stdout=subprocess.PIPE,
            text=True,
        )
        peak = peak_anonymous_memory(process)
        answer = json.loads(process.communicate()[0])
    assert process.returncode == 0, answer
    assert peak < 200 << 20
    litekeep(*command, "restore", "--target", tmp_path / "restored.db", check=0)
    with contextlib.closing(sqlite3.connect(tmp_path / "restored.db")) as db:
        count, last = db.execute("SELECT count(*), max(id) FROM events").fetchone()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM events WHERE id <= ?", (last,)).fetchone() == (count,)
        assert db.execute("SELECT max(id) FROM events").fetchone()[0] > last
    assert rows_sha256(tmp_path / "restored.db", last) == rows_sha256(path, last)


def test_the_snapshot_is_one_state_while_transactions_touch_many_pages(tmp_path: Path) -> None:
    """Every transaction adds one to all rows: a copy torn between two of them has two values."""
    path = tmp_path / "events.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=wal")
        db.execute("CREATE TABLE counters(id INTEGER PRIMARY KEY, value INTEGER, filler TEXT)")
        db.executemany("INSERT INTO counters VALUES(?, 0, ?)", ((n, "x" * 900) for n in range(20000)))
        db.commit()
    repository, database = protect(tmp_path, path)
    code = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], timeout=30)\n"
        "print('on', flush=True)\n"
        "while True:\n"
        "    db.execute('UPDATE counters SET value = value + 1'); db.commit()\n"
        "    db.execute('PRAGMA wal_checkpoint(RESTART)')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        for number in range(3):
            taken = backup.take(repository, database, Progress())
            target = tmp_path / f"restored-{number}.db"
            plan = restore.plan(repository, database, taken.id, str(target))
            restore.restore(repository, database, plan, Progress())
            with contextlib.closing(sqlite3.connect(target)) as db:
                assert len(db.execute("SELECT DISTINCT value FROM counters").fetchall()) == 1
    finally:
        writer.kill()
        writer.communicate()


def test_a_rollback_journal_database_is_copied_between_writes(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=20000, mode="delete")
    repository, database = protect(tmp_path, path, deadline=60)
    with writing(path, rate=5):
        taken = backup.take(repository, database, Progress())
    assert taken.state == "verified"


def test_a_rollback_journal_database_that_never_rests_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=60000, mode="delete")
    repository, database = protect(tmp_path, path, deadline=1)

    def until_refused() -> None:
        for _attempt in range(20):
            backup.take(repository, database, Progress())

    with writing(path, rate=1000), pytest.raises(BusyError, match="stayed locked"):
        until_refused()


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_the_copy_is_faithful_to_the_byte_but_for_the_change_counter(tmp_path: Path, mode: str, page_size: int) -> None:
    path = tmp_path / "data" / "events.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA page_size={page_size}")
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("CREATE TABLE t(a, b)")
        db.executemany("INSERT INTO t VALUES(?, ?)", ((n, "x" * n) for n in range(500)))
        db.commit()
    before = path.read_bytes()
    repository, database = protect(tmp_path, path)
    backup.take(repository, database, Progress())
    target = tmp_path / "restored.db"
    restore.restore(repository, database, restore.plan(repository, database, target=str(target)), Progress())
    restored = target.read_bytes()
    assert path.read_bytes() == before
    different = {number for number, (a, b) in enumerate(zip(before, restored)) if a != b}
    # Bytes 24-27 and 92-95: the file change counter and the version it is valid for; 96-99: who wrote it.
    assert different <= {*range(24, 28), *range(92, 100)}
    assert len(before) == len(restored)


def test_the_snapshot_knows_its_place_in_the_wal(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO events(kind) VALUES('x')")
        with open_source(str(path), 5) as source:
            assert source.wal is not None
            header = Path(f"{path}-wal").read_bytes()[:32]
            assert source.wal.salts == (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big"))
            frames = (os.path.getsize(f"{path}-wal") - 32) // (4096 + 24)
            assert source.wal.frame == frames


def test_reading_keeps_the_locks_until_the_end(tmp_path: Path) -> None:
    """Closing any descriptor of -shm would drop the read lock: a TRUNCATE checkpoint must stay blocked."""
    path = make_database(tmp_path / "data" / "events.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO events(kind) VALUES('x')")
        with open_source(str(path), 5):
            db.execute("INSERT INTO events(kind) VALUES('y')")
            code = (
                "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0.2);"
                "print(db.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0])"
            )
            done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
            assert done.stdout == "1\n"


def test_nothing_of_the_users_database_changes(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path)
    before, raw, state = content(path), path.read_bytes(), os.stat(path)
    backup.take(repository, database, Progress())
    after = os.stat(path)
    assert (content(path), path.read_bytes()) == (before, raw)
    assert (after.st_ino, after.st_mode, after.st_uid, after.st_mtime_ns) == (
        state.st_ino, state.st_mode, state.st_uid, state.st_mtime_ns,
    )  # fmt: skip
    for suffix in ("-wal", "-shm"):
        if os.path.exists(f"{path}{suffix}"):
            sidecar = os.stat(f"{path}{suffix}")
            assert (sidecar.st_uid, sidecar.st_mode) == (state.st_uid, state.st_mode)


BUSY_WRITER = """
import random, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
writer, chance = int(sys.argv[2]), random.Random(int(sys.argv[2]))
db.execute("PRAGMA wal_autocheckpoint=%d" % chance.choice((5, 50, 1000)))
db.execute("PRAGMA cache_size=20")
number = 0
while True:
    number += 1
    db.execute("BEGIN IMMEDIATE")
    for part in range(chance.randint(1, 40)):
        db.execute("INSERT INTO commits VALUES(?, ?, ?, hex(randomblob(?)))",
                   (writer, number, part, chance.randint(0, 2000)))
    if number % 3 == 0:
        db.execute("DELETE FROM commits WHERE writer = ? AND number < ?", (writer, number - 50))
    db.execute("INSERT INTO last VALUES(?, ?) ON CONFLICT DO UPDATE SET number = excluded.number", (writer, number))
    db.execute("COMMIT")
    if number % 7 == 0:
        try:
            db.execute("PRAGMA busy_timeout=50")
            db.execute("PRAGMA wal_checkpoint(%s)" % chance.choice(("PASSIVE", "FULL", "RESTART", "TRUNCATE")))
        except sqlite3.OperationalError:
            pass
        db.execute("PRAGMA busy_timeout=30000")
    if number % 200 == 0:
        db.execute("VACUUM")
"""


def test_copies_beside_every_kind_of_checkpoint_are_one_committed_state_each(in_memory: Path) -> None:
    path = in_memory / "busy.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=wal")
        db.execute("CREATE TABLE commits(writer INTEGER, number INTEGER, part INTEGER, payload TEXT)")
        db.execute("CREATE INDEX by_payload ON commits(payload)")
        db.execute("CREATE TABLE last(writer INTEGER PRIMARY KEY, number INTEGER)")
    writers = [subprocess.Popen([sys.executable, "-c", BUSY_WRITER, path, str(number)]) for number in (1, 2, 3)]
    seen: set[tuple[tuple[int, int], ...]] = set()
    copies, from_wal, wanted = 0, 0, int(os.environ.get("LITEKEEP_COPIES", "60"))
    give_up = time.monotonic() + 120 + wanted
    staged = in_memory / "copy.db"
    try:
        # On a slow machine the first copies can be done before a writer has started: go on until there was work.
        while copies < wanted or len(seen) <= 10 or not from_wal:
            assert time.monotonic() < give_up, f"{copies} copies, {len(seen)} states, {from_wal} with frames of the WAL"
            copies += 1
            with open_source(str(path), 30) as source:
                assert source.wal is not None
                from_wal += bool(source.in_wal)
                copy_snapshot(source, str(staged), 30, Progress())
            with contextlib.closing(sqlite3.connect(f"file:{staged}?immutable=1", uri=True)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                for writer, last in db.execute("SELECT * FROM last").fetchall():
                    found = db.execute("SELECT max(number) FROM commits WHERE writer = ?", (writer,)).fetchone()[0]
                    assert found == last
                seen.add(tuple(db.execute("SELECT * FROM last").fetchall()))
            staged.unlink()
        assert all(writer.poll() is None for writer in writers)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
