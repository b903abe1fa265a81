# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where exported files go: their names, and the folder that has its name when all of them are there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator

from .errors import UsageError
from .exportfile import taken
from .files import remove_tree, storage_errors, sync_directory
from .held import held_folder

SAFE = "the database is untouched; no unfinished file was left behind"
_PREFIX = ".litekeep-export-"
# Of the 255 bytes that a name may have; what else stands in it takes less than the rest.
_LONGEST_NAME = 200
_CUT = 180


def file_name(table: str) -> str:
    """A table's name as the name of a file: whatever a file system or a shell could stumble over is in hexadecimal."""
    name = "".join(c if c.isalnum() or c in "_-" else "".join(f"%{b:02x}" for b in c.encode()) for c in table)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{name.encode()[:_CUT].decode(errors='ignore')}-{hashlib.sha256(table.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def filled(folder: str) -> Iterator[str]:
    """Where to write what shall stand in ``folder``, which has its name when all of it is there.

    One that is there and empty is filled in place, as it may be a mount or have other rights. Raises UsageError.
    """
    parent = _require_parent(folder)
    if os.path.lexists(folder):
        with storage_errors("Export", folder, SAFE):
            if os.path.islink(folder) or not os.path.isdir(folder) or os.listdir(folder):
                raise taken(folder)
        with _emptied_unless_done(folder):
            yield folder
            sync_directory(folder)
        return
    with contextlib.ExitStack() as stack:
        with storage_errors("Export", parent, SAFE):
            place = stack.enter_context(held_folder(parent, _PREFIX))
        yield place
        with storage_errors("Export", parent, SAFE):
            sync_directory(place)
            _rename(place, folder)
            sync_directory(parent)


def require_free(path: str) -> None:
    """Refuse a path that is taken, or in a directory that is not there. Raises UsageError."""
    if os.path.lexists(path):
        raise taken(path)
    _require_parent(path)


@contextlib.contextmanager
def _emptied_unless_done(folder: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for name in os.listdir(folder):
            remove_tree(os.path.join(folder, name))
        raise


def _rename(place: str, folder: str) -> None:
    try:
        os.rename(place, folder)
    except OSError as problem:
        if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise taken(folder) from problem


def _require_parent(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(
            f"{folder} is not there",
            expected="a directory for the exported files",
            found="no directory of that name",
            safe="nothing was changed",
            next_step=f"make it (mkdir -p {folder}), or choose another --output",
        )
    return folder
