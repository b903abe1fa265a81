#!/usr/bin/env python3
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write an event database to try Litekeep on: the example application's table, filled with months of plausible events.

The same arguments give the same rows. Rows go in by time with the indexes in place, so the pages lie as they would
after a long life, not packed as after VACUUM.

Two shapes. ``requests``: each event has a request's random id with an index on it, as event stores have to find what
belongs together; the index's pages are all over the file. ``ordered``: longer rows, and all that is indexed grows with
time; everything lies in the order of the file, the easiest case for whoever reads it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    timestamp TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    request_id TEXT
);
CREATE INDEX events_timestamp ON events (timestamp);
CREATE INDEX events_kind_timestamp ON events (kind, timestamp);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id),
    author TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX notes_event_id ON notes (event_id);
"""
REQUEST_INDEX = "CREATE INDEX events_request_id ON events (request_id);"
SHAPES = ("requests", "ordered")
BATCH = 1000
EVENTS_PER_NOTE = 50
FIRST_SECOND = 1767225600  # 2026-01-01T00:00:00Z

KINDS = ("request", "tool_call", "message", "login", "upload", "search", "payment", "error")
PATHS = ("/api/v1/sessions", "/api/v1/tools/list", "/api/v1/messages", "/api/v2/orders/search", "/health", "/login")
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1",
    "litekeep-sample/1.0 (+https://app.example/clients)",
    "curl/8.14.1",
)
WORDS = tuple(
    """
    order customer invoice delivery address changed payment accepted refused retry queue worker timeout session token
    search result page filter report export weekly monthly region north south table chair lamp blue green large small
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)

Event = tuple[int, str, str, str, Optional[str]]


def events(seed: int, shape: str) -> Iterator[Event]:
    """Endless rows of the events table, in the order of their time."""
    chance = random.Random(seed)
    moment = FIRST_SECOND * 1000
    second, clock = -1, ""
    for number in itertools.count(1):
        moment += int(chance.expovariate(1 / 20_000)) + 1
        if moment // 1000 != second:
            second = moment // 1000
            clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        kind = KINDS[int(8 * chance.random() ** 2)]
        stamp = f"{clock}.{moment % 1000:03d}Z"
        if shape == "ordered":
            yield number, stamp, kind, payload(chance, kind), None
        else:
            yield number, stamp, kind, short_payload(chance, kind), f"{chance.getrandbits(128):032x}"


def payload(chance: random.Random, kind: str) -> str:
    """One JSON document; written by hand because json.dumps would take most of the time."""
    bits = chance.getrandbits(256)
    user = int(5000 * chance.random() ** 3)
    text = " ".join(chance.choices(WORDS, k=4 + bits % 29))
    return (
        f'{{"request_id": "{bits >> 128:032x}", "session": "{bits >> 64 & 0xFFFFFFFFFFFFFFFF:016x}", '
        f'"user": {{"id": {user}, "name": "user{user:04d}@app.example"}}, '
        f'"client": {{"address": "192.0.2.{bits & 255}", "agent": "{AGENTS[bits >> 8 & 3]}"}}, '
        f'"action": "{kind}", "path": "{PATHS[(bits >> 10 & 255) % 6]}", '
        f'"status": {(200, 200, 200, 404)[bits >> 18 & 3]}, "duration_ms": {(bits >> 20 & 1023) / 8}, '
        f'"tags": ["{WORDS[user % len(WORDS)]}", "{kind}"], "text": "{text}"}}'
    )


def short_payload(chance: random.Random, kind: str) -> str:
    """One JSON document of an event whose request stands in a column of its own."""
    bits = chance.getrandbits(64)
    text = " ".join(chance.choices(WORDS, k=4 + bits % 9))
    return (
        f'{{"user": {int(5000 * chance.random() ** 3)}, "action": "{kind}", '
        f'"path": "{PATHS[(bits >> 10 & 255) % 6]}", '
        f'"status": {(200, 200, 200, 404)[bits >> 18 & 3]}, "duration_ms": {(bits >> 20 & 1023) / 8}, '
        f'"text": "{text}"}}'
    )


def notes(batch: list[Event]) -> Iterator[tuple[int, str, str]]:
    for number, _moment, kind, _payload, _request in batch:
        if number % EVENTS_PER_NOTE == 0:
            yield number, f"operator{number % 7}", f"looked at {kind} {number}: nothing unusual"


def write(path: Path, *, count: int | None, size: int | None, seed: int, journal_mode: str, shape: str) -> int:
    """Fill a new database at ``path`` until it has ``count`` events or ``size`` bytes; returns the number of events."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # Nobody misses a half-written sample: no journal and no fsync while it grows.
        database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-524288;" + SCHEMA)
        if shape == "requests":
            database.execute(REQUEST_INDEX)
        page_size = database.execute("PRAGMA page_size").fetchone()[0]
        rows, written = events(seed, shape), 0
        database.execute("BEGIN")
        while (count is None or written < count) and (
            size is None or database.execute("PRAGMA page_count").fetchone()[0] * page_size < size
        ):
            batch = list(itertools.islice(rows, BATCH if count is None else min(BATCH, count - written)))
            database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", batch)
            database.executemany("INSERT INTO notes (event_id, author, note) VALUES (?, ?, ?)", notes(batch))
            written += len(batch)
        database.execute("COMMIT")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA journal_mode = {journal_mode}")
        return written
    finally:
        database.close()


def byte_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(i?)B?", text, re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it like 500MB, 1GB or 1GiB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMG".index(prefix.upper() or " "))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path, help="the file to make; it must not exist")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--events", type=int, help="number of events (default 100000)")
    amount.add_argument("--size", type=byte_size, help="stop at this size, such as 1GB, within a few hundred KB")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other rows (default 1)")
    parser.add_argument("--shape", choices=SHAPES, default=SHAPES[0], help="what is indexed (default requests)")
    parser.add_argument("--journal-mode", choices=("wal", "delete"), default="wal")
    options = parser.parse_args()

    path: Path = options.path
    for taken in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        if taken.exists() or taken.is_symlink():
            parser.error(f"{taken} exists already: choose another path, or move it away first")
    if not path.parent.is_dir():
        parser.error(f"there is no directory {path.parent}: make it first")

    # Under another name until it is whole: an interrupted run must not leave half a sample behind that looks like one.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    count = None if options.size else 100_000 if options.events is None else options.events
    try:
        written = write(
            partial,
            count=count,
            size=options.size,
            seed=options.seed,
            journal_mode=options.journal_mode,
            shape=options.shape,
        )
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{path}: {written} events, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
