# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finding SQLite databases on a host by what stands at their beginning. No file is opened that cannot be one."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from .source import MAGIC

# What the system can make anew, and what is a copy of something that is looked at elsewhere.
EXEMPT = (
    "/boot",
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/usr",
    "/tmp",
    "/var/tmp",
    "/var/cache",
    "/nix/store",
    "/snap",
    "/var/lib/apt",
    "/var/lib/command-not-found",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/PackageKit",
    "/var/lib/rpm",
    "/var/lib/snapd",
    "*/.cache",
    "*/.litekeep-*",
    "*/node_modules",
    "*/site-packages",
)
# Not this host's, or no disk at all.
_FOREIGN = frozenset(
    [
        "9p",
        "afs",
        "autofs",
        "bpf",
        "ceph",
        "cgroup",
        "cgroup2",
        "cifs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "fuse",
        "nfs",
        "nfs4",
        "proc",
        "smb3",
        "squashfs",
        "sysfs",
        "tracefs",
    ]
)
_SMALLEST = 512


@dataclass(frozen=True)
class Found:
    """A SQLite database. size in bytes; changed: seconds since 1970 of its last change."""

    path: str
    size: int
    changed: float
    device: int
    inode: int


@dataclass(frozen=True)
class Discovery:
    """All that was found. complete: false when time ran out. unreadable: folders that could not be looked into."""

    found: tuple[Found, ...]
    complete: bool
    unreadable: tuple[str, ...]


def discover(roots: Sequence[str], exempt: Collection[str] = (), seconds: float = 60.0) -> Discovery:
    """Look through ``roots`` for databases, other mounted disks included, but no network's.

    exempt: paths, with shell patterns, that are passed over with all below them; beside EXEMPT.
    """
    search = _Search((*EXEMPT, *exempt), time.monotonic() + seconds)
    found = {(each.device, each.inode): each for root in roots for each in search.below(os.path.realpath(root))}
    return Discovery(
        tuple(sorted(found.values(), key=lambda each: each.path)), not search.late, tuple(search.unreadable)
    )


class _Search:
    def __init__(self, exempt: Sequence[str], give_up_at: float) -> None:
        self._plain = frozenset(pattern for pattern in exempt if not _is_pattern(pattern))
        self._patterns = [pattern for pattern in exempt if _is_pattern(pattern)]
        self._give_up_at = give_up_at
        self._foreign = _foreign_mounts()
        self.late = False
        self.unreadable: list[str] = []

    def below(self, root: str) -> Iterator[Found]:
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            self.late = self.late or time.monotonic() > self._give_up_at
            if self.late:
                return
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_symlink() or self._passed_over(entry.path):
                            continue
                        if entry.is_dir():
                            waiting.append(entry.path)
                        elif entry.is_file():
                            yield from _database(entry)
            except NotADirectoryError:
                return
            except FileNotFoundError:
                continue
            except OSError:
                self.unreadable.append(folder)

    def _passed_over(self, path: str) -> bool:
        return (
            path in self._plain
            or path in self._foreign
            or any(fnmatch.fnmatchcase(path, pattern) for pattern in self._patterns)
        )


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _database(entry: os.DirEntry[str]) -> Iterator[Found]:
    try:
        # SQLite's files have whole pages; few others do, so few are opened.
        looked = entry.stat(follow_symlinks=False)
        if looked.st_size < _SMALLEST or looked.st_size % _SMALLEST or not stat.S_ISREG(looked.st_mode):
            return
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.read(descriptor, len(MAGIC)) == MAGIC:
            yield Found(entry.path, looked.st_size, looked.st_mtime, looked.st_dev, looked.st_ino)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _foreign_mounts() -> frozenset[str]:
    """Where other file systems begin that are not looked into (proc(5), mountinfo)."""
    found = set()
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                before, _dash, after = line.partition(" - ")
                kind = after.split(" ", 1)[0]
                if kind in _FOREIGN or kind.startswith("fuse."):
                    found.add(before.split(" ")[4].encode().decode("unicode_escape"))
    except OSError:
        return frozenset()
    return frozenset(found)
