# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Durable files: what is written here is on disk when the call returns.

SQLite's own rule ("Atomic Commit In SQLite", section 3.9): a rename is safe only when the file was synced
before it and the directory is synced after it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator

from .errors import LitekeepError, SpaceError, UsageError
from .timefmt import size_text

CHUNK = 1 << 20
MARGIN = 16 << 20


def sync_directory(path: str) -> None:
    """fsync of a directory: the names in it are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(path: str) -> None:
    """fsync of a file's content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """fsync of a file's content, and its pages leave the cache: the next read comes from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def write_durably(path: str, text: str, mode: int = 0o600) -> None:
    """Write a small file beside ``path``, sync it, rename it over ``path``, sync the directory."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(beside, path)
    sync_directory(os.path.dirname(path))


def write_json(path: str, values: object) -> None:
    """``write_durably`` of indented JSON."""
    write_durably(path, json.dumps(values, indent=2) + "\n")


def write_blocks(blocks: Iterable[bytes], path: str, sync: bool = True) -> None:
    """Write a new file and sync it, starting the disk early so that the last sync has little left to do."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as writer, concurrent.futures.ThreadPoolExecutor(1) as flusher:
        flushing: concurrent.futures.Future[None] | None = None
        for block in blocks:
            write_all(writer.fileno(), block)
            if sync and (flushing is None or flushing.done()):
                if flushing is not None:
                    flushing.result()
                flushing = flusher.submit(os.fdatasync, writer.fileno())
        if flushing is not None:
            flushing.result()
        if sync:
            os.fsync(writer.fileno())


def write_all(descriptor: int, block: bytes | memoryview) -> None:
    """Write all of the block: a disk that fills up takes a part of it, and refuses the rest."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def append_line(path: str, values: object) -> None:
    """``append_bytes`` of one JSON line."""
    append_bytes(path, json.dumps(values).encode() + b"\n")


def append_bytes(path: str, line: bytes) -> None:
    """Append a line (with its newline) and sync it. A line torn by a crash before is closed first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cut_torn_line(path: str) -> None:
    """Remove what a crash left behind the last whole line of a file of lines."""
    with open(path, "rb+") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)
        os.fsync(stream.fileno())


def private_directory(path: str) -> None:
    """Make the directory and its missing parents, mode 0700, with names that survive a crash."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        private_directory(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        sync_directory(parent)


def remove_tree(path: str) -> None:
    """Remove a file or a folder with all that is in it; nothing there is fine. Links are not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def existing_parent(path: str) -> str:
    """The path itself, or the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int:
    """What an unprivileged user could still write below the path."""
    room = os.statvfs(existing_parent(path))
    return room.f_bavail * room.f_frsize


def require_space(needs: dict[str, int], safe: str) -> None:
    """Check that each directory has room for so many bytes; needs on one file system add up.

    Raises SpaceError before anything is written. Reserved blocks count as used (``f_bavail``).
    """
    devices: dict[int, list[str]] = {}
    for path in needs:
        devices.setdefault(os.stat(existing_parent(path)).st_dev, []).append(path)
    for paths in devices.values():
        needed = sum(needs[path] for path in paths) + MARGIN
        free = free_bytes(paths[0])
        if free < needed:
            raise SpaceError(
                f"Not enough space in {paths[0]}",
                expected=f"{size_text(needed)} free",
                found=f"{size_text(free)} free",
                safe=safe,
                next_step=f"free at least {size_text(needed - free)} there, or choose another directory",
            )


@contextlib.contextmanager
def storage_errors(what: str, path: str, safe: str) -> Iterator[None]:
    """Turn the operating system's refusals while writing below ``path`` into errors that say what to do."""
    try:
        yield
    except OSError as problem:
        raise _explained(problem, what, path, safe) from problem


def _explained(problem: OSError, what: str, path: str, safe: str) -> LitekeepError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SpaceError(
            f"{what}: no space left in {path}",
            found=str(problem.strerror),
            safe=safe,
            next_step=f"free space there (df -h {path}), then run the same command again",
        )
    if problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return UsageError(
            f"{what}: {path} cannot be written",
            expected="a directory that this user may write to",
            found=f"{problem.strerror}: {problem.filename or path}",
            safe=safe,
            next_step=f"check the mount and the owner (findmnt -T {path}; ls -ld {path}), or run as root",
        )
    if problem.errno in (errno.ENOENT, errno.ENOTDIR):
        return UsageError(
            f"{what}: {problem.filename or path} is not there",
            expected="a directory that stays while it is written to",
            found=str(problem.strerror),
            safe=safe,
            next_step=f"look whether it was removed or unmounted (findmnt -T {path}), then run the same command again",
        )
    return LitekeepError(
        f"{what}: the file system refused",
        found=str(problem),
        safe=safe,
        next_step="look at the kernel's messages (dmesg), then run the same command again",
    )
