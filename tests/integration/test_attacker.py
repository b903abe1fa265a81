"""From the account of a host that was taken over, over real SFTP, with everything the role backup_server sets up: what
was sealed stays as it is, nobody else's can be seen, and the others' backups go on being sealed."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from archiving import ENVIRONMENT
from offhost import ACCOUNT, Host, SftpServer
from support import ROOT

from litekeep.manifest import checksum
from litekeep.outbound import piece_name
from litekeep.repository import Repository
from litekeep.seal import seal
from litekeep.store import packed

ROLE = ROOT / "roles" / "backup_server"
OK, DENIED, FAILED, UNSUPPORTED = 0, 3, 4, 8
READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32

Answer = tuple[int, bytes]


class Vault(SftpServer):
    """The server as the role sets it up: its sshd configuration, and its program that writes the files of keys.

    open_to_all: as it would be without: everything belongs to the account, which may ask for anything.
    """

    def __init__(self, keys: Path, open_to_all: bool = False) -> None:
        super().__init__(keys)
        self.open_to_all = open_to_all
        self.granted = self.base / "granted"
        self.granted.mkdir(mode=0o755)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "reader")], check=True)
        host = {"name": "host", "key": self.public("client"), "readers": [self.public("reader")]}
        self.access(what="apply", hosts=[host], readers=[])

    def public(self, name: str) -> str:
        return (self.keys / f"{name}.pub").read_text().strip()

    def access(self, **request: object) -> None:
        """What the role asks of its program."""
        command = [
            sys.executable,
            str(ROLE / "files" / "access.py"),
            self.granted,
            self.base / "memory",
            "no-such-group",
        ]
        subprocess.run(list(map(str, command)), input=json.dumps(request), text=True, check=True)
        if self.open_to_all:
            file = self.granted / "lk-host"
            lines = file.read_text().splitlines()
            file.write_text("".join(f'command="internal-sftp" {line.split(chr(34))[2].strip()}\n' for line in lines))

    def rules(self) -> str:
        """As the role has them."""
        environment = jinja2.Environment(autoescape=False)
        environment.filters["comment"] = lambda text: f"# {text}"
        group = grp.getgrgid(pwd.getpwnam(ACCOUNT).pw_gid).gr_name
        template = environment.from_string((ROLE / "templates" / "litekeep.conf").read_text())
        rules = template.render(
            ansible_managed="", __backup_server_group=group, __backup_server_keys=str(self.granted)
        ).replace("%u", "lk-host")
        return "Subsystem sftp /usr/lib/openssh/sftp-server\n" + rules.replace("%h", str(self.root))

    def ssh(self, key: str, *words: str) -> list[str]:
        """A command of OpenSSH's client as that key's owner."""
        options = ["-o", f"UserKnownHostsFile={self.keys}/known_hosts-{self.port}", "-o", "BatchMode=yes"]
        return ["ssh", "-F", "none", "-i", str(self.keys / key), *options, "-p", str(self.port),
                f"{ACCOUNT}@127.0.0.1", *words]  # fmt: skip

    def seal(self) -> list[str]:
        """Take over what is complete; what was."""
        return [name for each in seal(Repository(str(self.base), "host"), 0) for name in each.backups]


class Sftp:
    """A client that sends the packets that it is told to (draft-ietf-secsh-filexfer-02), and hides nothing."""

    def __init__(self, vault: Vault, key: str) -> None:
        command = vault.ssh(key, "-s", "sftp")
        command.remove("-s")
        command[-1:] = ["-s", "sftp"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.number = 0
        self._send(1, struct.pack(">I", 3))
        assert self._receive()[0] == 2

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()

    def _send(self, kind: int, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack(">IB", len(body) + 1, kind) + body)
        self.process.stdin.flush()

    def _receive(self) -> Answer:
        assert self.process.stdout is not None
        length, kind = struct.unpack(">IB", self._read(5))
        return kind, self._read(length - 1)

    def _read(self, count: int) -> bytes:
        assert self.process.stdout is not None
        found = self.process.stdout.read(count)
        assert len(found) == count, "the server has hung up"
        return found

    def ask(self, kind: int, *parts: str | bytes | int) -> Answer:
        """A request: texts as they are, numbers of 32 bits. Its status, or 0 and what came instead of one."""
        self.number += 1
        body = b"".join(
            struct.pack(">I", part) if isinstance(part, int) else struct.pack(">I", len(part)) + _bytes(part)
            for part in parts
        )
        self._send(kind, struct.pack(">I", self.number) + body)
        answered, content = self._receive()
        assert struct.unpack(">I", content[:4])[0] == self.number
        return (struct.unpack(">I", content[4:8])[0], b"") if answered == 101 else (OK, content[4:])

    def open(self, path: str, flags: int) -> Answer:
        status, content = self.ask(3, path, flags, 0)
        return status, content[4:]

    def write(self, handle: bytes, at: int, content: bytes) -> int:
        return self.ask(6, handle, at >> 32, at & 0xFFFFFFFF, content)[0]

    def read(self, handle: bytes, count: int) -> bytes:
        return self.ask(5, handle, 0, 0, count)[1][4:]

    def names(self, path: str) -> Answer:
        status, content = self.ask(11, path)
        return self.ask(12, content[4:]) if status == OK else (status, b"")


def _bytes(part: str | bytes) -> bytes:
    return part if isinstance(part, bytes) else part.encode()


@contextlib.contextmanager
def running(keys: Path, **how: Any) -> Iterator[Vault]:
    if os.geteuid():
        pytest.skip("expected: only root can start an SSH server with a chroot")
    keys.mkdir()
    vault = Vault(keys, **how)
    try:
        vault.start()
        vault.remote()
        yield vault
    finally:
        vault.remove()


@contextlib.contextmanager
def connected(vault: Vault, key: str = "client") -> Iterator[Sftp]:
    client = Sftp(vault, key)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with running(tmp_path / "keys") as vault:
        yield vault


@pytest.fixture
def host(tmp_path: Path, vault: Vault) -> Iterator[Host]:
    host = Host(tmp_path / "host", vault.remote())
    try:
        yield host
    finally:
        host.close()


def sealed(vault: Vault, host: Host) -> None:
    """A backup and a part of an archive, pushed and sealed."""
    host.archive.start()
    host.insert("one", 5)
    host.archive.stop()
    host.call("push", "events")
    assert vault.seal()


def state(vault: Vault) -> dict[str, tuple[object, ...]]:
    """Everything on the server but what waits: what it is, and what it holds."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [vault.root, *vault.root.rglob("*")]:
        if path == vault.incoming or vault.incoming in path.parents:
            continue
        entry = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else sorted(os.listdir(path))
        owned = (entry.st_mode, entry.st_uid, entry.st_gid)
        times = entry.st_mtime_ns if path.is_file() else 0
        found[str(path)] = (entry.st_ino, entry.st_nlink, *owned, times, str(content))
    return found


# Of a file, its folder, and a free name in the folder that may be written to. Each would work on a server that is open
# to all; see the test below.
ATTACKS: dict[str, Callable[[Sftp, str, str, str], Answer]] = {
    "remove": lambda sftp, file, _folder, _free: sftp.ask(13, file),
    "rename": lambda sftp, file, folder, _free: sftp.ask(18, file, f"{folder}/other"),
    "rename away": lambda sftp, file, _folder, free: sftp.ask(18, file, free),
    "rename the folder": lambda sftp, _file, folder, free: sftp.ask(18, folder, free),
    "posix-rename": lambda sftp, file, _folder, free: sftp.ask(200, "posix-rename@openssh.com", file, free),
    "replace by a rename": lambda sftp, file, _folder, free: replaced(sftp, file, free),
    "hardlink": lambda sftp, file, _folder, free: sftp.ask(200, "hardlink@openssh.com", file, free),
    "symlink": lambda sftp, file, _folder, free: sftp.ask(20, file, free),
    "truncate": lambda sftp, file, _folder, _free: sftp.open(file, WRITE | CREATE | TRUNCATE),
    "write": lambda sftp, file, _folder, _free: sftp.open(file, WRITE),
    "read and write": lambda sftp, file, _folder, _free: sftp.open(file, READ | WRITE),
    "append": lambda sftp, file, _folder, _free: sftp.open(file, WRITE | APPEND),
    "cut": lambda sftp, file, _folder, _free: sftp.ask(9, file, 1, 0, 0),
    "chmod": lambda sftp, file, _folder, _free: sftp.ask(9, file, 4, 0o666),
    "chmod the folder": lambda sftp, _file, folder, _free: sftp.ask(9, folder, 4, 0o777),
    "utimes": lambda sftp, file, _folder, _free: sftp.ask(9, file, 8, 1, 1),
    "lutimes": lambda sftp, file, _folder, _free: sftp.ask(200, "lsetstat@openssh.com", file, 8, 1, 1),
    "chown": lambda sftp, file, _folder, _free: sftp.ask(9, file, 2, owner(), owner()),
    "chmod of an open file": lambda sftp, file, _folder, _free: sftp.ask(10, sftp.open(file, READ)[1], 4, 0o666),
    "a new file beside": lambda sftp, _file, folder, _free: sftp.open(f"{folder}/new", WRITE | CREATE | EXCLUSIVE),
    "a new folder beside": lambda sftp, _file, folder, _free: sftp.ask(14, f"{folder}/new", 0),
    "a new folder at the top": lambda sftp, _file, _folder, _free: sftp.ask(14, "/events2", 0),
    "remove the folder": lambda sftp, file, folder, _free: emptied(sftp, file, folder),
}


def owner() -> int:
    return pwd.getpwnam(ACCOUNT).pw_uid


def replaced(sftp: Sftp, file: str, free: str) -> Answer:
    status, _handle = sftp.open(free, WRITE | CREATE)
    return (status, b"") if status else sftp.ask(200, "posix-rename@openssh.com", free, file)


def emptied(sftp: Sftp, file: str, folder: str) -> Answer:
    sftp.ask(13, file)
    sftp.ask(13, f"{folder}/manifest.json")
    return sftp.ask(15, folder)


@pytest.mark.parametrize("key", ["client", "reader"])
def test_what_is_sealed_stays_as_it_is(vault: Vault, host: Host, key: str) -> None:
    sealed(vault, host)
    before = state(vault)
    files = [path for path in before if os.path.isfile(path)]
    assert {os.path.basename(path) for path in files} >= {"database.db.zst", "manifest.json", "timeline.jsonl"}
    with connected(vault, key) as sftp:
        for name, attack in ATTACKS.items():
            for number, path in enumerate(files):
                seen = path[len(str(vault.root)) :]
                status, _content = attack(sftp, seen, os.path.dirname(seen), f"/.incoming/{number}")
                assert status in (DENIED, FAILED, UNSUPPORTED), name
        assert state(vault) == before
        # And that is not because nothing works.
        seen = files[0][len(str(vault.root)) :]
        assert sftp.read(sftp.open(seen, READ)[1], 10) == Path(files[0]).read_bytes()[:10]
        status, handle = sftp.open("/.incoming/new", WRITE | CREATE)
        assert (status, handle == b"") == ((OK, False) if key == "client" else (DENIED, True))
    target = host.folder / "there.db"
    host.call("restore", "events", "--from", "vault", "--target", target)


# The top is the chroot itself, which belongs to root on every server.
@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "a new folder at the top"])
def test_each_of_these_attacks_would_work_on_a_server_that_is_open_to_all(tmp_path: Path, name: str) -> None:
    with running(tmp_path / "keys", open_to_all=True) as vault:
        folder = vault.root / "events" / "backups" / "20261123T000000.000Z-full"
        folder.mkdir(parents=True)
        for file in ("database.db.zst", "manifest.json"):
            (folder / file).write_text("content")
        for path in vault.root.rglob("*"):
            os.chown(path, owner(), -1)
        seen = "/events/backups/20261123T000000.000Z-full"
        with connected(vault) as sftp:
            status, _content = ATTACKS[name](sftp, f"{seen}/database.db.zst", seen, "/.incoming/free")
        assert status == OK


def test_who_has_a_file_open_cannot_change_what_is_sealed(vault: Vault, host: Host) -> None:
    """Handles that were opened before: of each file of an upload, one that writes."""
    host.call("backup", "events")
    host.call("push", "events")
    uploads = [path for path in vault.incoming.rglob("*") if path.is_file()]
    with connected(vault) as sftp:
        handles = [sftp.open(str(path)[len(str(vault.root)) :], READ | WRITE)[1] for path in uploads]
        assert all(handles)
        assert vault.seal()
        before = state(vault)
        for handle in handles:
            assert sftp.write(handle, 0, b"rubbish" * 100) == OK
            assert sftp.ask(10, handle, 1, 0, 0)[0] != OK
        assert state(vault) == before
    assert host.call("restore", "events", "--from", "vault", "--target", host.folder / "there.db")["result"]


def test_nothing_of_another_host_can_be_seen(vault: Vault) -> None:
    other = vault.base / "other" / "events"
    other.mkdir(parents=True)
    (other / "secret").write_text("secret")
    with connected(vault) as sftp:
        for path in ("/../other", "../../other", str(vault.base / "other"), "/other", "/..", "/.incoming/../../other"):
            status, listed = sftp.names(path)
            assert b"secret" not in listed
            assert status != OK or b"other" not in listed, path
            assert sftp.open(f"{path}/events/secret", READ)[0] != OK
        status, listed = sftp.names("/..")
        assert (status, b".incoming" in listed) == (OK, True)


@pytest.mark.parametrize("key", ["client", "reader"])
def test_the_account_gets_neither_a_shell_nor_a_tunnel(vault: Vault, key: str) -> None:
    for words in (["id"], ["sh", "-c", "id"], ["-t", "id"]):
        done = subprocess.run(vault.ssh(key, *words), capture_output=True, text=True, timeout=60, check=False)
        assert "uid=" not in done.stdout
    forward = vault.ssh(key)
    forward[1:1] = ["-W", f"127.0.0.1:{vault.port}"]
    done = subprocess.run(forward, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert "SSH-2.0" not in done.stdout
    assert "prohibited" in done.stderr


def test_a_fenced_host_backs_up_without_the_server_and_its_heir_reads(vault: Vault, host: Host) -> None:
    sealed(vault, host)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(vault.keys / "heir")], check=True)
    vault.access(what="fence", hosts=[], name="host", heir=vault.public("heir"))
    host.insert("after", 3)
    failed = host.call("push", "events", code=9)
    assert "vault" in failed["error"]["message"]
    assert "unable to authenticate" in failed["error"]["found"]
    assert "local backups and the archive are whole" in failed["error"]["safe"]
    assert host.call("backup", "events")["changed"]
    assert host.call("push", "events", code=9)["error"]["kind"] == "remote"
    assert any("unable to authenticate" in each for each in host.call("status", "events", code=3)["findings"])
    # No inventory lets that very key in again.
    vault.access(what="apply", hosts=[{"name": "host", "key": vault.public("client")}], readers=[])
    host.call("push", "events", code=9)
    with connected(vault, "heir") as sftp:
        assert sftp.names("/events")[0] == OK
        assert sftp.open("/.incoming/new", WRITE | CREATE)[0] == DENIED
    # A new key for the same name does.
    shutil.move(vault.keys / "heir", vault.keys / "client")
    vault.access(what="admit", name="host", key=vault.public("heir"), readers=[])
    assert host.call("push", "events")["changed"]


# Small, and between the two: wait4(2) never calls a child smaller than the process that forked it.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdout=open(sys.argv[1], "wb"), stderr=subprocess.STDOUT)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def measured_seal(vault: Vault, *words: str) -> tuple[int, str, int]:
    """``litekeep seal`` in a process of its own: exit code, what it said, and the memory that it took, in bytes."""
    config = vault.keys / "server.json"
    config.write_text(json.dumps({"repository": str(vault.base), "host": "server", "databases": {}}))
    said = vault.keys / "said"
    seal = [sys.executable, "-m", "litekeep", "--config", str(config), "seal", "--reserve", "1", *words]
    measure = [sys.executable, "-c", MEASURE, str(said), *seal]
    done = subprocess.run(measure, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, said.read_text(), int(done.stdout)


def many_files(place: Path) -> None:
    place.mkdir(parents=True)
    for number in range(100_000):
        os.close(os.open(place / piece_name(number, number + 1), os.O_WRONLY | os.O_CREAT))


def bomb(lines: bytes) -> Callable[[Path], None]:
    """Records that are small on the way and large when they are unpacked."""

    def make(place: Path) -> None:
        place.mkdir(parents=True)
        (place / piece_name(0, len(lines))).write_bytes(packed(lines))

    return make


def brackets() -> bytes:
    body = b'{"previous": [' + b"[]," * 8_000_000 + b"[]]"
    return body + b', "checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def manifest(content: bytes) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        place.mkdir(parents=True)
        with open(place / "manifest.json", "wb") as stream:
            stream.write(content)
            stream.truncate(1 << 30)

    return make


def deep(place: Path) -> None:
    place.mkdir(parents=True)
    descriptor = os.open(place, os.O_RDONLY)
    for _level in range(1000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def strange(place: Path) -> None:
    for name in ("a\nhost/events: the backup is sealed", "\x1b[2Jx", "x'; rm -rf /", "-rf", "\udcff"):
        (place / name).mkdir(parents=True)
    (place / "link").symlink_to("/etc/passwd")
    (place / "up").symlink_to("../../..")
    os.mkfifo(place / "pipe")
    os.mknod(place / "zero", 0o20666, os.makedev(1, 5))


EVIL = {
    "100,000 pieces": ("events/archive/20261123T000000.000Z", many_files),
    "30,000 backups": ("events/backups", lambda place: many_folders(place)),
    "only ends of lines": ("events/archive/20261123T000001.000Z", bomb(b"\n" * (32 << 20))),
    "only short lines": ("events/archive/20261123T000002.000Z", bomb(b"a\n" * (16 << 20))),
    "brackets": ("events/archive/20261123T000003.000Z", bomb(brackets())),
    "a large manifest": ("events/backups/20261123T000000.000Z-full", manifest(b"[" + b"[]," * 3_000_000)),
    "a sparse manifest": ("events/backups/20261123T000001.000Z-full", manifest(b"")),
    "folders in folders": ("events/backups/20261123T000002.000Z-full", deep),
    "strange names": ("", strange),
    "strange backups": ("events/backups", strange),
}


def many_folders(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for number in range(30_000):
        os.mkdir(place / f"20261123T{number:06d}.000Z-full")


@pytest.mark.parametrize("name", EVIL)
def test_rubbish_of_one_host_is_refused_and_the_others_go_on(vault: Vault, host: Host, name: str) -> None:
    host.call("backup", "events")
    host.call("push", "events")
    evil = vault.base / "evil"
    (evil / ".incoming").mkdir(parents=True)
    place, make = EVIL[name]
    make(evil / ".incoming" / place)
    code, said, memory = measured_seal(vault)
    assert "host/events: the backup" in said
    assert code == (0 if name in ("a sparse manifest", "30,000 backups") else 3), said
    lines = said.splitlines()
    assert len(lines) < 50
    assert all(line.startswith(("host/events: the backup ", "evil/")) and line.isprintable() for line in lines)
    assert memory < 150_000_000
    assert os.listdir(evil) == [".incoming"]
    # Above the limit it goes; what was sealed stays.
    code, said, memory = measured_seal(vault, "--limit", "1")
    assert memory < 150_000_000
    assert sorted(os.listdir(evil / ".incoming")) in ([], ["events"])
    assert not [path for path in (evil / ".incoming").rglob("*") if path.is_file()]
    assert host.call("restore", "events", "--from", "vault", "--target", host.folder / "there.db")["result"]


def test_files_with_holes_take_no_room_on_the_server(vault: Vault, host: Host) -> None:
    """They cost their sender one byte, and may well be what their manifest says."""
    host.call("backup", "events")
    host.call("push", "events")
    upload = next(path.parent for path in vault.incoming.rglob("manifest.json"))
    content = bytes(64 << 20) + b"x"
    values = json.loads((upload / "manifest.json").read_text())
    values["files"][0].update(stored_size=len(content), stored_sha256=hashlib.sha256(content).hexdigest())
    (upload / "manifest.json").write_text(json.dumps({**values, "checksum": checksum(values)}))
    data = upload / values["files"][0]["name"]
    with connected(vault) as sftp:
        assert sftp.write(sftp.open(str(data)[len(str(vault.root)) :], WRITE | TRUNCATE)[1], 64 << 20, b"x") == OK
    assert measured_seal(vault)[0] == 0
    assert not (vault.root / "events").exists()
    data.write_bytes(content)
    assert "is proven and sealed" in measured_seal(vault)[1]
