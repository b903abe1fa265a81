"""Places where a test can go wrong on purpose: a small disk, a read-only one, the rights of another user."""

from __future__ import annotations

import contextlib
import ctypes
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_SET_DUMPABLE = 4
_READ_ONLY, _REMOUNT, _RECURSIVE_PRIVATE = 1, 32, 0x4000 | 0x40000


@dataclass(frozen=True)
class Disk:
    """A file system of its own, seen by one child process only."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def fill(self, leave: int = 0) -> None:
        """Use up all room but ``leave`` bytes (a multiple of 4096)."""
        ballast = self / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        if leave:
            os.truncate(ballast, ballast.stat().st_size - leave)

    def seal(self) -> None:
        """Make it read-only."""
        _libc("mount", b"none", bytes(self.path), None, _REMOUNT | _READ_ONLY, None)


def in_fork(work: Callable[[], object]) -> None:
    """Run work in a fork; what it raises there fails the test here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        words = stream.read().decode()
    if os.waitpid(child, 0)[1]:
        pytest.fail(words or "the child died", pytrace=False)


def on_disk(place: Path, work: Callable[[Disk], object], size: str) -> None:
    """Run work in a fork that has a file system of ``size`` at ``place``. Without root in a user namespace."""
    place.mkdir(exist_ok=True)

    def child() -> None:
        _own_mounts()
        _libc("mount", b"none", bytes(place), b"tmpfs", 0, f"size={size},mode=0755".encode())
        work(Disk(place))

    in_fork(child)


def as_nobody(work: Callable[[], object]) -> None:
    """Run work in a fork whom permissions bind: as the user nobody where the tests run as root, else as this user."""

    def child() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    in_fork(child)


def contained(place: Path, work: Callable[[Disk], object]) -> None:
    """Run work as the root of a user namespace that knows one user only, as in a container without root."""
    place.mkdir(exist_ok=True)

    def child() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            _libc("prctl", _SET_DUMPABLE, 1, 0, 0, 0)
        _own_mounts()
        _libc("mount", b"none", bytes(place), b"tmpfs", 0, b"size=1m,mode=0755")
        work(Disk(place))

    in_fork(child)


def open_to_all(path: Path) -> None:
    """Let other users reach a test's folder, which pytest makes private."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.getuid() and str(folder) not in ("/", "/tmp", "/var/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)


def _libc(name: str, *arguments: Any) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)} (run the tests as root, or allow user namespaces)")


def _own_mounts() -> None:
    """A mount namespace of this process's own: what it mounts is gone with it."""
    uid, gid = os.getuid(), os.getgid()
    _libc("unshare", _NEW_MOUNTS | (_NEW_USERS if uid else 0))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _libc("mount", b"none", b"/", None, _RECURSIVE_PRIVATE, None)
