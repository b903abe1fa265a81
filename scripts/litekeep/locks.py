# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Locks between Litekeep's own processes: ``flock`` on local files, which die with their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from .errors import BusyError
from .progress import Progress

_RETRY_SECONDS = 0.02


@contextlib.contextmanager
def exclusive(path: str, doing: str, patience: float = 0.0, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock file alone; BusyError, naming the holder, when another process has it.

    doing: what the holder is at, for the message that another process will show. patience: seconds to try;
    meanwhile ``progress`` says whom it waits for.
    """
    with _opened(path) as descriptor:
        _wait(descriptor, fcntl.LOCK_EX, path, patience, progress)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{doing}, process {os.getpid()}\n".encode(), 0)
        yield


def is_held(path: str) -> bool:
    """Whether a process holds the lock file alone. Takes it for an instant, together with others who look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def shared(path: str, patience: float = 0.0, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock file together with other readers: a lease that retention respects. Waits as ``exclusive`` does."""
    with _opened(path) as descriptor:
        _wait(descriptor, fcntl.LOCK_SH, path, patience, progress)
        yield


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, how: int, path: str, patience: float, progress: Progress | None) -> None:
    give_up_at = time.monotonic() + patience
    while True:
        try:
            _lock(descriptor, how, path)
            return
        except BusyError as problem:
            if time.monotonic() >= give_up_at:
                raise
            if progress is not None:
                progress.waiting(problem.found)
            time.sleep(_RETRY_SECONDS)


def _lock(descriptor: int, how: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
        raise BusyError(
            f"Another Litekeep process holds {path}",
            expected="nobody at work on this database",
            found=holder,
            safe="nothing was changed; the other process goes on",
            next_step="wait for it to end, then run the same command again",
        ) from problem
