"""Export and import when something goes wrong: a file is complete or absent, a database has all the rows or none."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, content, die_before_call, flip, holding_open, in_child, litekeep, make_database, writing
from transfer import content_of, database, exported, imported, made, run

from litekeep import importer
from litekeep.errors import BusyError, LitekeepError, SpaceError, VerificationError
from litekeep.exportreader import Reader
from litekeep.importer import Order, import_files
from litekeep.progress import Progress

ROWS = 3000
SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b BLOB);"
FILL = (
    f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    " INSERT INTO t SELECT i, 'text ' || i, randomblob(300) FROM n;"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of ``t`` in a file."""
    folder = tmp_path_factory.mktemp("file")
    exported(made(folder / "source.db", SCHEMA + FILL), folder / "file", "t")
    return folder / "file"


def command(path: Path, *words: object) -> list[str]:
    options = ["--database", path, "--repository", path.parent / "repository", "--host", "host"]
    return [str(word) for word in (*options, *words)]


def assert_whole(path: Path, rows: int) -> None:
    reader = Reader(str(path))
    reader.check()
    assert len(list(reader.rows())) == rows


@pytest.mark.parametrize("level", [None, 1])
def test_an_export_killed_before_any_call_leaves_nothing_or_all(tmp_path: Path, level: int | None) -> None:
    source = made(tmp_path / "source.db", SCHEMA + FILL)
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "file"
    for number in range(1, 300):
        if die_before_call(number, lambda: exported(source, output, "t", level=level)) == 0:
            break
        assert os.listdir(output.parent) in ([], ["file"])
        if output.exists():
            assert_whole(output, ROWS)
            output.unlink()
    assert 5 < number < 290
    assert_whole(output, ROWS)


def test_an_export_killed_at_any_moment_leaves_nothing_or_all(tmp_path: Path) -> None:
    source = made(tmp_path / "source.db", SCHEMA + FILL)
    (tmp_path / "out").mkdir()
    ends = set()
    for attempt in range(12):
        output = tmp_path / "out" / f"file{attempt}"
        process = subprocess.Popen(
            [sys.executable, "-m", "litekeep", *command(source, "export", "t", "--table", "t", "--output", output)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            stdout=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05 + attempt * 0.03)
        process.kill()
        ends.add(process.wait())
        for left in os.listdir(tmp_path / "out"):
            assert_whole(tmp_path / "out" / left, ROWS)
    assert -signal.SIGKILL in ends


class Killed(Progress):
    """Dies by SIGKILL when so many rows are through."""

    def __init__(self, after: int) -> None:
        self.after = after

    def rows(self, label: str, done: int) -> None:
        if done >= self.after:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_an_import_killed_between_rows_leaves_nothing(
    tmp_path: Path, file: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_TELL_EVERY", 1)
    target = made(tmp_path / "target.db", f"PRAGMA journal_mode={mode};" + SCHEMA)
    run(target, "INSERT INTO t(id, a) VALUES(100000, 'mine')")
    before = content(target)
    # A cache of few pages: much of it is on disk long before the end.
    monkeypatch.setattr(importer, "connected", small_cache(importer.connected))
    for after in (1, 2, ROWS // 2, ROWS - 1, ROWS):
        order = Order((str(file),))
        assert in_child(lambda o=order, a=after: import_files(database(target), o, Killed(a))) == -signal.SIGKILL
        assert content(target) == before
        run(target, "DELETE FROM t WHERE id < 0")
        assert run(target, "SELECT id FROM t") == [(100000,)]
    imported(target, file)
    assert run(target, "SELECT count(*) FROM t") == [(ROWS + 1,)]


def small_cache(real: object) -> object:
    @contextlib.contextmanager
    def connected(*arguments: object) -> Iterator[sqlite3.Connection]:
        with real(*arguments) as connection:  # type: ignore[operator]
            connection.execute("PRAGMA cache_size=5")
            yield connection

    return connected


def test_an_import_killed_at_any_moment_leaves_nothing_or_all(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", "PRAGMA journal_mode=wal;" + SCHEMA)
    found = set()
    for attempt in range(14):
        process = subprocess.Popen(
            [sys.executable, "-m", "litekeep", *command(target, "import", "t", file)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            stdout=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.08 + attempt * 0.02)
        process.kill()
        process.wait()
        ((rows,),) = run(target, "SELECT count(*) FROM t")
        found.add(rows)
        assert run(target, "PRAGMA integrity_check") == [("ok",)]
        run(target, "DELETE FROM t")
    assert found <= {0, ROWS}


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own; needs root."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("conflict", importer.CONFLICTS)
def test_a_full_disk_takes_the_import_back(tmp_path: Path, file: Path, mode: str, conflict: str) -> None:
    with small_disk(tmp_path / "disk", "700k") as disk:
        target = made(disk / "target.db", f"PRAGMA journal_mode={mode};" + SCHEMA + "INSERT INTO t VALUES(1, 'a', 'b')")
        before = content_of(target)
        if conflict == "abort":
            run(target, "UPDATE t SET id = 100000")
            before = content_of(target)
        with pytest.raises(SpaceError, match="is full") as caught:
            imported(target, file, conflict=conflict)
        assert caught.value.exit_code == 7
        assert content_of(target) == before
        assert run(target, "PRAGMA integrity_check") == [("ok",)]
        run(target, "INSERT INTO t(a) VALUES('there is room again')")


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_stays_locked(tmp_path: Path, file: Path, mode: str) -> None:
    target = made(tmp_path / "target.db", f"PRAGMA journal_mode={mode};" + SCHEMA)
    with holding_open(target, "BEGIN IMMEDIATE; INSERT INTO t(a) VALUES('x')"):
        with pytest.raises(BusyError, match="stayed locked") as caught:
            imported(target, file, deadline=1)
        assert caught.value.exit_code == 5
    assert run(target, "SELECT count(*) FROM t") == [(0,)]


def test_an_import_waits_for_the_lock(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA)
    with holding_open(target, "BEGIN IMMEDIATE; INSERT INTO t(a) VALUES('x')") as holder:
        done: list[object] = []
        waiting = threading.Thread(target=lambda: done.extend(imported(target, file)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(60)
        assert len(done) == 1
    assert run(target, "SELECT count(*) FROM t") == [(ROWS,)]


def test_import_and_export_beside_a_busy_application(tmp_path: Path, file: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=1000)
    run(path, SCHEMA.rstrip(";"))
    with writing(path, rate=200):
        for attempt in range(3):
            imported(path, file, conflict="replace" if attempt else "abort")
            for table in ("events", "t"):
                exported(path, tmp_path / f"{table}{attempt}", table)
    counts = [Reader(str(tmp_path / f"events{attempt}")).header.rows for attempt in range(3)]
    for attempt in range(3):
        assert_whole(tmp_path / f"events{attempt}", counts[attempt])
        assert_whole(tmp_path / f"t{attempt}", ROWS)
    assert 1000 < counts[0] <= counts[1] <= counts[2]
    assert run(path, "SELECT count(*) FROM t") == [(ROWS,)]
    assert run(path, "PRAGMA integrity_check") == [("ok",)]


PAIRS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
print("writing", flush=True)
for number in range(10**9):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO one VALUES(?)", (number,))
    db.execute("INSERT INTO two VALUES(?)", (number,))
    db.execute("COMMIT")
"""


def test_all_tables_are_of_one_state(tmp_path: Path) -> None:
    path = made(tmp_path / "events.db", "PRAGMA journal_mode=wal; CREATE TABLE one(x); CREATE TABLE two(x);")
    process = subprocess.Popen([sys.executable, "-c", PAIRS, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        counts = [[file.rows for file in exported(path, tmp_path / str(n)).files] for n in range(5)]
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert all(one == two for one, two in counts)
    assert counts[0] < counts[-1]


def test_a_damaged_database_takes_no_rows(tmp_path: Path, file: Path) -> None:
    target = made(tmp_path / "target.db", SCHEMA + FILL)
    run(target, "DELETE FROM t WHERE id % 2 = 0")
    flip(target, 4096 * 20, 4096 * 100)
    before = target.read_bytes()
    with pytest.raises(VerificationError, match="is damaged") as caught:
        imported(target, file, conflict="ignore")
    assert "recover_corruption" in caught.value.next_step
    assert target.read_bytes() == before


@pytest.mark.parametrize("name", ["gone", "empty", "text"])
def test_no_database_is_made_by_an_import(tmp_path: Path, file: Path, name: str) -> None:
    target = tmp_path / name
    if name != "gone":
        target.write_text("" if name == "empty" else "no database" * 100)
    with pytest.raises(LitekeepError) as caught:
        imported(target, file, create=True)
    assert caught.value.exit_code == 8
    assert target.exists() == (name != "gone")


def test_exit_codes_and_words(tmp_path: Path, file: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    taken = tmp_path / "taken"
    taken.write_text("mine")
    broken = tmp_path / "broken"
    broken.write_bytes(file.read_bytes()[:-1])
    before = content(path)
    for code, *words in (
        (2, "export", "events", "--table", "none", "--output", tmp_path / "out"),
        (2, "export", "events", "--table", "events", "--output", taken),
        (2, "export", "events", "--table", "events", "--output", tmp_path / "none" / "out"),
        (2, "export", "events"),
        (2, "export", "events", "--table", "events", "--json"),
        (2, "export", "events", "--table", "events", "--from", "yesterday", "--time-column", "timestamp"),
        (2, "export", "events", "--table", "events", "--from", "2026-11-22T02:00:00Z"),
        (4, "export", "events", "--table", "events", "--at", "latest", "--output", tmp_path / "out"),
        (2, "import", "events", tmp_path / "none"),
        (2, "import", "events", taken),
        (2, "import", "events", file),
        (3, "import", "events", broken),
        (2, "import", "events", broken, "--conflict", "overwrite"),
    ):
        done = litekeep(*command(path, *words), check=int(str(code)))
        assert "next" in done.stderr + done.stdout, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert content(path) == before
    assert taken.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["broken", "data", "taken"]


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    source = made(tmp_path / "source.db", SCHEMA + FILL)
    process = subprocess.Popen(
        [sys.executable, "-m", "litekeep", *command(source, "export", "source", "--table", "t", "--plain")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["id"] == 1
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_the_whole_way_on_the_command_line(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    output = tmp_path / "events.csv.zst"
    words = ["--table", "events", "--from", "2026-11-22T02:00:10Z", "--to", "2026-11-22T02:00:20Z"]
    words += ["--time-column", "timestamp", "--format", "csv", "--zstd", "--output", str(output)]
    (answer,) = json.loads(litekeep(*command(path, "export", "events", *words, "--json"), check=0).stdout)["databases"]
    (found,) = answer["files"]
    assert found["rows"] == 40
    assert found["range"]["unit"].startswith("text such as 2026-11-22T02:00:00")
    run(path, "DELETE FROM events WHERE timestamp >= '2026-11-22T02:00:10' AND timestamp < '2026-11-22T02:00:20'")
    said = litekeep(*command(path, "import", "events", output, "--dry-run"), check=0).stdout
    assert "would be inserted 40" in said
    (answer,) = json.loads(litekeep(*command(path, "import", "events", output, "--json"), check=0).stdout)["databases"]
    assert (answer["changed"], answer["files"][0]["inserted"]) == (True, 40)
    assert run(path, "SELECT count(*) FROM events") == [(200,)]
    plain = litekeep(*command(path, "export", "events", "--table", "events", "--plain"), check=0).stdout
    assert len(plain.splitlines()) == 200
