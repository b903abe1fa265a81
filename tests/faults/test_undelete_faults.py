"""Undelete that is killed, beside a busy application, or out of room: all of it or nothing, and nobody is hurt."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, in_child, litekeep, writing
from undeleting import Case
from unit import places

from litekeep import writing as engine
from litekeep.errors import BusyError, SpaceError
from litekeep.repository import Repository
from litekeep.scratch import _PREFIX

KILLS = int(os.environ.get("LITEKEEP_KILLS", "6"))
ROWS = 3000
SCHEMA = f"""
CREATE TABLE events(id INTEGER PRIMARY KEY, timestamp TEXT, kind TEXT, payload TEXT);
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER REFERENCES users, body TEXT);
CREATE VIRTUAL TABLE search USING fts5(body, content=posts, content_rowid=id);
CREATE TRIGGER post_in AFTER INSERT ON posts BEGIN INSERT INTO search(rowid, body) VALUES (new.id, new.body); END;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO users SELECT i, 'user ' || i FROM n;
INSERT INTO posts SELECT id, id, 'body ' || id || hex(randomblob(50)) FROM users;
"""
HARM = "DELETE FROM posts WHERE id % 3; DROP TABLE users; CREATE TABLE after(a); INSERT INTO after VALUES (1)"


def harmed(folder: Path) -> Case:
    case = Case(folder, SCHEMA)
    case.backup()
    case.run("PRAGMA foreign_keys=OFF;" + HARM)
    return case


def leftovers(case: Case) -> list[str]:
    return [entry for entry in os.listdir(case.repository.folder("events")) if entry.startswith(_PREFIX)]


def outcome(case: Case, before: str) -> str:
    """none, all, or something that must not be."""
    case.check()
    if case.dump() == before:
        return "none"
    users, posts = case.rows("SELECT count(*) FROM users")[0][0], case.rows("SELECT count(*) FROM posts")[0][0]
    return "all" if (users, posts) == (ROWS, ROWS) else f"{users} users and {posts} posts"


def test_a_kill_at_any_statement_leaves_all_or_nothing(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = harmed(in_memory)
    # What was dropped leaves dangling rows, which only the undelete mends.
    monkeypatch.setattr(case, "check", lambda: None)
    before = case.dump()
    real = engine._connect
    seen = 0

    def traced(uri: str) -> sqlite3.Connection:
        connection = real(uri)

        def count(_statement: str) -> None:
            nonlocal seen
            seen += 1
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        connection.set_trace_callback(count)
        return connection

    monkeypatch.setattr(engine, "_connect", traced)
    die_at, step, outcomes = 1, 1, []
    while True:
        code = in_child(lambda: case.undelete("latest"))
        outcomes.append(outcome(case, before))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert len(leftovers(case)) == 1
        # The triggers' statements, one a row, are alike.
        step = step if die_at < 40 else step * 2
        die_at += step
    assert outcomes[:-1] == ["none"] * (len(outcomes) - 1)
    assert outcomes[-1] == "all"
    assert len(outcomes) > 40
    assert leftovers(case) == []


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_kill_at_any_time_leaves_all_or_nothing(tmp_path: Path, seed: int) -> None:
    case = harmed(tmp_path)
    before = case.dump()
    words = ["--database", str(case.path), "--repository", case.repository.root, "--host", "host", "undelete", "events"]
    command = [sys.executable, "-m", "litekeep", *words, "--to", "latest"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    chance = random.Random(seed)
    first = True
    done = ""
    while done != "all":
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            # Whenever the time runs out, it is killed in the middle of something; at last it is let through.
            time.sleep(chance.uniform(0.1, 0.8) if first else 0)
            if first:
                process.kill()
        first = False
        if case.dump() == before:
            done = "none"
            continue
        done = outcome(case, before)
        assert done == "all"
    again = litekeep(*words, "--to", "latest", check=0)
    assert "0 rows put back" in again.stdout
    assert leftovers(case) == []


def test_an_application_that_writes_all_the_time_is_not_disturbed(tmp_path: Path) -> None:
    case = harmed(tmp_path)
    with writing(case.path) as writer:
        done = case_in_a_process(case, "--dry-run")
        assert f"{ROWS + ROWS * 2 // 3:,} rows would be put back" in done
        assert f"{ROWS + ROWS * 2 // 3:,} rows put back" in case_in_a_process(case)
        assert "0 rows put back" in case_in_a_process(case)
        assert writer.poll() is None
    assert outcome(case, "") == "all"
    numbers = [int(row[0]) for row in case.rows("SELECT payload FROM events ORDER BY id")]
    assert numbers == list(range(1, len(numbers) + 1))


def case_in_a_process(case: Case, *more: str) -> str:
    """As an operator runs it."""
    context = ["--database", case.path, "--repository", case.repository.root, "--host", "host"]
    return litekeep(*context, "undelete", "events", "--to", "latest", *more, check=0).stdout


def test_a_lock_that_nobody_gives_up_ends_it(in_memory: Path) -> None:
    case = Case(in_memory, SCHEMA, deadline=1)
    case.backup()
    case.run("DELETE FROM posts WHERE id % 3")
    before = case.dump()
    code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('BEGIN IMMEDIATE')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('held', flush=True); sys.stdin.read()", str(case.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError):
            case.undelete("latest")
        holder.kill()
    assert case.dump() == before
    assert leftovers(case) == []


@pytest.mark.parametrize("room", [0, 100, 250])
def test_a_full_disk_ends_it_and_changes_nothing(tmp_path: Path, room: int) -> None:
    staging, repository = tmp_path / "staging", Repository(str(tmp_path / "repository"), "host")
    staging.mkdir()

    def work(disk: places.Disk) -> None:
        # The database alone is on the small disk.
        case = Case(disk / "data", SCHEMA, staging=str(staging))
        case.repository = repository
        case.backup()
        case.run("DELETE FROM posts; PRAGMA wal_checkpoint(TRUNCATE)")
        before = case.dump()
        disk.fill(leave=room * 4096)
        with pytest.raises(SpaceError):
            case.undelete("latest")
        (disk / "ballast").unlink()
        assert case.dump() == before
        assert case.undelete("latest").put_back == ROWS

    places.on_disk(tmp_path / "disk", work, "8m")
    assert os.listdir(staging) == []
