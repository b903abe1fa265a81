"""What several tests share: databases to protect, writers beside them, and a way to be killed at a chosen step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository

SUFFIXES = ("", "-wal", "-shm", "-journal")
ROOT = Path(__file__).resolve().parent.parent


def make_database(path: Path, rows: int = 200, mode: str = "wal", marker: str = "old") -> Path:
    """An event database at rest: no sidecars in any mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode={mode}")
        db.executescript(
            "CREATE TABLE events(id INTEGER PRIMARY KEY, timestamp TEXT, kind TEXT, payload TEXT);"
            "CREATE INDEX events_timestamp ON events(timestamp);"
            "CREATE INDEX events_kind ON events(kind, timestamp);"
            "PRAGMA user_version=7; PRAGMA application_id=1234;"
        )
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO events(timestamp, kind, payload) VALUES(?, ?, ?)",
            (
                (f"2026-11-22T02:00:{n % 60:02d}.{n:06d}Z", f"{marker}-{n % 5}", f"{marker} {n} " * 20)
                for n in range(rows)
            ),
        )
        db.execute("COMMIT")
    return path


def run_python(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, check=check
    )


def leave_wal(path: Path, marker: str = "in the wal", rows: int = 50) -> None:
    """Commit rows that stand in the WAL only, then die: -wal and -shm stay behind."""
    run_python(
        """
        import os, signal, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("PRAGMA wal_autocheckpoint=0")
        for n in range(int(sys.argv[3])):
            db.execute("INSERT INTO events(timestamp, kind, payload) VALUES('2026', 'wal', ?)", (f"{sys.argv[2]} {n}",))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path, marker, rows, check=False,
    )  # fmt: skip
    assert os.path.getsize(f"{path}-wal") > 0


def leave_hot_journal(path: Path) -> None:
    """Die inside a transaction that has already changed the database file (rollback-journal mode)."""
    run_python(
        """
        import os, signal, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("PRAGMA cache_size=2")
        db.execute("BEGIN")
        db.execute("UPDATE events SET payload = 'torn ' || payload")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path, check=False,
    )  # fmt: skip
    assert os.path.getsize(f"{path}-journal") > 0


def content(path: Path) -> str:
    """What an application would read, as a hash: opens a copy of the whole set as the application would.

    ``missing`` when there is no database, ``unreadable: ...`` when SQLite refuses or a check fails.
    """
    if not path.exists():
        return "missing"
    copy = path.parent / f".look-{os.getpid()}"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    try:
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(f"{path}{suffix}"):
                shutil.copy(f"{path}{suffix}", f"{copy / path.name}{suffix}")
        with contextlib.closing(sqlite3.connect(copy / path.name)) as db:
            sound = db.execute("PRAGMA integrity_check").fetchall()
            if sound != [("ok",)]:
                return f"unreadable: {sound[0][0]}"
            return hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest()
    except sqlite3.Error as problem:
        return f"unreadable: {problem}"
    finally:
        shutil.rmtree(copy)


def set_bytes(path: Path) -> dict[str, bytes]:
    """The raw bytes of the files that hold content."""
    return {s: Path(f"{path}{s}").read_bytes() for s in ("", "-wal", "-journal") if os.path.exists(f"{path}{s}")}


def flip(path: Path, offset: int, count: int = 1) -> None:
    """Change bytes on disk, past any SQLite."""
    with open(path, "r+b") as stream:
        stream.seek(offset)
        block = stream.read(count)
        stream.seek(offset)
        stream.write(bytes(byte ^ 0xFF for byte in block))


def protect(tmp_path: Path, database: Path, **policy: object) -> tuple[Repository, Database]:
    """A repository and a policy for a database, as the front ends make them."""
    return Repository(str(tmp_path / "repository"), "host"), Database("events", str(database), **policy)  # type: ignore[arg-type]


class Steps(Progress):
    """Remembers the steps; dies by SIGKILL at one of them when told to."""

    def __init__(self, die_at: str | None = None) -> None:
        self.seen: list[str] = []
        self.die_at = die_at

    def step(self, name: str) -> None:
        self.seen.append(name)
        if name == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object]) -> int:
    """Run work in a forked child; returns its exit code, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


CALLS = ("rename", "link", "unlink", "mkdir", "rmdir", "fsync", "open", "chmod", "chown", "write")


def die_before_call(number: int, work: Callable[[], object]) -> int:
    """Run work in a child that kills itself before its ``number``-th changing file-system call of ``os``."""

    def counted() -> None:
        seen = 0
        for name in CALLS:
            real = getattr(os, name)

            def wrapped(*arguments: object, _real: Callable[..., object] = real, **named: object) -> object:
                nonlocal seen
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return _real(*arguments, **named)

            setattr(os, name, wrapped)
        work()

    return in_child(counted)


@contextlib.contextmanager
def holding_open(path: Path, sql: str = "SELECT count(*) FROM events") -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open, after it ran ``sql``."""
    code = """
    import sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None)
    for statement in sys.argv[2].split(";"):
        db.execute(statement).fetchall()
    print("open", flush=True)
    sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path), sql],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
pause, number = 1 / float(sys.argv[2]), 0
print("writing", flush=True)
due = time.monotonic()
try:
    while True:
        number += 1
        db.execute("INSERT INTO events(timestamp, kind, payload) VALUES('live', 'live', ?)", (str(number),))
        due += pause
        time.sleep(max(0, due - time.monotonic()))
except KeyboardInterrupt:
    print(number, flush=True)
"""


@contextlib.contextmanager
def writing(path: Path, rate: int = 200) -> Iterator[subprocess.Popen[str]]:
    """A writer beside the test, ``rate`` commits a second; any error of its own makes the test fail."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(rate)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.2)
    try:
        yield process
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=30)
    assert "Error" not in err, err


def litekeep(
    *words: object, check: int | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "litekeep", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **(env or {})},
        check=False,
    )
    if check is not None:
        assert done.returncode == check, (done.returncode, done.stdout, done.stderr)
    return done
