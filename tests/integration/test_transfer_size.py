"""Export and import of many rows: memory stays flat. LITEKEEP_TEST_ROWS=2000000 for the size that is promised."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

ROWS = int(os.environ.get("LITEKEEP_TEST_ROWS", "50000"))
SCHEMA = """
CREATE TABLE sources(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE events(id INTEGER PRIMARY KEY, timestamp TEXT, source REFERENCES sources(id), value REAL, payload BLOB);
CREATE INDEX events_timestamp ON events(timestamp);
"""


def made(path: Path, rows: int) -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA)
        db.execute("BEGIN")
        db.executemany("INSERT INTO sources(name) VALUES(?)", ((f"source {n}",) for n in range(10)))
        db.executemany("INSERT INTO events(timestamp, source, value, payload) VALUES(?, ?, ?, ?)", events(rows))
        db.execute("COMMIT")
    return path


def events(rows: int) -> Iterator[tuple[str, int, float, str | bytes]]:
    for n in range(rows):
        second = n // 100
        moment = (
            f"2026-11-{1 + second // 86400:02d}T{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"
        )
        payload = f'{{"user": "user {n % 1000}", "number": {n}, "words": "Grüße, {n}"}}' * 2
        yield moment, 1 + n % 10, n / 7, payload if n % 5 else payload.encode()


def hashed(path: Path) -> str:
    found = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for row in db.execute("SELECT *, typeof(payload) FROM events ORDER BY id"):
            found.update(repr(row).encode())
    return found.hexdigest()


def measured(path: Path, *words: object) -> int:
    """Run the command line on the database. The largest RssAnon that was seen, in bytes."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "litekeep",
            "--database",
            path,
            "--repository",
            path.parent / "repository",
            "--host",
            "h",
        ]
        + [str(word) for word in words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak, began = 0, time.monotonic()
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]) * 1024)
        time.sleep(0.01)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    print(f"{words[0]} of {ROWS:,} rows: {time.monotonic() - began:.1f} s, RssAnon {peak / 1e6:.1f} MB")
    return peak


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_many_rows_take_little_memory(tmp_path: Path, form: str) -> None:
    source, target, file = made(tmp_path / "source.db", ROWS), made(tmp_path / "target.db", 0), tmp_path / "file"
    words = ["--table", "events", "--output", file, "--format", form, "--zstd"]
    assert measured(source, "export", "source", *words) < 150e6
    assert measured(target, "import", "target", file) < 150e6
    assert hashed(target) == hashed(source)
    # In place, with the application's triggers and foreign keys in the way.
    assert measured(target, "import", "target", file, "--conflict", "replace") < 150e6
    assert hashed(target) == hashed(source)
