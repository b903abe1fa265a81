# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Folders that a process holds while it works in them: what a killed one left behind can be told, and goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator

from .files import remove_tree


@contextlib.contextmanager
def held_folder(parent: str, prefix: str) -> Iterator[str]:
    """A private folder in ``parent``, gone afterwards unless it was renamed. Those that nobody holds any more go first.

    prefix: of its name; whatever else begins with it is taken for such a folder.
    """
    for entry in os.listdir(parent):
        if entry.startswith(prefix):
            _remove_if_left(os.path.join(parent, entry))
    folder, descriptor = _new(parent, prefix)
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(descriptor)


def _new(parent: str, prefix: str) -> tuple[str, int]:
    """A folder, and the descriptor that holds it. Another process may take it for left behind until it is held."""
    while True:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        with contextlib.suppress(FileNotFoundError):
            descriptor = _hold(folder, fcntl.LOCK_EX)
            if os.path.isdir(folder):
                return folder, descriptor
            os.close(descriptor)


def _hold(folder: str, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_left(folder: str) -> None:
    """Unless a process still holds it."""
    with contextlib.suppress(OSError):
        descriptor = _hold(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            remove_tree(folder)
        finally:
            os.close(descriptor)
