"""Bad input: each case has a clear message that names the next step, the right exit code, and loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, content, flip, holding_open, leave_hot_journal, leave_wal, litekeep, make_database, protect

from litekeep import backup, restore
from litekeep.errors import LitekeepError
from litekeep.progress import Progress
from litekeep.repository import Repository


def run(tmp_path: Path, path: Path, *words: object, code: int) -> str:
    """The command line on a database; asserts the exit code and that a next step is named. Returns the words."""
    done = litekeep("--database", path, "--repository", tmp_path / "repository", "--host", "host", *words, check=code)
    if code:
        assert any(word in done.stdout + done.stderr for word in ("next:", "next ", "finding ")), done.stderr
        assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def files_below(folder: Path) -> list[str]:
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*"))


def test_missing_path(tmp_path: Path) -> None:
    make_database(tmp_path / "data" / "events.db")
    before = files_below(tmp_path)
    words = run(tmp_path, tmp_path / "nowhere" / "events.db", "backup", code=8)
    assert "does not exist" in words
    assert "this directory is missing, too" in words
    assert files_below(tmp_path) == before


def test_path_with_a_typo_creates_no_file_and_names_the_neighbour(tmp_path: Path) -> None:
    make_database(tmp_path / "data" / "events.db")
    before = files_below(tmp_path)
    words = run(tmp_path, tmp_path / "data" / "evnts.db", "backup", code=8)
    assert "events.db" in words
    assert files_below(tmp_path) == before


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.touch()
    assert "0 bytes" in run(tmp_path, path, "backup", code=8)
    assert path.stat().st_size == 0


def test_not_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_text("id,timestamp\n" * 100)
    assert "begins with b'id,timestamp" in run(tmp_path, path, "backup", code=8)


def test_encrypted_file(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(os.urandom(65536))
    words = run(tmp_path, path, "backup", code=8)
    assert "encrypted" in words
    assert "export" in words


def test_directory(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.mkdir()
    assert "a directory" in run(tmp_path, path, "backup", code=8)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_truncated_file_is_kept_marked_bad_and_never_counts(tmp_path: Path, mode: str) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=5000, mode=mode)
    run(tmp_path, path, "backup", code=0)
    good = json.loads(run(tmp_path, path, "list", "--json", code=0))["databases"][0]["newest"]
    os.truncate(path, path.stat().st_size // 2)
    words = run(tmp_path, path, "backup", code=3)
    assert good in words
    listed = json.loads(run(tmp_path, path, "list", "--json", code=0))["databases"][0]
    assert [item["state"] for item in listed["backups"]] == ["verified", "bad source"]
    assert listed["newest"] == good
    kept = Path(listed["backups"][1]["path"]) / "database.db.zst"
    subprocess.run(["zstd", "-q", "-d", kept, "-o", tmp_path / "kept.db"], check=True)
    assert (tmp_path / "kept.db").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_flipped_page_is_kept_marked_bad_and_never_counts(tmp_path: Path, mode: str) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=5000, mode=mode)
    run(tmp_path, path, "backup", code=0)
    flip(path, 4096 * 40, 4096)
    words = run(tmp_path, path, "backup", code=3)
    assert "is damaged" in words
    assert "litekeep restore events --to" in words
    listed = json.loads(run(tmp_path, path, "list", "--json", code=0))["databases"][0]
    assert [item["state"] for item in listed["backups"]] == ["verified", "bad source"]
    bad = listed["backups"][1]["id"]
    assert "is no restore point" in run(tmp_path, path, "restore", "--to", bad, code=3)
    run(tmp_path, path, "restore", code=0)
    assert content(path).startswith(("unreadable", "missing")) is False


def test_damaged_source_without_any_backup_says_how_to_salvage(tmp_path: Path) -> None:
    path = make_database(tmp_path / "events.db", rows=5000)
    flip(path, 4096 * 40, 4096)
    words = run(tmp_path, path, "backup", code=3)
    assert "there is no verified backup" in words
    assert ".recover" in words


@pytest.mark.parametrize(("mode", "lock"), [("delete", "BEGIN EXCLUSIVE"), ("wal", "PRAGMA locking_mode=EXCLUSIVE")])
def test_locked_database_past_the_deadline(tmp_path: Path, mode: str, lock: str) -> None:
    path = make_database(tmp_path / "data" / "events.db", mode=mode)
    sql = f"{lock}; INSERT INTO events(kind) VALUES('x')"
    with holding_open(path, sql):
        repository, database = protect(tmp_path, path, deadline=1)
        with pytest.raises(LitekeepError) as caught:
            backup.take(repository, database, Progress())
    assert caught.value.exit_code == 5
    assert "stayed locked" in str(caught.value)
    assert "fuser" in caught.value.next_step
    assert repository.catalogue("events").backups == ()


def test_hot_journal_is_left_alone_and_explained(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", mode="delete", rows=2000)
    leave_hot_journal(path)
    before = path.read_bytes(), Path(f"{path}-journal").read_bytes()
    assert "waits for a rollback" in run(tmp_path, path, "backup", code=8)
    assert (path.read_bytes(), Path(f"{path}-journal").read_bytes()) == before


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own; needs root."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def noise_database(path: Path, megabytes: int) -> Path:
    """A database that does not compress."""
    make_database(path, rows=10)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executemany("INSERT INTO events(payload) VALUES(?)", ((os.urandom(65536),) for _ in range(16 * megabytes)))
        db.commit()
    return path


def test_no_space_in_staging_is_known_before_anything_is_written(tmp_path: Path) -> None:
    path = noise_database(tmp_path / "data" / "events.db", 8)
    with small_disk(tmp_path / "staging", "20m") as staging:
        repository, database = protect(tmp_path, path, staging=str(staging))
        with pytest.raises(LitekeepError) as caught:
            backup.take(repository, database, Progress())
        assert caught.value.exit_code == 7
        assert str(staging) in str(caught.value)
        assert list(staging.iterdir()) == []
    assert repository.catalogue("events").backups == ()


def test_no_space_in_the_repository_while_it_is_written(tmp_path: Path) -> None:
    # Half of the size is guessed for the stored copy, which this content does not keep.
    path = noise_database(tmp_path / "data" / "events.db", 60)
    (tmp_path / "staging").mkdir()
    with small_disk(tmp_path / "repository", "50m") as disk:
        repository, database = protect(tmp_path, path, staging=str(tmp_path / "staging"))
        with pytest.raises(LitekeepError) as caught:
            backup.take(repository, database, Progress())
        assert caught.value.exit_code == 7
        assert "free space there" in caught.value.next_step
        assert os.listdir(disk / "host" / "events" / "backups") == []
    assert list((tmp_path / "staging").iterdir()) == []


def test_no_space_beside_the_restore_target(tmp_path: Path) -> None:
    path = noise_database(tmp_path / "data" / "events.db", 8)
    repository, database = protect(tmp_path, path)
    backup.take(repository, database, Progress())
    with small_disk(tmp_path / "small", "20m") as disk:
        plan = restore.plan(repository, database, target=str(disk / "events.db"))
        with pytest.raises(LitekeepError) as caught:
            restore.restore(repository, database, plan, Progress())
        assert caught.value.exit_code == 7
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("beginning", [True, False], ids=["new repository", "existing repository"])
def test_read_only_repository(tmp_path: Path, beginning: bool) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    with small_disk(tmp_path / "repository", "50m") as disk:
        if not beginning:
            run(tmp_path, path, "backup", code=0)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        words = run(tmp_path, path, "backup", code=2)
        assert "cannot be written" in words
        assert "findmnt" in words
        if not beginning:
            run(tmp_path, path, "list", code=0)
            run(tmp_path, path, "verify", code=0)
            run(tmp_path, path, "restore", "--target", tmp_path / "restored.db", code=0)
            assert content(tmp_path / "restored.db") == content(path)


def one_backup(tmp_path: Path) -> tuple[Path, Path]:
    path = make_database(tmp_path / "data" / "events.db", rows=2000)
    run(tmp_path, path, "backup", code=0)
    folder = next((tmp_path / "repository" / "host" / "events" / "backups").iterdir())
    return path, folder


@pytest.mark.parametrize("damage", ["not json", "flipped", "empty", "no manifest"])
def test_unreadable_manifest_does_not_count_and_is_said(tmp_path: Path, damage: str) -> None:
    path, folder = one_backup(tmp_path)
    manifest = folder / "manifest.json"
    if damage == "not json":
        manifest.write_text("{")
    elif damage == "flipped":
        manifest.write_text(manifest.read_text().replace('"page_size": 4096', '"page_size": 8192'))
    elif damage == "empty":
        manifest.write_text("")
    else:
        manifest.unlink()
    assert "unreadable" in run(tmp_path, path, "list", code=0)
    assert "finding" in run(tmp_path, path, "status", code=4)
    assert folder.name in run(tmp_path, path, "restore", "--target", tmp_path / "restored.db", code=4)
    run(tmp_path, path, "restore", "--to", folder.name, "--target", tmp_path / "restored.db", code=3)
    assert not (tmp_path / "restored.db").exists()
    run(tmp_path, path, "backup", code=0)


def test_newer_manifest_asks_for_an_upgrade(tmp_path: Path) -> None:
    path, folder = one_backup(tmp_path)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    assert "newer format" in run(tmp_path, path, "list", code=0)
    words = run(tmp_path, path, "restore", "--to", folder.name, "--target", tmp_path / "restored.db", code=3)
    assert "written by a newer Litekeep" in words


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing", "longer"])
def test_damaged_stored_file_is_found_before_anything_is_replaced(tmp_path: Path, damage: str) -> None:
    path, folder = one_backup(tmp_path)
    stored = folder / "database.db.zst"
    if damage == "truncated":
        os.truncate(stored, stored.stat().st_size // 2)
    elif damage == "flipped":
        flip(stored, stored.stat().st_size // 2)
    elif damage == "empty":
        os.truncate(stored, 0)
    elif damage == "longer":
        with open(stored, "ab") as stream:
            stream.write(b"more")
    else:
        stored.unlink()
    before = content(path)
    run(tmp_path, path, "restore", code=3)
    assert content(path) == before
    assert "DAMAGED" in run(tmp_path, path, "verify", code=3)
    assert "damaged" in run(tmp_path, path, "list", code=0)
    run(tmp_path, path, "restore", code=4)
    run(tmp_path, path, "backup", code=0)
    run(tmp_path, path, "restore", code=0)
    assert content(path) == before


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_restore_over_an_open_database_is_refused_and_names_the_process(tmp_path: Path, mode: str) -> None:
    path = make_database(tmp_path / "data" / "events.db", mode=mode)
    run(tmp_path, path, "backup", code=0)
    with holding_open(path, "INSERT INTO events(kind) VALUES('later')") as process:
        words = run(tmp_path, path, "restore", code=6)
        assert f"process {process.pid}" in words
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM events WHERE kind='later'").fetchone() == (1,)


def test_restore_refuses_a_process_that_holds_a_deleted_sidecar(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    run(tmp_path, path, "backup", code=0)
    with holding_open(path, "INSERT INTO events(kind) VALUES('later')") as process:
        for suffix in ("", "-wal", "-shm"):
            os.unlink(f"{path}{suffix}")
        assert f"process {process.pid}" in run(tmp_path, path, "restore", code=6)


def test_restore_beside_a_stale_wal_does_not_bring_the_disaster_back(tmp_path: Path) -> None:
    """A good file beside an old -wal: the disaster comes back and integrity_check says ok. Not with the swap."""
    path = make_database(tmp_path / "data" / "events.db", rows=500)
    run(tmp_path, path, "backup", code=0)
    wanted = content(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=7")
    leave_wal(path, "disaster")
    disaster = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
    # The trap itself, so that this test is known to be able to fail.
    trap = tmp_path / "trap" / "events.db"
    trap.parent.mkdir()
    folder = next((tmp_path / "repository" / "host" / "events" / "backups").iterdir())
    subprocess.run(["zstd", "-q", "-d", folder / "database.db.zst", "-o", trap], check=True)
    shutil.copy(f"{path}-wal", f"{trap}-wal")
    assert content(trap) != wanted
    done = run(tmp_path, path, "restore", code=0)
    assert content(path) == wanted
    quarantine = Path(done.split("are in ")[1].splitlines()[0])
    assert {suffix: Path(f"{quarantine / 'events.db'}{suffix}").read_bytes() for suffix in ("", "-wal")} == disaster


def test_two_backups_at_once(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path)
    with repository.writing("events"):
        policy = {"events": {"path": str(path), "deadline": "1s"}}
        site = tmp_path / "litekeep.json"
        site.write_text(json.dumps({"repository": repository.root, "host": "host", "databases": policy}))
        refused = litekeep("--config", site, "backup", "events", check=5)
        assert f"process {os.getpid()}" in refused.stderr
    backup.take(repository, database, Progress())


def test_two_restores_at_once(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    run(tmp_path, path, "backup", code=0)
    with restore.Workspace(str(path)).locked():
        assert "Another restore" in run(tmp_path, path, "restore", code=5)


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "", "x" * 65, "with space"])
def test_name_that_is_no_name(tmp_path: Path, name: str) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    done = litekeep("--database", path, "--repository", tmp_path / "repository", "backup", "--", name)
    if name == "":
        assert done.returncode == 0  # no name is the file's own
        return
    assert done.returncode == 2
    assert "give the database name another name" in done.stderr
    assert not (tmp_path / "repository").exists()


def test_unknown_backup_and_points_in_time_name_what_there_is(tmp_path: Path) -> None:
    path, folder = one_backup(tmp_path)
    target = ("--target", tmp_path / "restored.db")
    assert folder.name in run(tmp_path, path, "restore", "--to", "nonsense", *target, code=4)
    taken = json.loads((folder / "manifest.json").read_text())["times"]["snapshot"]
    assert f"after it: {taken}" in run(tmp_path, path, "restore", "--to", "2020-01-01T00:00:00Z", *target, code=4)
    assert "offset" in run(tmp_path, path, "restore", "--to", "2020-01-01T00:00:00", *target, code=2)


def test_restore_to_a_path_that_is_taken(tmp_path: Path) -> None:
    path, _folder = one_backup(tmp_path)
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    run(tmp_path, path, "restore", "--target", taken, code=2)
    assert taken.read_text() == "mine"


def test_wrong_words_and_bad_configurations(tmp_path: Path) -> None:
    assert litekeep("backupp", check=2).stderr.startswith("litekeep: ")
    assert "install.yml" in litekeep("--config", tmp_path / "none.json", "status", check=2).stderr
    for text in ("{", "[]", '{"repository": "relative", "host": "h"}', '{"repository": "/r", "host": "h", "extra": 1}'):
        (tmp_path / "bad.json").write_text(text)
        done = litekeep("--config", tmp_path / "bad.json", "status", check=2)
        assert "Traceback" not in done.stderr


def test_source_of_another_user_is_refused_before_sidecars_lock_the_application_out(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    os.chmod(tmp_path, 0o755)
    os.chmod(path.parent, 0o777)
    os.chmod(path, 0o666)
    code = """
    import os, sys
    from litekeep.source import open_source
    from litekeep.errors import LitekeepError
    os.setgid(65534); os.setuid(65534)
    try:
        with open_source(sys.argv[1], 1):
            pass
    except LitekeepError as problem:
        print(problem)
    """
    parents_open_to_all(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", textwrap.dedent(code), path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "lock the application out" in done.stdout, done.stderr
    assert not os.path.exists(f"{path}-shm")


def parents_open_to_all(path: Path) -> None:
    """pytest's folders are closed to other users."""
    for folder in [path, *path.parents]:
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            os.chmod(folder, os.stat(folder).st_mode | 0o055)


def test_repository_object_of_another_host_sees_nothing(tmp_path: Path) -> None:
    path, _folder = one_backup(tmp_path)
    assert Repository(str(tmp_path / "repository"), "other").catalogue("events").backups == ()
    assert path.exists()
