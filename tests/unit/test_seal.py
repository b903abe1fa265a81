"""The server's side: what is complete is taken over, and no sender can touch it any more."""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from offhost import folder_remote
from support import flip
from unit.archives import Kept, Scene, dump

from litekeep import arrival, cli, incoming, restore, sealrun
from litekeep.errors import BusyError, RemoteError
from litekeep.incoming import INCOMING
from litekeep.manifest import checksum
from litekeep.progress import Progress
from litekeep.push import Archive, Backups
from litekeep.remote import Store
from litekeep.repository import Backup, Repository
from litekeep.seal import Sealed, seal
from litekeep.sealrun import SealRun
from litekeep.timeline import RECORDS

QUIET = Progress()


class Server:
    """A backup server's disk, and a host that pushes to it."""

    def __init__(self, kept: Kept, place: Path, check: str = "size") -> None:
        self.kept, self.root = kept, place / "server"
        self.repository = Repository(str(self.root), kept[0].host)
        self.home = self.root / kept[0].host
        self.incoming = self.root / kept[0].host / INCOMING
        self.incoming.mkdir(parents=True)
        remote = folder_remote(self.root / kept[0].host, incoming=INCOMING, check=check)
        self.backups = Backups(kept[0], "events", Store(remote), QUIET)
        self.archive = Archive(kept[0], "events", Store(remote), QUIET)

    def seal(self) -> Sealed:
        (done,) = seal(self.repository, 0)
        return done

    def left(self) -> list[str]:
        return sorted(path.name for path in self.incoming.rglob("*") if path.is_file())


@pytest.fixture
def server(kept: Kept, tmp_path: Path) -> Server:
    return Server(kept, tmp_path)


@pytest.mark.parametrize("check", ["size", "read_back"])
def test_what_is_sealed_before_it_was_read_again_has_arrived(
    kept: Kept, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    server = Server(kept, tmp_path, check)
    write = server.archive.store.write

    def write_and_seal(path: str, blocks: Iterable[bytes]) -> None:
        write(path, blocks)
        server.seal()

    monkeypatch.setattr(server.archive.store, "write", write_and_seal)
    scene.commit(1)
    server.archive.run()
    scene.commit(2)
    assert server.archive.run().segments == 1
    assert server.archive.memory.values["trouble"] == ""


@pytest.mark.parametrize("lie", [b"", b"other records of the same length"])
def test_what_is_neither_there_nor_sealed_has_not_arrived(
    server: Server, scene: Scene, monkeypatch: pytest.MonkeyPatch, lie: bytes
) -> None:
    scene.commit(1)
    server.archive.run()
    server.seal()
    scene.commit(2)
    sealed = server.home / "events" / "archive" / scene.folder.name / RECORDS

    def lose(path: str, blocks: Iterable[bytes]) -> None:
        size = sum(len(block) for block in blocks)
        if lie and "records-" in path:
            sealed.chmod(0o600)
            sealed.write_bytes(sealed.read_bytes() + lie * (1 + 10 * size // len(lie)))
        elif "records-" not in path:
            (server.incoming / path.removeprefix(f"{INCOMING}/")).write_bytes(bytes(size))

    monkeypatch.setattr(server.archive.store, "write", lose)
    with pytest.raises(RemoteError, match="is not on vault as it was sent"):
        server.archive.run()


def test_what_was_pushed_is_restored_from_the_server(server: Server, scene: Scene, tmp_path: Path) -> None:
    scene.commit(1)
    made = scene.backup(2)
    for second in range(3, 9):
        scene.commit(second)
    scene.relieve(9)
    scene.commit(10)
    scene.heartbeat(11)
    server.backups.run()
    server.archive.run()
    assert server.seal() == Sealed("events", [made.id], 8)
    assert server.left() == ["heartbeat.json"]
    assert server.seal() == Sealed("events")
    there = (server.repository, server.kept[1])
    for to, state in (("latest", max(scene.states)), (made.id, min(scene.states))):
        target = tmp_path / f"{to}.db"
        restore.restore(*there, restore.plan(*there, to, str(target)), QUIET)
        assert dump(target) == scene.states[state]
    # What the server has counts as there, also for a host that has forgotten it.
    server.archive.memory.keep(**{scene.folder.name: []})
    server.archive.forget()
    assert server.archive.run().segments == 0
    assert server.backups.run().backups == []


def test_who_has_a_file_open_cannot_change_what_is_sealed(server: Server, saved: Backup) -> None:
    server.backups.run()
    name = saved.manifest.files[0].name if saved.manifest else ""
    with open(server.incoming / "events" / "backups" / saved.id / name, "r+b") as attacker:
        server.seal()
        attacker.write(b"\0" * 100)
        attacker.truncate()
    kept = server.home / "events" / "backups" / saved.id / name
    assert kept.read_bytes() == Path(saved.folder, name).read_bytes()


@pytest.mark.parametrize(
    "how", ["torn", "flipped", "no manifest", "of another host", "link", "folder", "pipe", "holes"]
)
def test_what_is_not_what_was_sent_is_not_taken_over(server: Server, saved: Backup, tmp_path: Path, how: str) -> None:
    server.backups.run()
    folder = server.incoming / "events" / "backups" / saved.id
    data = next(path for path in folder.iterdir() if path.name != "manifest.json")
    content = data.read_bytes()
    if how == "torn":
        data.write_bytes(content[:-1])
    elif how == "flipped":
        flip(data, 50)
    elif how == "no manifest":
        (folder / "manifest.json").unlink()
    elif how == "of another host":
        forge(folder, host="other")
    else:
        data.unlink()
        (tmp_path / "secret").write_bytes(content)
        if how == "link":
            data.symlink_to(tmp_path / "secret")
        elif how == "folder":
            data.mkdir()
        elif how == "holes":
            with open(data, "wb") as stream:
                stream.truncate(len(content))
        else:
            os.mkfifo(data)
    done = server.seal()
    assert done.backups == []
    assert bool(done.refused) is (how in ("flipped", "of another host"))
    assert not (server.home / "events" / "backups").exists() or os.listdir(server.home / "events" / "backups") == []


def forge(folder: Path, **changes: object) -> None:
    """Another manifest, whose checksum is right."""
    values = {**json.loads((folder / "manifest.json").read_text()), **changes}
    (folder / "manifest.json").write_text(json.dumps({**values, "checksum": checksum(values)}))


def test_what_was_proven_to_be_wrong_is_removed_and_comes_again(server: Server, saved: Backup) -> None:
    server.backups.run()
    flip(next((server.incoming / "events" / "backups" / saved.id).glob("*.zst")), 50)
    assert "did not arrive as it was sent" in server.seal().refused[0]
    assert server.left() == []
    assert server.seal() == Sealed("events")
    server.backups.forget()
    server.backups.run()
    assert server.seal().backups == [saved.id]


def test_names_that_lead_elsewhere_are_refused(server: Server, saved: Backup, tmp_path: Path) -> None:
    server.backups.run()
    (server.incoming / "-rf").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (server.incoming / "linked").symlink_to(tmp_path / "elsewhere")
    (server.incoming / "events" / "backups" / "x'; rm").mkdir()
    (server.incoming / "events" / "archive").symlink_to(tmp_path / "elsewhere")
    found = {done.database: done for done in seal(server.repository, 0)}
    assert any("-rf" in words and "cannot be used" in words for words in found[INCOMING].refused)
    assert any(words.startswith("linked: ") for words in found[INCOMING].refused)
    assert found["events"].backups == [saved.id]
    assert any("no name of ours" in words for words in found["events"].refused)
    assert sorted(os.listdir(server.home)) == [INCOMING, "events"]
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("name", ["a\nevents: the backup is sealed", "\x1b[2J", "b\udcff\udc80", "x" * 255])
def test_no_name_writes_lines_of_its_own_into_the_journal(server: Server, saved: Backup, name: str) -> None:
    server.backups.run()
    for place in (server.incoming, server.incoming / "events" / "backups"):
        (place / name).mkdir()
    told = [words for done in seal(server.repository, 0) for words in (done.database, *done.refused)]
    assert len(told) == 4
    assert all(words.isascii() and words.isprintable() and len(words) < 500 for words in told)


def test_reasons_of_one_database_have_an_end(server: Server, saved: Backup) -> None:
    server.backups.run()
    for number in range(50):
        (server.incoming / "events" / "backups" / f"no-{number}x").mkdir()
    done = server.seal()
    assert done.backups == [saved.id]
    assert (len(done.refused), done.refused[-1]) == (20, "and 31 more")


@pytest.mark.parametrize("how", ["brackets", "a zero", "a lone surrogate", "large", "sparse"])
def test_a_manifest_that_was_made_to_break_the_reader_harms_only_its_own_backup(
    server: Server, saved: Backup, how: str
) -> None:
    server.backups.run()
    hostile = server.incoming / "events" / "backups" / saved.id.replace("Z", "0Z")[1:]
    shutil.copytree(server.incoming / "events" / "backups" / saved.id, hostile)
    manifest = hostile / "manifest.json"
    if how == "brackets":
        manifest.write_text("[" * 1_000_000)
    elif how in ("large", "sparse"):
        with open(manifest, "ab") as stream:
            stream.write(b" " * (8 << 20 if how == "large" else 1))
            stream.truncate(1 << 30)
    else:
        values = json.loads(manifest.read_text())
        values["files"][0]["name"] = "a\0b" if how == "a zero" else "\ud800"
        forge(hostile, id=hostile.name, files=values["files"])
    done = server.seal()
    assert done.backups == [saved.id]
    assert [words.split(": ")[0] for words in done.refused] == [f"backups/{hostile.name}"]


def test_rubbish_leaves_no_folders_behind(server: Server) -> None:
    for name in ("one", "two"):
        (server.incoming / name / "backups" / "20261123T000000.000Z-full").mkdir(parents=True)
        (server.incoming / name / "archive" / "20261123T000000.000Z").mkdir(parents=True)
        (server.incoming / name / "archive" / "20261123T000000.000Z" / "heartbeat.json").write_text("[" * 100_000)
    for done in seal(server.repository, 0):
        assert done.backups == []
    assert os.listdir(server.home) == [INCOMING]


def test_a_folder_that_is_too_full_keeps_no_other_waiting(
    server: Server, saved: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.backups.run()
    full = server.incoming / "events" / "archive" / "20261123T000000.000Z"
    full.mkdir(parents=True)
    for number in range(30):
        (full / str(number)).touch()
    monkeypatch.setattr(incoming, "names", functools.partial(incoming.names, most=20))
    monkeypatch.setattr(arrival, "names", incoming.names)
    done = server.seal()
    assert done.backups == [saved.id]
    assert ["too full" in words for words in done.refused] == [True]


def test_a_full_server_takes_nothing_and_says_so(server: Server, saved: Backup) -> None:
    server.backups.run()
    (done,) = seal(server.repository, 1 << 60)
    assert (done.database, done.backups) == (INCOMING, [])
    assert done.full is not None
    assert "no room beyond its reserve" in done.refused[0]
    assert server.left()


def test_a_backup_that_does_not_fit_keeps_no_commits_waiting(
    server: Server, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.commit(1)
    made = scene.backup(2)
    server.backups.run()
    server.archive.run()
    large = made.manifest.stored_size if made.manifest else 0
    real = os.statvfs(server.root)
    room = os.statvfs_result([1, 1, 0, 0, large // 2, 0, 0, 0, *real[8:]])
    monkeypatch.setattr(os, "statvfs", lambda _path: room)
    done = server.seal()
    assert (done.backups, done.segments, done.full is None) == ([], 1, False)
    monkeypatch.undo()
    assert server.seal().backups == [made.id]


def test_the_host_can_read_all_that_was_sealed(server: Server, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(2)
    for second in (3, 4):
        scene.commit(second)
        scene.heartbeat(second + 0.5)
        server.archive.memory.keep(heartbeat="")
        server.backups.run()
        server.archive.run()
        server.seal()
        scene.heartbeat(second + 0.7)
        server.archive.memory.keep(heartbeat="")
        server.archive.run()
        server.seal()
    for path in (server.home / "events").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o440), path
    (heartbeat,) = (server.home / "events").rglob("heartbeat.json")
    assert heartbeat.read_bytes() == (scene.folder / "heartbeat.json").read_bytes()
    # And is not written again for nothing.
    inode = heartbeat.stat().st_ino
    server.seal()
    assert heartbeat.stat().st_ino == inode


class Uploads:
    """Uploads of a host, the first one the oldest."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def put(self, path: str, kilobytes: int) -> None:
        place = self.server.incoming / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(os.urandom(kilobytes << 10))
        time.sleep(0.02)

    def keep(self, kilobytes: int) -> str:
        with incoming.folder(str(self.server.home), INCOMING) as descriptor:
            return incoming.keep_below(descriptor, kilobytes << 10)

    def left(self) -> list[str]:
        files = (path for path in self.server.incoming.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.server.incoming)) for path in files)


@pytest.fixture
def uploads(server: Server) -> Uploads:
    return Uploads(server)


def test_above_the_limit_the_oldest_that_are_not_complete_go_first(uploads: Uploads) -> None:
    uploads.put("events/backups/1-full/manifest.json", 20)
    uploads.put("events/backups/1-full/data", 300)
    uploads.put("events/backups/2-full/data", 300)
    uploads.put("events/archive/3Z/00000001-0000000001-0000000009.wal.zst", 300)
    uploads.put("events/backups/4-full/data", 300)
    everything = uploads.left()
    assert uploads.keep(2000) == ""
    assert uploads.left() == everything
    assert "removed events/backups/2-full" in uploads.keep(1200)
    assert uploads.left() == [path for path in everything if "/2-" not in path]
    # A file that grows makes its upload young again.
    uploads.put("events/backups/4-full/more", 300)
    uploads.keep(900)
    assert uploads.left() == [path for path in everything if "/1-" in path or "/3Z" in path]
    uploads.keep(400)
    assert uploads.left() == [path for path in everything if "/3Z" in path]


def test_what_is_no_upload_goes_before_all_others_and_files_count_however_empty(uploads: Uploads) -> None:
    uploads.put("events/backups/1-full/data", 300)
    for number in range(30):
        uploads.put(f"events/backups/1-full/{number}", 0)
    uploads.put("new\nline", 100)
    uploads.put("events/other/file", 100)
    uploads.put("-rf/file", 100)
    (uploads.server.incoming / "link").symlink_to(uploads.server.root)
    os.mkfifo(uploads.server.incoming / "pipe")
    for number in range(30):
        (uploads.server.incoming / f"empty{number}").mkdir()
    assert "new\\nline" in uploads.keep(800)
    assert {path.split("/")[0] for path in uploads.left()} == {"events"}
    assert len(uploads.left()) == 31
    assert sorted(os.listdir(uploads.server.incoming)) == ["events"]
    uploads.keep(400)
    assert uploads.left() == []


def test_folders_in_folders_are_removed_however_deep_and_with_few_files_open(uploads: Uploads) -> None:
    uploads.put("events/backups/1-full/data", 10)
    upload = uploads.server.incoming / "events" / "backups" / "2-full"
    upload.mkdir()
    descriptor = os.open(upload, os.O_RDONLY)
    for _level in range(2000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=below))
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        assert "folders in folders: removed events/backups/2-full" in uploads.keep(10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not upload.exists()
    assert uploads.left() == ["events/backups/1-full/data"]


def test_what_is_removed_takes_no_room_for_whoever_has_it_open(uploads: Uploads) -> None:
    uploads.put("events/backups/1-full/data", 1000)
    sealed = uploads.server.root / "sealed"
    sealed.write_bytes(b"x" * 1000)
    os.link(sealed, uploads.server.incoming / "events" / "backups" / "1-full" / "linked")
    with open(uploads.server.incoming / "events" / "backups" / "1-full" / "data", "r+b") as attacker:
        uploads.keep(100)
        assert uploads.left() == []
        assert os.fstat(attacker.fileno()).st_blocks == 0
    # Removed, but never written to: it may be somebody else's.
    assert sealed.read_bytes() == b"x" * 1000


def test_what_is_complete_is_taken_over_before_the_limit_counts(server: Server, saved: Backup) -> None:
    server.backups.run()
    (server.incoming / "events" / "rubbish").write_bytes(bytes(100_000))
    done, whole = seal(server.repository, 0, 0)
    assert done.backups == [saved.id]
    assert "removed events/rubbish" in whole.refused[0]
    assert server.left() == []
    assert (server.home / "events" / "backups" / saved.id / "manifest.json").exists()


def test_many_uploads_are_removed_in_several_rounds(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "_AT_ONCE", 3)
    for number in range(10):
        uploads.put(f"events/backups/{number}-full/data", 20)
    assert "and 3 more" in uploads.keep(80)
    assert uploads.left() == ["events/backups/8-full/data", "events/backups/9-full/data"]


class Hosts:
    """Looks at hosts, as a test wants them to go."""

    def __init__(self, root: Path, names: str) -> None:
        for name in names:
            (root / name / INCOMING).mkdir(parents=True)
        self.looks: list[str] = []
        self.told: list[str] = []
        self.work: dict[str, Callable[[], object]] = {}
        self.run = SealRun(str(root), 0, 0, lambda host, _done: self.told.append(host), again=0.01)

    def seal(self, repository: Repository, _reserve: int, _limit: int) -> list[Sealed]:
        self.looks.append(repository.host)
        self.work.get(repository.host, lambda: None)()
        return [Sealed("events")]


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    hosts = Hosts(tmp_path / "server", "abc")
    monkeypatch.setattr(sealrun, "seal", hosts.seal)
    return hosts


def test_a_host_that_takes_long_keeps_no_other_one_waiting(hosts: Hosts) -> None:
    def long() -> None:
        while hosts.looks.count("a") < 3 or hosts.looks.count("c") < 3:
            time.sleep(0.001)

    hosts.work["b"] = long
    hosts.run.run()
    assert hosts.looks.count("b") >= 1
    assert sorted(hosts.told) == sorted(hosts.looks)


def test_a_host_that_fails_keeps_no_other_one_waiting(hosts: Hosts) -> None:
    def broken() -> None:
        raise OSError("gone")

    def bug() -> None:
        raise RuntimeError("bug")

    hosts.work.update(a=broken, b=bug)
    with pytest.raises(RuntimeError, match="bug"):
        hosts.run.run()
    assert set(hosts.told) == {"a", "c"}


def test_two_runs_are_never_at_work_together(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealrun, "_PATIENCE", 0.0)
    second: list[BaseException] = []

    def other() -> None:
        try:
            hosts.run.run()
        except BusyError as problem:
            second.append(problem)

    hosts.work["a"] = other
    hosts.run.run()
    assert len(second) == hosts.looks.count("a") >= 1


@pytest.mark.parametrize(
    ("how", "code"), [("whole", 0), ("damaged", 3), ("full", 7), ("no such repository", 2), ("wrong size", 2)]
)
def test_the_command_tells_what_it_did(
    server: Server, saved: Backup, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, code: int
) -> None:
    server.backups.run()
    if how == "damaged":
        flip(next(server.incoming.rglob("*.zst")), 50)
    config = tmp_path / "server.json"
    root = tmp_path / "nowhere" if how == "no such repository" else server.root
    config.write_text(json.dumps({"repository": str(root), "host": "server", "databases": {}}))
    words = ["--config", str(config), "seal", "--reserve", "1GB" if how != "full" else "999TB"]
    assert cli.main([*words, "--limit", "1GB" if how != "wrong size" else "much"]) == code
    said = capsys.readouterr().out
    name = f"{server.kept[0].host}/events"
    assert (f"{name}: the backup {saved.id} is proven and sealed\n" in said) is (how == "whole")
    assert (f"{name}: REFUSED: backups/{saved.id}: " in said) is (how == "damaged")
    assert ("larger disk" in said) is (how == "full")
    assert cli.main([*words, "--json"]) == (code if how not in ("damaged", "wrong size") else 0)
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == (code if how not in ("damaged", "wrong size") else 0)
