# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sealing, on the server that backups are pushed to: what has arrived complete is copied to where its sender cannot
reach it, and proven on the way.

Copied, not only given another owner: who has a file open goes on writing into it, whoever owns it by then. A host
writes into ``<host>/.incoming/`` and nowhere else; ``<host>/<database>/`` belongs to root. Nothing in the first is
trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import arrival
from .config import check_name
from .errors import LitekeepError, SpaceError, VerificationError
from .files import CHUNK, private_directory, remove_tree, sync_directory, write_all
from .incoming import INCOMING, KINDS, folder, keep_below, names, opened, sent, spoken
from .manifest import NAME as MANIFEST
from .manifest import Manifest, manifest_from
from .repository import PARTIAL, Repository
from .timefmt import size_text

# Names in .incoming: databases, more than a host has.
_MOST_DATABASES = 1000
_LARGEST_MANIFEST = 4 << 20
_ID = re.compile(r"[0-9TZ.fulinc-]{1,40}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Seconds after which what is still not complete is taken for torn.
_TORN = 600.0
# Reasons that are told of one database; the others are counted.
_TOLD = 20
# Of a file system's inodes, the part that stays free.
_INODES = 100
# What a hostile upload can make of the code that reads it.
_WRONG = (LitekeepError, OSError, ValueError, OverflowError, RecursionError, MemoryError)


@dataclass
class Sealed:
    """What one look did for one database, or for all that a host sent (``.incoming``).

    refused: why what stands there is not taken over. full: there is no room for it.
    """

    database: str
    backups: list[str] = field(default_factory=list)
    segments: int = 0
    refused: list[str] = field(default_factory=list)
    full: SpaceError | None = None
    _untold: int = 0

    def refuse(self, problem: BaseException | str, what: str = "") -> None:
        """One more reason."""
        if isinstance(problem, SpaceError):
            self.full = self.full or problem
        words = f"{what}: {_words(problem)}" if what else _words(problem)
        if len(self.refused) < _TOLD:
            self.refused.append(words)
        else:
            self._untold += 1
            self.refused[-1] = f"and {self._untold + 1:,} more"


def _words(problem: BaseException | str) -> str:
    if isinstance(problem, LitekeepError):
        problem = f"{problem.what}: {problem.found}" if problem.found else problem.what
    return spoken(str(problem) or type(problem).__name__, 300)


@dataclass(frozen=True)
class _Look:
    """One look at one host. reserve: bytes that stay free."""

    repository: Repository
    reserve: int

    @property
    def host(self) -> str:
        return os.path.join(self.repository.root, self.repository.host)

    def need(self, size: int) -> None:
        """Raises SpaceError when so many bytes more would leave less than the reserve."""
        room = os.statvfs(self.host)
        free = room.f_bavail * room.f_frsize
        if free - size < self.reserve or (room.f_files and room.f_favail < room.f_files // _INODES):
            raise SpaceError(
                f"The repository {self.repository.root} has no room beyond its reserve of {size_text(self.reserve)}",
                expected=f"{size_text(self.reserve + size)} free, and one inode in {_INODES}",
                found=f"{size_text(free)} and {room.f_favail:,} inodes free",
                safe="what arrived stays where it is, and is taken over when there is room",
                next_step="remove old backups there, or give it a larger disk",
            )


def seal(repository: Repository, reserve: int, limit: int | None = None) -> list[Sealed]:
    """Take over what is complete of one host.

    reserve: bytes that stay free. limit: bytes that may wait; of more, the oldest uploads are removed, those that are
    not complete first. What is wrong with one backup or timeline keeps no other one waiting. Raises OSError when the
    host has no ``.incoming``.
    """
    look, whole = _Look(repository, reserve), Sealed(INCOMING)
    found: list[Sealed] = []
    with folder(look.host, INCOMING) as incoming:
        try:
            look.need(0)
            for name in names(incoming, _MOST_DATABASES):
                try:
                    done = Sealed(check_name(name, "database name"))
                    with folder(incoming, name) as inbox:
                        found.append(done)
                        _seal_database(look, inbox, done)
                except _WRONG as problem:
                    whole.refuse(problem, spoken(name))
        except _WRONG as problem:
            whole.refuse(problem)
        if limit is not None and (removed := keep_below(incoming, limit)):
            whole.refuse(removed)
    return found + [whole] * bool(whole.refused)


_Work = Callable[[_Look, str, str, int, Sealed], None]


def _seal_database(look: _Look, inbox: int, done: Sealed) -> None:
    works: tuple[_Work, ...] = (_seal_backup, _seal_timeline)
    for kind, work in zip(KINDS, works):
        try:
            with folder(inbox, kind) as parent:
                for name in names(parent):
                    try:
                        if not _ID.fullmatch(name) or name.startswith("."):
                            raise VerificationError("is no name of ours")
                        with folder(parent, name) as upload:
                            work(look, done.database, name, upload, done)
                        # A timeline's may be written to at this very moment.
                        if kind == "backups":
                            with contextlib.suppress(OSError):
                                os.rmdir(name, dir_fd=parent)
                    except _WRONG as problem:
                        done.refuse(problem, f"{kind}/{spoken(name)}")
        except FileNotFoundError:
            continue
        except _WRONG as problem:
            done.refuse(problem, kind)


def _seal_backup(look: _Look, database: str, name: str, inbox: int, done: Sealed) -> None:
    final = os.path.join(look.repository.folder(database), "backups", name)
    if os.path.exists(final):
        _empty(inbox)
        return
    if sent(inbox, MANIFEST) <= 0:
        return
    manifest, text = _manifest(inbox, name, look.repository.host, database)
    if any(sent(inbox, file.name) < file.stored_size for file in manifest.files):
        return
    look.need(manifest.stored_size)
    private_directory(os.path.dirname(final))
    partial = os.path.join(os.path.dirname(final), PARTIAL + name)
    remove_tree(partial)
    os.mkdir(partial, 0o700)
    try:
        for file in manifest.files:
            _copy(inbox, file.name, os.path.join(partial, file.name), file.stored_size, file.stored_sha256)
        _write(os.path.join(partial, MANIFEST), text)
        sync_directory(partial)
        os.rename(partial, final)
        sync_directory(os.path.dirname(final))
    except VerificationError:
        # It will not get any better, and each look would read it again. Its host finds it gone, and sends it again.
        _empty(inbox)
        raise
    finally:
        remove_tree(partial)
    _share(look, final)
    _empty(inbox)
    done.backups.append(name)


def _manifest(inbox: int, name: str, host: str, database: str) -> tuple[Manifest, bytes]:
    with opened(inbox, MANIFEST) as descriptor:
        text = os.pread(descriptor, _LARGEST_MANIFEST + 1, 0)
    if len(text) > _LARGEST_MANIFEST:
        raise VerificationError(f"The manifest is larger than {size_text(_LARGEST_MANIFEST)}")
    manifest = manifest_from(text, f"backups/{name}/{MANIFEST}")
    said = (manifest.id, manifest.values.get("host"), manifest.values.get("database"))
    if said != (name, host, database):
        raise VerificationError(f"The manifest of {name} is of another backup", found=repr(said))
    for file in manifest.files:
        if not _FILE.fullmatch(file.name):
            raise VerificationError("The manifest names a file that cannot be", found=repr(file.name))
    return manifest, text


def _copy(inbox: int, name: str, target: str, size: int, sha256: str) -> None:
    """Copy a file and prove the copy. Raises VerificationError."""
    found, at = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with opened(inbox, name) as source:
            while at <= size and (block := os.pread(source, CHUNK, at)):
                found.update(block)
                write_all(descriptor, block)
                at += len(block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if (at, found.hexdigest()) != (size, sha256):
        raise VerificationError(
            f"{name} did not arrive as it was sent, and was removed",
            expected=f"{size} bytes, sha256 {sha256}",
            found=f"{at} bytes, sha256 {found.hexdigest()}",
        )


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _empty(inbox: int) -> None:
    for name in names(inbox):
        with contextlib.suppress(IsADirectoryError, PermissionError, FileNotFoundError):
            os.unlink(name, dir_fd=inbox)


def _share(look: _Look, final: str) -> None:
    """Let the host read what it has sent: it belongs to root, and to the group of the host's folder."""
    group = os.stat(look.host).st_gid
    above = os.path.dirname(final)
    for path in (os.path.dirname(above), above, final):
        _give(path, os.stat(path), 0o750, group)
    with os.scandir(final) as entries:
        for entry in entries:
            # Hidden ones are still being made.
            if not entry.name.startswith("."):
                _give(entry.path, entry.stat(follow_symlinks=False), 0o440, group)


def _give(path: str, found: os.stat_result, mode: int, group: int) -> None:
    if found.st_gid != group:
        os.chown(path, -1, group)
    if found.st_mode & 0o7777 != mode:
        os.chmod(path, mode)


def _seal_timeline(look: _Look, database: str, name: str, inbox: int, done: Sealed) -> None:
    target = os.path.join(look.repository.archive(database), name)
    arrived = arrival.take_over(inbox, target, look.need)
    for used in arrived.used:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(used, dir_fd=inbox)
    done.segments += arrived.segments
    # It reads the whole timeline, so not at every look.
    if arrived.ended:
        arrival.merge_ended_rounds(target)
    if os.path.isdir(target):
        _share(look, target)
    if arrived.full:
        done.refuse(arrived.full, f"archive/{name}")
    late = time.time() - _TORN
    if arrived.waiting and any(os.stat(file, dir_fd=inbox).st_mtime < late for file in names(inbox)):
        done.refuse(arrived.waiting, f"archive/{name}")
