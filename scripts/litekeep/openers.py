# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who has a database open. A file that is replaced under a running process goes on living in that process, and
what the process writes is lost without an error ("How To Corrupt An SQLite Database File", section 1.3)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InUseError

SUFFIXES = ("", "-wal", "-shm", "-journal")
_DELETED = " (deleted)"
# WAL connections hold a shared lock on byte 128 of -shm for as long as they are open ("WAL-mode File Format",
# section 2.3: read, write and checkpoint locks are the bytes 120 to 127).
_SHM_LOCKS = (120, 9)


@dataclass(frozen=True)
class Opener:
    """A process that has one of a database's files open."""

    pid: int
    command: str
    file: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid}, {self.file})"


@dataclass(frozen=True)
class Look:
    """What was seen. hidden: processes of other users, into which this user may not look."""

    openers: tuple[Opener, ...]
    hidden: int


def find_openers(path: str) -> Look:
    """All processes that hold the database at ``path`` or one of its sidecars, deleted inodes included."""
    look = holders([path + suffix for suffix in SUFFIXES])
    if not look.openers and _shm_locked(path):
        return Look((Opener(0, "a process that cannot be seen from here", f"{path}-shm"),), look.hidden)
    return look


def holders(names: Sequence[str]) -> Look:
    """All processes that hold one of these files, whatever its name was when they opened it."""
    inodes: dict[tuple[int, int], str] = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name)
            inodes[found.st_dev, found.st_ino] = name
    openers: list[Opener] = []
    hidden = 0
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            file = _held(pid, inodes, names)
        except PermissionError:
            hidden += 1
            continue
        except (FileNotFoundError, ProcessLookupError):
            continue
        if file:
            openers.append(Opener(pid, _command(pid), file))
    return Look(tuple(openers), hidden)


def refuse_openers(path: str, services: Sequence[str] = ()) -> Look:
    """Raise InUseError when any process has the database open; ``services`` are named in the next step."""
    look = find_openers(path)
    if look.openers:
        raise in_use(path, look, services)
    return look


def in_use(path: str, look: Look, services: Sequence[str]) -> InUseError:
    """The error that names who has the database open, and how to stop them."""
    units = " ".join(services)
    return InUseError(
        f"{path} is in use",
        expected="no process that has the database, -wal, -shm or -journal open",
        found="; ".join(str(opener) for opener in look.openers[:5]),
        safe="the database is as it was",
        next_step=f"systemctl stop {units}" if units else f"stop these processes (fuser -v {path}), then run again",
    )


def _held(pid: int, inodes: dict[tuple[int, int], str], names: Sequence[str]) -> str:
    folder = f"/proc/{pid}/fd"
    for entry in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            link = f"{folder}/{entry}"
            found = os.stat(link)
            if (found.st_dev, found.st_ino) in inodes:
                return inodes[found.st_dev, found.st_ino]
            name = os.readlink(link)
            if name.endswith(_DELETED) and name[: -len(_DELETED)] in names:
                return name
    return ""


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "a process that just ended"


def _shm_locked(path: str) -> bool:
    """Whether anybody's lock stands on -shm: seen without any privilege, and across containers.

    This process holds no lock on the file; closing the descriptor would drop it.
    """
    try:
        descriptor = os.open(f"{path}-shm", os.O_RDWR)
    except OSError:
        return False
    try:
        start, length = _SHM_LOCKS
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
