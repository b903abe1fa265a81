"""What the tests of the archive share: a real archiver beside real applications, and restores that are compared."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard
from support import ROOT

from litekeep import moments, planner, restore
from litekeep.config import Database, load_config
from litekeep.errors import NoRestorePointError
from litekeep.moments import Window
from litekeep.planner import Choice, Point
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.timeline import Position, Timeline, segment_file

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
TWO_LOOKS = 0.08  # seconds: twice as long as the archiver needs between two looks, and something


class Archive:
    """One database with its repository and its archiver, which is a process of its own."""

    def __init__(self, folder: Path, database: Path, **settings: object) -> None:
        self.folder = folder
        self.path = database
        self.log = folder / "archiver.log"
        self.config = folder / "litekeep.json"
        given = {"reserve": 0, "relief": 1_000_000, "heartbeat": 1, **settings}
        values = {
            "repository": str(folder / "repository"),
            "host": "host",
            "databases": {"events": {"path": str(database), "archive": True, "archive_settings": given}},
        }
        self.config.write_text(json.dumps(values))
        loaded = load_config(str(self.config))
        self.database: Database = loaded.databases["events"]
        self.repository = Repository(loaded.repository, "host")
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *words: object) -> None:
        """Start Python with these words as the archiver."""
        with open(self.log, "ab") as log:
            command = [sys.executable, *map(str, words)]
            self.process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)

    def start(self, base: bool = True) -> Archive:
        """Start the archiver, and wait until its timeline has a base."""
        self.run("-m", "litekeep", "--config", self.config, "archive", "events")
        if base:
            known = self.windows()[-1].timeline.id if self.windows() else ""
            self.wait_for(lambda: self.hangs() and (self.timelines()[-1].id != known or self.resumed()))
        return self

    def hangs(self) -> bool:
        """Whether the running archiver's timeline has its base."""
        found = self.windows()
        return (
            bool(found) and found[-1].timeline.id == self.timelines()[-1].id and found[-1].timeline.state == "running"
        )

    def resumed(self) -> bool:
        """Whether the archiver said last that it goes on with a timeline."""
        lines = [
            line for line in self.said().splitlines() if ("timeline" in line and "begins" in line) or "going on" in line
        ]
        return bool(lines) and "going on" in lines[-1]

    def said(self) -> str:
        """All that archivers of this database wrote."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, what: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something holds; the archiver must live meanwhile."""
        give_up_at = time.monotonic() + seconds
        while not what():
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < give_up_at, self.said()
            time.sleep(0.03)

    def reaches(self, when: dt.datetime) -> None:
        """Wait until it is recorded what was committed until then."""
        self.wait_for(lambda: self.windows()[-1].end >= when)

    def stop(self) -> None:
        """SIGTERM: what was committed is kept."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.said()
        self.process = None

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)
        self.process = None

    def timelines(self) -> list[Timeline]:
        """As they stand."""
        return self.repository.timelines("events")

    def windows(self) -> list[Window]:
        """As they stand. The timelines first, as a restore does."""
        timelines = self.timelines()
        return moments.windows(self.repository.catalogue("events"), timelines)

    def gaps(self) -> list[moments.Gap]:
        """As they stand."""
        return moments.gaps(self.windows())

    def point(self, to: str | dt.datetime = "latest", **how: Any) -> Point:
        """What a restore would choose."""
        choice = Choice(self.repository.catalogue("events"), self.timelines(), **how)
        return planner.choose(choice, to if isinstance(to, str) else to.isoformat())

    def proves(self, when: dt.datetime) -> bool:
        """Whether the state of exactly that moment is known."""
        try:
            return self.point(when).recovered == when
        except NoRestorePointError:
            return False

    def restored(self, to: str | dt.datetime = "latest", **how: Any) -> Path:
        """Restore to a fresh file beside."""
        target = self.folder / f"restored-{time.monotonic_ns()}.db"
        wish = to if isinstance(to, str) else to.isoformat()
        chosen = restore.plan(self.repository, self.database, wish, str(target), **how)
        restore.restore(self.repository, self.database, chosen, Progress())
        return target

    def content_at(self, to: str | dt.datetime = "latest", **how: Any) -> str:
        """The content of such a restore, which is removed again."""
        target = self.restored(to, **how)
        try:
            return dump(target)
        finally:
            target.unlink()

    def replayed_by_sqlite(self, point: Point) -> str:
        """The content that SQLite itself makes of the point's base and segments."""
        folder = self.folder / "reference"
        folder.mkdir()
        path, wal = folder / "database.db", folder / "database.db-wal"
        try:
            path.write_bytes(_decompressed((Path(point.backup.folder) / "database.db.zst").read_bytes()))
            rounds = sorted({segment.round for segment in self._whole_rounds(point)})
            for number in rounds:
                parts = [segment for segment in self._whole_rounds(point) if segment.round == number]
                content = b"".join(_stored(segment) for segment in parts)
                if point.end is not None and number == point.end.round:
                    content = content[: 32 + point.end.frame * (24 + parts[0].page_size)]
                wal.write_bytes(content)
                with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
                    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            return dump(path)
        finally:
            for name in (path, wal, Path(f"{path}-shm")):
                name.unlink(missing_ok=True)
            folder.rmdir()

    def _whole_rounds(self, point: Point) -> list[Any]:
        """The point's segments, and those before them in the first one's round: a WAL begins with its header."""
        if not point.segments:
            return []
        first = point.segments[0]
        run = next(r for t in self.timelines() if t.id == point.timeline for r in t.runs if first in r.segments)
        start, end = Position(first.round, 0), point.segments[-1].end
        return [segment for segment in run.segments if start < segment.end <= end]


def _decompressed(block: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(block, read_across_frames=True).read()


def _stored(segment: Any) -> bytes:
    path, offset = segment_file(segment)
    block = Path(path).read_bytes()[offset : offset + segment.stored.stored_size]
    return _decompressed(block)


def dump(path: Path) -> str:
    """The logical content of a database at rest, as a hash; it must be sound."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        return dump_of(db)


def dump_of(db: sqlite3.Connection) -> str:
    """The logical content that a connection sees, as a hash: schema, every row, and the settings in the header."""
    found = hashlib.sha256()
    for name in ("user_version", "application_id", "auto_vacuum"):
        found.update(repr(db.execute(f"PRAGMA {name}").fetchone()).encode())
    schema = db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    found.update(repr(schema).encode())
    for kind, name, _sql in schema:
        if kind == "table":
            for row in db.execute(f'SELECT rowid, * FROM "{name}" ORDER BY rowid'):
                found.update(repr(row).encode())
    return found.hexdigest()


APPLICATION = """
import json, os, sqlite3, sys
connections = {}
def connection(name):
    if name not in connections:
        connections[name] = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
    return connections[name]
for line in sys.stdin:
    work = json.loads(line)
    db = connection(work["connection"])
    answer = None
    try:
        for statement in work["statements"]:
            rows = db.execute(*statement).fetchall()
            answer = rows[0] if rows else None
    except sqlite3.OperationalError as problem:
        if db.in_transaction:
            db.execute("ROLLBACK")
        answer = str(problem)
    if work.get("close"):
        connections.pop(work["connection"]).close()
    print(json.dumps(answer), flush=True)
"""


class Application:
    """A process with some connections to the database, which does what it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(APPLICATION), str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, *statements: str | tuple[str, tuple[object, ...]], connection: int = 0, close: bool = False) -> Any:
        """Run statements on one of its connections; the first row of the last one, or SQLite's refusal."""
        listed = [[s] if isinstance(s, str) else list(s) for s in statements]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"connection": connection, "statements": listed, "close": close}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self, kill: bool = False) -> None:
        """Close everything and go; or die."""
        if kill:
            self.process.send_signal(signal.SIGKILL)
        else:
            assert self.process.stdin is not None
            self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if kill and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def restart(self, kill: bool = False) -> None:
        """End and start again."""
        self.end(kill)
        self._start()


@contextlib.contextmanager
def application(path: Path) -> Iterator[Application]:
    """An application that is ended whatever happens."""
    app = Application(path)
    try:
        yield app
    finally:
        app.end(kill=True)


@contextlib.contextmanager
def archived(archive: Archive, base: bool = True) -> Iterator[Archive]:
    """A running archiver that is ended whatever happens."""
    try:
        yield archive.start(base=base)
    finally:
        if archive.process is not None:
            archive.process.kill()
            archive.process.wait()


def moment() -> dt.datetime:
    """Now; the archiver has seen what was committed before, and will have seen that nothing else was."""
    time.sleep(TWO_LOOKS)
    found = dt.datetime.now(dt.timezone.utc)
    time.sleep(TWO_LOOKS)
    return found
