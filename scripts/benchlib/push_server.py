# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A backup server on this machine: a real sshd, with a folder and a port of its own for each host.

Real servers have an account for each host; here one account is in another chroot at each port, so that none has to be
made. What a connection costs is the same.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .archive_watch import cpu_seconds
from .measure import family
from .place import BenchError, Place, environment

SSHD, ACCOUNT = Path("/usr/sbin/sshd"), "nobody"
# As docs/off_host.md has it.
REFUSED = "remove,rename,posix-rename,rmdir,setstat,fsetstat,lsetstat,symlink,hardlink"
REMOTE = "vault"
LIMIT = 20.0  # seconds that sshd gets to listen, or to end


def require_root(parent: Path) -> None:
    """BenchError unless an SSH server with a chroot below ``parent`` can be started here."""
    if os.geteuid():
        raise BenchError("only root can start an SSH server with a chroot: run this as root (sudo scripts/bench push)")
    missing = [
        package
        for package, there in (
            ("openssh-server", SSHD.exists()),
            ("openssh-client", shutil.which("ssh-keygen")),
            ("rclone", shutil.which("rclone")),
        )
        if not there
    ]
    if missing:
        raise BenchError(f"missing here: {' '.join(missing)}. Install: sudo apt-get install {' '.join(missing)}")
    for folder in (parent.absolute(), *parent.absolute().parents):
        if not folder.is_dir() or folder.is_symlink():
            raise BenchError(f"{folder} is no directory: name one for --server")
        found = folder.stat()
        if found.st_uid or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BenchError(
                f"{folder} belongs to somebody else than root, or others may write to it, and sshd accepts no chroot "
                "below such a place: name another for --server"
            )


class Server:
    """A running sshd. repository: where hosts ``host1`` and so on have their folders. pam: sshd's setting UsePAM."""

    def __init__(self, place: Place, base: Path, count: int, pam: bool) -> None:
        self.repository = base / "repository"
        self._place, self._keys = place, base / "keys"
        self._keys.mkdir(mode=0o755)
        self.repository.mkdir(mode=0o755)
        account = pwd.getpwnam(ACCOUNT)
        for number in range(1, count + 1):
            incoming = self.folder(number) / ".incoming"
            incoming.mkdir(mode=0o700, parents=True)
            os.chown(self.folder(number), 0, account.pw_gid)
            self.folder(number).chmod(0o750)
            os.chown(incoming, account.pw_uid, account.pw_gid)
        for name in ("server", "client"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._keys / name)]
            subprocess.run(words, check=True)
        self._ports = free_ports(count)
        config = self._keys / "sshd_config"
        config.write_text(self._config(pam), encoding="utf-8")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with open(place.log("sshd"), "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchlib.push_keeper", str(SSHD), "-D", "-e", "-f", str(config)],
                env=environment(place.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def folder(self, number: int) -> Path:
        """Of a host, in the repository."""
        return self.repository / f"host{number}"

    def _config(self, pam: bool) -> str:
        lines = [f"Port {port}" for port in self._ports]
        lines += [
            "ListenAddress 127.0.0.1",
            f"HostKey {self._keys}/server",
            "PidFile none",
            f"UsePAM {'yes' if pam else 'no'}",
            f"AuthorizedKeysFile {self._keys}/client.pub",
            "AuthenticationMethods publickey",
            f"AllowUsers {ACCOUNT}",
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
        ]
        for number, port in enumerate(self._ports, 1):
            lines += [
                f"Match LocalPort {port}",
                f"  ChrootDirectory {self.folder(number)}",
                f"  ForceCommand internal-sftp -P {REFUSED}",
                "  DisableForwarding yes",
            ]
        return "\n".join(lines) + "\n"

    def wait(self) -> None:
        """Until it listens at every port. BenchError when it does not."""
        until = time.monotonic() + LIMIT
        for port in self._ports:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > until or self._process.poll() is not None:
                    raise BenchError(f"sshd does not listen:\n{self._place.log('sshd').read_text()[-2000:]}")
                time.sleep(0.05)

    def rclone_config(self, number: int, folder: Path) -> Path:
        """How a host reaches it, in ``folder``."""
        port = self._ports[number - 1]
        known, config = folder / "known_hosts", folder / "rclone.conf"
        known.write_text(f"[127.0.0.1]:{port} {(self._keys / 'server.pub').read_text()}", encoding="utf-8")
        config.write_text(
            f"[{REMOTE}]\ntype = sftp\nhost = 127.0.0.1\nport = {port}\nuser = {ACCOUNT}\n"
            f"key_file = {self._keys}/client\nknown_hosts_file = {known}\nset_modtime = false\nshell_type = none\n"
            "md5sum_command = none\nsha1sum_command = none\n",
            encoding="utf-8",
        )
        config.chmod(0o600)
        return config

    def cpu(self) -> float:
        """User and system seconds of sshd and all its sessions so far, ended ones included."""
        return processor_time(self._process.pid)

    def end(self) -> None:
        """End it with all its sessions."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def server(place: Place, parent: Path, count: int, pam: bool) -> Iterator[Server]:
    """A server for so many hosts, in a directory of its own below ``parent``, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="litekeep-bench-", dir=parent) as name:
        base = Path(name)
        base.chmod(0o755)
        running = Server(place, base, count, pam)
        try:
            running.wait()
            yield running
        finally:
            running.end()


def free_ports(count: int) -> Sequence[int]:
    """Ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _number in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def processor_time(pid: int) -> float:
    """User and system seconds of a process, its descendants, and those of them that were waited for."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += cpu_seconds(Path(f"/proc/{one}/stat").read_text(errors="replace"))
    return total
