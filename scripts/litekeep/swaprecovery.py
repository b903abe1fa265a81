# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""After a kill: bring a target whose swap was interrupted back to one whole state."""

from __future__ import annotations

import contextlib
import os

from .files import remove_tree, sync_directory
from .fileset import FileSet
from .workspace import LINKING, MOVING, Journal, Workspace


def recover(workspace: Workspace) -> str:
    """Finish or undo what a killed restore left; says in words what was found and done, empty for nothing.

    The caller holds the workspace's lock. Afterwards the target is one whole database, old or new.
    """
    journal = workspace.read()
    if journal.phase not in (LINKING, MOVING):
        return ""
    what = f"an interrupted {'rollback to' if journal.rollback_of else 'restore of'} {journal.backup}"
    if is_swapped(workspace, journal):
        return f"{what} was complete" + (f"; the old files are in {journal.quarantine}" if journal.old else "")
    if journal.phase == MOVING:
        strays = put_back(workspace.target, journal)
        return f"{what} was undone, the old files stand in their place again" + (
            f"; a file that had appeared meanwhile is kept in {strays}" if strays else ""
        )
    if _only_second_names(workspace.target, journal.quarantine):
        remove_tree(journal.quarantine)
        return f"{what} had not replaced anything yet"
    return (
        f"{what} had not replaced the database yet; its WAL is now part of it, "
        f"and the raw files of before are kept in {journal.quarantine}"
    )


def is_swapped(workspace: Workspace, journal: Journal) -> bool:
    """Whether the last rename of an interrupted swap was done: the new file has left the workspace."""
    return journal.phase in (LINKING, MOVING) and not os.path.exists(workspace.new)


def put_back(target: str, journal: Journal) -> str:
    """Undo a move. The database comes last, so that it never stands beside a stranger's sidecar.

    A file that is not one of the old ones (an application started and found nothing) is kept aside; returns
    the folder where, or nothing.
    """
    kept = FileSet(inside(journal.quarantine, target))
    strays = ""
    for suffix in FileSet(target).present():
        if os.lstat(target + suffix).st_ino != journal.old.get(suffix):
            strays = journal.quarantine + ".stray"
            with contextlib.suppress(FileExistsError):
                os.mkdir(strays, 0o700)
            os.rename(target + suffix, inside(strays, target + suffix))
    for suffix in reversed(kept.present()):
        os.rename(kept.path + suffix, target + suffix)
        sync_directory(os.path.dirname(target))
    with contextlib.suppress(OSError):
        os.rmdir(journal.quarantine)
    return strays


def inside(folder: str, path: str) -> str:
    """The same file name in another folder."""
    return os.path.join(folder, os.path.basename(path))


def _only_second_names(target: str, quarantine: str) -> bool:
    """Whether every file in quarantine is still the very file that stands at the target."""
    try:
        return all(
            os.path.samefile(os.path.join(quarantine, name), inside(os.path.dirname(target), name))
            for name in os.listdir(quarantine)
        )
    except OSError:
        return not os.path.isdir(quarantine)
