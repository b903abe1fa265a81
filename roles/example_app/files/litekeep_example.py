#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Litekeep's example application: an HTTP service on loopback that keeps events in SQLite.

POST /events {"kind": TEXT, "payload": ANY}   201 {"id": N, "timestamp": TIME}
GET  /events?since=TIME                       200 {"events": [...]}, oldest first, at most 1000
GET  /count                                   200 {"count": N}
GET  /health                                  200, or 503 when the database cannot be read and written
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

BUSY_TIMEOUT = 5.0  # seconds that a statement waits for another process's lock
CLIENT_TIMEOUT = 10.0  # seconds that a silent client is waited for
LARGEST_BODY = 64 * 1024
LONGEST_KIND = 100
MOST_EVENTS = 1000

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    timestamp TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_timestamp ON events (timestamp);
CREATE INDEX IF NOT EXISTS events_kind_timestamp ON events (kind, timestamp);
"""


class BadRequestError(Exception):
    """The client's mistake; the text goes back to it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def as_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, so that the order of the texts is the order of time."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """The database: one writer behind a lock, and a short-lived reader for every question."""

    def __init__(self, path: Path) -> None:
        self._reader_uri = path.absolute().as_uri() + "?mode=ro"
        self._lock = threading.Lock()
        self._writer = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        mode = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"{path}: journal mode is {mode!r}, expected 'wal'")
        self._writer.executescript(SCHEMA)

    def add(self, kind: str, payload: str) -> dict[str, Any]:
        with self._lock:
            timestamp = as_text(datetime.now(timezone.utc))
            cursor = self._writer.execute(
                "INSERT INTO events (timestamp, kind, payload) VALUES (?, ?, ?)",
                (timestamp, kind, payload),
            )
            return {"id": cursor.lastrowid, "timestamp": timestamp}

    def count(self) -> int:
        return int(self._read("SELECT count(*) AS count FROM events")[0]["count"])

    def since(self, timestamp: str) -> list[dict[str, Any]]:
        return self._read(
            "SELECT id, timestamp, kind, payload FROM events WHERE timestamp >= ? ORDER BY timestamp, id LIMIT ?",
            (timestamp, MOST_EVENTS),
        )

    def check(self) -> None:
        """Read through table and index, and take the write lock, on the connection that writes."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._writer.execute("SELECT payload FROM events ORDER BY timestamp DESC LIMIT 1").fetchall()
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            self._writer.close()

    def _read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self._reader_uri, uri=True, timeout=BUSY_TIMEOUT)) as reader:
            reader.row_factory = sqlite3.Row
            return [dict(row) for row in reader.execute(query, parameters)]


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "litekeep-example"
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        self._route({"/health": self._health, "/count": self._count, "/events": self._list})

    def do_POST(self) -> None:
        self._route({"/events": self._add})

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing about requests that went well: a journal entry each would drown the rest."""

    def _route(self, actions: dict[str, Any]) -> None:
        try:
            action = actions.get(urlsplit(self.path).path)
            if action is None:
                raise BadRequestError("no such resource", 404)
            status, answer = action()
        except BadRequestError as error:
            status, answer = error.status, {"error": str(error)}
        except sqlite3.Error as error:
            self.log_error("database: %s", error)
            status, answer = 503, {"error": f"database: {error}"}
        self._answer(status, answer)

    def _health(self) -> tuple[int, dict[str, Any]]:
        self.server.store.check()
        return 200, {"status": "ok"}

    def _count(self) -> tuple[int, dict[str, Any]]:
        return 200, {"count": self.server.store.count()}

    def _list(self) -> tuple[int, dict[str, Any]]:
        given = parse_qs(urlsplit(self.path).query).get("since", ["0001-01-01T00:00:00Z"])[-1]
        try:
            moment = datetime.fromisoformat(given.replace("Z", "+00:00"))
            if moment.tzinfo is None:
                raise BadRequestError("since: the time zone is missing (2026-11-22T02:00:00Z)")
            timestamp = as_text(moment)
        except (ValueError, OverflowError):
            raise BadRequestError("since: expected a time such as 2026-11-22T02:00:00Z") from None
        return 200, {"events": self.server.store.since(timestamp)}

    def _add(self) -> tuple[int, dict[str, Any]]:
        event = self._body()
        kind, payload = event.get("kind"), event.get("payload")
        if not isinstance(kind, str) or not 0 < len(kind) <= LONGEST_KIND:
            raise BadRequestError(f"kind: expected a text of 1 to {LONGEST_KIND} characters")
        if "payload" not in event:
            raise BadRequestError("payload: missing")
        if not isinstance(payload, str):
            payload = json.dumps(payload)
        try:
            (kind + payload).encode()
        except UnicodeEncodeError:
            raise BadRequestError("kind, payload: not valid Unicode") from None
        return 201, self.server.store.add(kind, payload)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise BadRequestError("Content-Length: missing or not a number", 411)
        if len(length) > 12 or int(length) > LARGEST_BODY:
            raise BadRequestError(f"body: at most {LARGEST_BODY} bytes", 413)
        try:
            body = self.rfile.read(int(length))
        except OSError:
            raise BadRequestError("body: did not arrive in time", 408) from None
        if len(body) < int(length):
            raise BadRequestError("body: shorter than its Content-Length")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequestError("body: not JSON") from None
        if not isinstance(event, dict):
            raise BadRequestError('body: expected {"kind": ..., "payload": ...}')
        return event

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode() + b"\n"
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # stopping waits for the requests that are under way
    request_queue_size = 128

    def __init__(self, port: int, store: Store) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.store = store


def tell_systemd(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(message.encode(), address.replace("@", "\0", 1))


def fail(message: str) -> int:
    print(f"litekeep-example: {message}", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Litekeep's example application")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()

    try:
        store = Store(arguments.database)
        server = Server(arguments.port, store)
    except sqlite3.Error as error:
        return fail(f"{arguments.database}: {error}")
    except OSError as error:
        return fail(f"127.0.0.1:{arguments.port}: {error.strerror}")

    def stop(number: int, frame: object) -> None:
        # From another thread: shutdown() waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    tell_systemd("READY=1")
    server.serve_forever(poll_interval=0.1)
    tell_systemd("STOPPING=1")
    server.server_close()
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
