"""Real places off the host: an SSH server that takes files and lets nobody remove or rename them, and folders. The line
to them may be as bad as a test wants it. And the host that uses them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from archiving import ENVIRONMENT, Archive
from support import make_database

from litekeep.config import Remote

# As the role backup_server sets it up. "sftp-server", -P: requests that are refused.
REFUSED = "remove,rename,posix-rename,rmdir,setstat,fsetstat,lsetstat,symlink,hardlink"
ACCOUNT = "nobody"
ROWS = "SELECT id, kind, payload FROM events ORDER BY id"


def folder_remote(place: Path, name: str = "vault", **more: object) -> Remote:
    """A remote that is a folder of this machine. Folders of rclone count paths from the root."""
    place.mkdir(parents=True, exist_ok=True)
    config = place.parent / f"{name}.conf"
    config.write_text("[here]\ntype = alias\nremote = " + str(place) + "\n")
    return Remote(name=name, rclone=str(config), path="here:", **more)  # type: ignore[arg-type]


class SftpServer:
    """sshd on a port of its own, for the host ``host``. base: the server's repository; root: what the account sees as
    ``/``; incoming: the only folder it may write to."""

    def __init__(self, keys: Path) -> None:
        self.keys = keys
        # Every part of the path to it must belong to root and be writable by nobody else: not so below /tmp.
        self.base = Path(tempfile.mkdtemp(prefix="litekeep-test-", dir="/srv"))
        self.base.chmod(0o755)
        self.root = self.base / "host"
        self.incoming = self.root / ".incoming"
        self.incoming.mkdir(mode=0o700, parents=True)
        account = pwd.getpwnam(ACCOUNT)
        os.chown(self.root, 0, account.pw_gid)
        self.root.chmod(0o750)
        os.chown(self.incoming, account.pw_uid, account.pw_gid)
        for name in ("host", "client"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
            subprocess.run(command, check=True)
        self.authorized = self.base / "keys"
        shutil.copyfile(keys / "client.pub", self.authorized)
        self.authorized.chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.keys / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.keys}/host\nPidFile none\nUsePAM no\n"
            f"PasswordAuthentication no\nMaxStartups 100\n{self.rules()}"
        )
        with open(self.keys / "sshd.log", "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=log)
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < until, (self.keys / "sshd.log").read_text()
            time.sleep(0.05)

    def rules(self) -> str:
        """What sshd lets the account do."""
        return (
            f"AuthorizedKeysFile {self.authorized}\nKbdInteractiveAuthentication no\n"
            f"AllowUsers {ACCOUNT}\nChrootDirectory {self.root}\nForceCommand internal-sftp -P {REFUSED}\n"
            "DisableForwarding yes\nSubsystem sftp internal-sftp\n"
        )

    def stop(self) -> None:
        """Listen no more; end what is connected."""
        if self.process is not None:
            subprocess.run(["pkill", "-P", str(self.process.pid)], check=False)
            self.process.terminate()
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.stop()
        shutil.rmtree(self.base)

    def remote(self, name: str = "vault", port: int = 0, **more: object) -> Remote:
        """This server as a host uses it. port: where it is reached instead."""
        port = port or self.port
        known = self.keys / f"known_hosts-{port}"
        known.write_text(f"[127.0.0.1]:{port} " + (self.keys / "host.pub").read_text())
        config = self.keys / f"{name}.conf"
        config.write_text(
            f"[vault]\ntype = sftp\nhost = 127.0.0.1\nport = {port}\nuser = {ACCOUNT}\n"
            f"key_file = {self.keys}/client\nknown_hosts_file = {known}\nset_modtime = false\nshell_type = none\n"
            "md5sum_command = none\nsha1sum_command = none\n"
        )
        config.chmod(0o600)
        settings: dict[str, object] = {"incoming": ".incoming", "timeout": 5, **more}
        return Remote(name=name, rclone=str(config), path="vault:", **settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def sftp_server(keys: Path) -> Iterator[SftpServer]:
    """A server that runs. Needs root: sshd and its chroot do."""
    if os.geteuid():
        pytest.skip("expected: only root can start an SSH server with a chroot")
    server = SftpServer(keys)
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Line:
    """What a server is reached through: a port that passes on what comes.

    rate: bytes a second in each direction, 0 for no limit. dead: takes connections and passes nothing. cuts: after how
    many bytes from the client each next connection breaks. heard: what clients said, by connection, while it listens.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.rate = 0
        self.dead = False
        self.cuts: Iterator[int] | None = None
        self.listens = False
        self.heard: list[bytearray] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        """Listen, at the same port as before."""
        self._over = False
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small: what a buffer has taken looks to the sender as if it had arrived.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(100)
        self.port = self._listener.getsockname()[1]
        self._open = [self._listener]
        self._start(self._accept)

    def close(self) -> None:
        """Break everything that is connected, and listen no more."""
        self._over = True
        while self._threads:
            for each in list(self._open):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._threads.pop().join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over:
                client, _address = self._listener.accept()
                self._open.append(client)
                cut = next(self.cuts) if self.cuts is not None else sys.maxsize
                self._start(self._connect, client, cut)

    def _connect(self, client: socket.socket, cut: int) -> None:
        with client, contextlib.suppress(OSError):
            self._wait()
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                self._open.append(server)
                arguments = (server, client, sys.maxsize, bytearray())
                back = threading.Thread(target=self._pass, args=arguments, daemon=True)
                back.start()
                self.heard.append(bytearray())
                self._pass(client, server, cut, self.heard[-1])
                back.join()

    def _wait(self) -> None:
        while self.dead and not self._over:
            time.sleep(0.05)

    def _pass(self, source: socket.socket, target: socket.socket, left: int, heard: bytearray) -> None:
        with contextlib.suppress(OSError):
            while left and (block := source.recv(min(4096 if self.rate else 1 << 16, left))):
                left -= len(block)
                if self.listens:
                    heard += block
                self._wait()
                if self.rate:
                    time.sleep(len(block) / self.rate)
                target.sendall(block)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line that is cut in the end."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


class Host:
    """A host with a database, an archive and remotes; ``litekeep`` as an operator calls it."""

    def __init__(self, folder: Path, *remotes: Remote) -> None:
        self.folder = folder
        self.archive = Archive(folder, make_database(folder / "data" / "events.db"))
        self.use(*remotes)
        self.application = sqlite3.connect(self.archive.path, isolation_level=None, timeout=30)
        self.pusher: subprocess.Popen[bytes] | None = None
        self.log = folder / "pusher.log"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    def use(self, *remotes: Remote) -> None:
        """These and no others."""
        values = json.loads(self.archive.config.read_text())
        values["remotes"] = {remote.name: asdict(remote) for remote in remotes}
        for remote in values["remotes"].values():
            del remote["name"]
        self.archive.config.write_text(json.dumps(values))

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A command, whatever becomes of it."""
        command = [sys.executable, "-m", "litekeep", "--config", str(self.archive.config), *map(str, words)]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)

    def call(self, *words: object, code: int = 0) -> Any:
        """A command that ends with that code; what it answers about the database."""
        answer = self.answer(*words)
        assert answer["exit_code"] == code, answer
        return answer["databases"][0] if answer["databases"] else answer

    def answer(self, *words: object) -> dict[str, Any]:
        """All that a command answers."""
        done = self.run(*words, "--json")
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == answer["exit_code"], done.stderr
        return answer

    def _environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "TMPDIR": str(self.temporary)}

    def insert(self, kind: str, count: int = 1, payload: str = "p") -> None:
        """So many commits."""
        for _number in range(count):
            self.application.execute("INSERT INTO events(kind, payload) VALUES(?, ?)", (kind, payload))

    def rows(self) -> list[tuple[object, ...]]:
        """Of the live database."""
        return self.application.execute(ROWS).fetchall()

    def lose_all(self) -> None:
        """Database and repository are gone; the configuration is not."""
        self.application.close()
        shutil.rmtree(self.folder / "data")
        shutil.rmtree(self.folder / "repository")
        (self.folder / "data").mkdir()

    def follow(self) -> None:
        """Start the service."""
        with open(self.log, "ab") as log:
            command = [sys.executable, "-m", "litekeep", "--config", str(self.archive.config), "push", "events"]
            self.pusher = subprocess.Popen([*command, "--follow"], env=self._environment(), stdout=log, stderr=log)

    def pushing(self) -> list[Path]:
        """The service and all that it has started, below /proc."""
        assert self.pusher is not None
        found = [Path("/proc", str(self.pusher.pid))]
        for process in found:
            with contextlib.suppress(OSError):
                for task in (process / "task").iterdir():
                    found += [Path("/proc", pid) for pid in (task / "children").read_text().split()]
        return found

    def end(self) -> int:
        """Stop the service as systemd does; how it ended."""
        assert self.pusher is not None
        self.pusher.send_signal(signal.SIGTERM)
        code = self.pusher.wait(60)
        self.pusher = None
        return code

    def close(self) -> None:
        """Leave nothing running."""
        if self.pusher is not None:
            self.pusher.kill()
            self.pusher.wait()
        if self.archive.process is not None:
            self.archive.kill()
        self.application.close()


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """Of a database at rest."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(ROWS).fetchall()


def wait_for(probe: Callable[[], object], seconds: float = 60) -> None:
    """Until something holds."""
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.1)
