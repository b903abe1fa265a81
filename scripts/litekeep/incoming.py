# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host has written on the server that backups are pushed to. Nothing in it is trusted.

It is read through open directories, links are not followed, and whatever it holds takes a fixed amount of memory and
few open files.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from .config import check_name
from .errors import UsageError, VerificationError
from .manifest import NAME as MANIFEST
from .timefmt import size_text

INCOMING = ".incoming"
KINDS = ("backups", "archive")

# Names in one folder, more than a host sends in a week in which nobody takes anything over.
_MOST = 200_000
# Levels below an upload that are looked at. What hosts send lies in its first.
_DEEPEST = 8
# Bytes that a file or a folder counts at least, however empty: inodes run out, too.
_SMALLEST = 16 << 10
# Uploads that are sorted by age at a time, and those that are named.
_AT_ONCE, _NAMED = 1000, 5
_TOO_DEEP = -1
# Tries to remove a folder that somebody still writes into. Levels of folders in it: a path has no more.
_PASSES, _LEVELS = 10, 4096


def spoken(text: str, longest: int = 80) -> str:
    """Words of a host's own as a journal can hold them: one line, printable, not endless."""
    plain = ascii(text)[1:-1]
    return plain if len(plain) <= longest else f"{plain[:longest]}..."


class _TooDeepError(Exception):
    """Folders in folders, more than anybody has a use for."""


@contextlib.contextmanager
def folder(parent: str | int, name: str) -> Iterator[int]:
    """An open directory, which is no link. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if isinstance(parent, int):
        descriptor = os.open(name, flags, dir_fd=parent)
    else:
        descriptor = os.open(os.path.join(parent, name), flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(directory: int, name: str) -> Iterator[int]:
    """A regular file of the directory, for reading. Raises VerificationError, OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise VerificationError(f"{spoken(name)} is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: int, most: int = _MOST) -> list[str]:
    """What lies in the directory, sorted. Raises VerificationError when that is more than ``most``, OSError."""
    with os.scandir(directory) as entries:
        found = [entry.name for entry in itertools.islice(entries, most + 1)]
    if len(found) > most:
        raise VerificationError("A folder is too full to be looked at", expected=f"at most {most:,} names")
    return sorted(found)


def sent(directory: int, name: str) -> int:
    """How many bytes of a regular file were sent, up to the first hole; -1 for anything else, and for nothing.

    A file with holes costs its sender nothing and claims any size; one that was sent from its beginning has none.
    """
    try:
        with opened(directory, name) as descriptor:
            size = os.fstat(descriptor).st_size
            return min(size, os.lseek(descriptor, 0, os.SEEK_HOLE)) if size else 0
    except (VerificationError, OSError):
        return -1


@dataclass(frozen=True, order=True)
class _Upload:
    """What is removed together. rank: 0 for what is no upload of ours, 1 for one that is not complete, 2 for others.
    _TOO_DEEP for what is so deep that it is not weighed: that goes at once.

    changed: when last something was written, in seconds; nobody sets that but the kernel. size: in bytes on disk.
    """

    rank: int
    changed: float
    path: tuple[str, ...]
    size: int


def keep_below(incoming: int, limit: int) -> str:
    """Remove the oldest uploads until what is left takes ``limit`` bytes: those that are not complete first.

    Returns what was done, in words; empty where nothing had to be.
    """
    held = 0
    removed: list[str] = []
    while True:
        total, oldest = _measured(incoming)
        held = max(held, total)
        before = len(removed)
        for upload in oldest:
            if total <= limit and upload.rank != _TOO_DEEP:
                break
            with contextlib.suppress(OSError):
                _discard_upload(incoming, upload.path)
                total -= upload.size
                removed.append(spoken("/".join(upload.path)))
        if len(removed) == before:
            break
    if not removed and total <= limit:
        return ""
    why = f"{size_text(held)} wait, more than {size_text(limit)}" if held > limit else "folders in folders"
    named = ", ".join(removed[:_NAMED]) + (f" and {len(removed) - _NAMED:,} more" if len(removed) > _NAMED else "")
    return f"{why}: removed {named or 'nothing'}" + (f"; {size_text(total)} are left" if total > limit else "")


def _measured(incoming: int) -> tuple[int, list[_Upload]]:
    """How many bytes there are, and the uploads to remove first."""
    total = 0

    def counted() -> Iterator[_Upload]:
        nonlocal total
        for upload in _uploads(incoming):
            total += upload.size
            yield upload

    oldest = heapq.nsmallest(_AT_ONCE, counted())
    return total, oldest


def _uploads(incoming: int) -> Iterator[_Upload]:
    """All there is: ``<database>/<kind>/<name>``, and what fits no such place."""
    for database, kinds in _entries(incoming):
        if kinds is None or not _is_name(database):
            yield _weighed(incoming, (database,))
            continue
        empty = True
        for kind, uploads in _entries(kinds):
            empty = False
            if uploads is None or kind not in KINDS:
                yield _weighed(kinds, (database, kind))
                continue
            for name, inside in _entries(uploads):
                yield _weighed(uploads, (database, kind, name), inside)
        if empty:
            yield _Upload(0, os.fstat(kinds).st_ctime, (database,), _SMALLEST)


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name, "database name"))
    except UsageError:
        return False


def _entries(directory: int) -> Iterator[tuple[str, int | None]]:
    """Names, and open directories where they are directories."""
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    with folder(directory, entry.name) as inside:
                        yield entry.name, inside
                else:
                    yield entry.name, None


def _weighed(parent: int, path: tuple[str, ...], inside: int | None = None) -> _Upload:
    try:
        size, changed = _weight(parent, path[-1], 0)
    except FileNotFoundError:
        return _Upload(2, 0.0, path, 0)
    except _TooDeepError:
        return _Upload(_TOO_DEEP, 0.0, path, 0)
    if inside is None:
        return _Upload(0, changed, path, size)
    complete = path[1] == "archive" or sent(inside, MANIFEST) > 0
    return _Upload(2 if complete else 1, changed, path, size)


def _weight(parent: int, name: str, depth: int) -> tuple[int, float]:
    """Bytes on disk of a file, or of a folder with all that is in it, and when it changed last."""
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    # Where a file system does not tell blocks, the size has to do.
    size, changed = max(_SMALLEST, found.st_blocks * 512 or found.st_size), found.st_ctime
    if stat.S_ISDIR(found.st_mode):
        if depth == _DEEPEST:
            raise _TooDeepError
        with folder(parent, name) as inside, os.scandir(inside) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    more, later = _weight(inside, entry.name, depth + 1)
                    size, changed = size + more, max(changed, later)
    return size, changed


def _discard_upload(incoming: int, path: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        parent = incoming
        for name in path[:-1]:
            parent = stack.enter_context(folder(parent, name))
        discard(parent, path[-1])


def discard(parent: int, name: str) -> None:
    """Remove a file, or a folder however deep: folders in it are brought up one by one. Raises OSError."""
    if not _is_folder(parent, name):
        _unlink(parent, name)
        return
    with folder(parent, name) as top:
        for number in range(_PASSES):
            _clear(top)
            try:
                os.rmdir(name, dir_fd=parent)
                return
            except OSError:
                # Somebody may still be writing into it.
                if number == _PASSES - 1:
                    raise


def _is_folder(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _clear(top: int) -> None:
    """Remove all that is in a folder."""
    for _level in range(_LEVELS):
        left = False
        with os.scandir(top) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        left = _bring_up(entry.name, top) or left
                    else:
                        _unlink(top, entry.name)
        if not left:
            break


def _bring_up(name: str, top: int) -> bool:
    """Remove a folder of ``top``; those in it become folders of ``top``. Whether there were some."""
    found = False
    with folder(top, name) as inside, os.scandir(inside) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.rename(entry.name, f"removed-{secrets.token_hex(8)}", src_dir_fd=inside, dst_dir_fd=top)
                found = True
            else:
                _unlink(inside, entry.name)
    os.rmdir(name, dir_fd=top)
    return found


def _unlink(parent: int, name: str) -> None:
    """Remove a file. It is emptied first: a session that still has it open keeps no room by that."""
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.fstat(descriptor).st_nlink == 1:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
    os.unlink(name, dir_fd=parent)
