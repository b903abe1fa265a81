# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The swap: a proven file takes a database's place, and the old files go into quarantine as one unit.

Two ways lead there. Where the old database is sound, one rename is the whole swap: the old file is first made
whole by itself (a copy takes in its WAL or rolls back its journal; the originals stand in quarantine as second
names), its sidecars go, and until the rename the target is the old database, after it the new one. Where the
old one is too damaged for that, the four files are moved one by one under a journal, and what a kill
interrupts is put back by the next run. In between, the target is missing rather than wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from . import sqlitefail
from .errors import InUseError
from .files import remove_tree, sync_directory
from .fileset import FileSet
from .openers import holders, in_use, refuse_openers
from .progress import Progress
from .swaprecovery import inside, put_back
from .timefmt import now, to_id
from .workspace import LINKING, MOVING, Journal, Workspace

BEFORE = ".before-restore-"
FAILED = ".failed-restore-"

STEPS = (
    "restore: old files in quarantine",
    "restore: old database whole",
    "restore: sidecars gone",
    "restore: swapped",
    "restore: swap checked",
)


@dataclass(frozen=True)
class Swap:
    """How a swap goes: which target, whose services must be stopped, what proves the new file once it stands."""

    workspace: Workspace
    services: tuple[str, ...]
    prove: Callable[[str], None]
    progress: Progress

    @property
    def target(self) -> str:
        """The database's place."""
        return self.workspace.target

    def run(self, journal: Journal, label: str) -> str:
        """Put the workspace's new file (and its sidecars, if it has any) in the target's place.

        label: BEFORE or FAILED, the middle of the quarantine's name. Returns the quarantine folder; empty when
        there was nothing to keep. Raises InUseError, with the old database in place, when a process has it open.
        """
        refuse_openers(self.target, self.services)
        old = FileSet(self.target)
        journal.quarantine = _fresh_name(self.target + label + to_id(now()))
        journal.old = {suffix: os.lstat(old.path + suffix).st_ino for suffix in old.present()}
        single = not FileSet(self.workspace.new).sidecars()
        if not (single and "" in journal.old and self._by_one_rename(old, journal)):
            self._by_moving(old, journal)
        return journal.quarantine if os.path.isdir(journal.quarantine) else ""

    def _by_one_rename(self, old: FileSet, journal: Journal) -> bool:
        """False, with nothing changed, where this way is not open."""
        before = old.signature()
        replacement = ""
        if not old.is_whole_by_itself():
            try:
                old.settle_into(self.workspace.settled)
                replacement = self.workspace.settled
            except (OSError, sqlitefail.DamagedError):
                for suffix in FileSet(self.workspace.settled).present():
                    os.unlink(self.workspace.settled + suffix)
                return False
        journal.phase = LINKING
        self.workspace.write(journal)
        kept = FileSet(inside(journal.quarantine, self.target))
        if not _link_all(old, kept):
            return False
        self.progress.step(STEPS[0])
        whole = FileSet(replacement or self.target).signature()[""]
        if replacement:
            self._rename(replacement, self.target)
        self.progress.step(STEPS[1])
        for suffix in old.sidecars():
            os.unlink(old.path + suffix)
        os.link(self.target, self.workspace.undo)
        sync_directory(os.path.dirname(self.target))
        self.progress.step(STEPS[2])
        self._rename(self.workspace.new, self.target)
        self.progress.step(STEPS[3])

        def back() -> None:
            """The old state, with a commit that somebody may have slipped in, wherever it went."""
            os.link(self.target, self.workspace.new)
            self._rename(self.workspace.undo, self.target)
            if kept.signature() != before:
                for suffix in reversed(kept.present()):
                    self._rename(kept.path + suffix, self.target + suffix)
            if _same_file(kept.path, self.target) or not kept.present():
                remove_tree(journal.quarantine)

        try:
            self._nobody_slipped_in([self.workspace.undo, *(kept.path + suffix for suffix in kept.present())])
            if kept.signature() != before or FileSet(self.workspace.undo).signature()[""] != whole:
                raise _written_meanwhile(self.target, self.services)
            self._prove_new()
        except BaseException:
            back()
            raise
        self.progress.step(STEPS[4])
        return True

    def _by_moving(self, old: FileSet, journal: Journal) -> None:
        """The way of a damaged old database, of sidecars without one, and of an empty place."""
        journal.phase = MOVING
        self.workspace.write(journal)
        if journal.old:
            os.mkdir(journal.quarantine, 0o700)
        for suffix in journal.old:
            self._rename(old.path + suffix, inside(journal.quarantine, old.path + suffix))
            sync_directory(journal.quarantine)
        self.progress.step(STEPS[0])
        self.progress.step(STEPS[1])
        for suffix in FileSet(self.workspace.new).sidecars():
            self._rename(self.workspace.new + suffix, self.target + suffix)
        self.progress.step(STEPS[2])
        self._rename(self.workspace.new, self.target)
        self.progress.step(STEPS[3])
        try:
            self._nobody_slipped_in([inside(journal.quarantine, old.path + suffix) for suffix in journal.old])
            self._prove_new()
        except BaseException:
            self._rename(self.target, self.workspace.new)
            put_back(self.target, journal)
            raise
        self.progress.step(STEPS[4])

    def _nobody_slipped_in(self, old_names: list[str]) -> None:
        """A process that opened the old files just before the swap would go on writing into them."""
        look = holders(old_names)
        if look.openers:
            raise in_use(self.target, look, self.services)

    def _prove_new(self) -> None:
        """Unless somebody works with the new database already: then it is theirs, and was proven before."""
        if not holders([self.target]).openers:
            self.prove(self.target)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new)
        sync_directory(os.path.dirname(self.target))


def _link_all(old: FileSet, kept: FileSet) -> bool:
    """Give every old file a second name in quarantine; False, and no trace, where there are no hard links."""
    quarantine = os.path.dirname(kept.path)
    os.mkdir(quarantine, 0o700)
    try:
        for suffix in old.present():
            os.link(old.path + suffix, kept.path + suffix, follow_symlinks=False)
    except OSError:
        remove_tree(quarantine)
        return False
    sync_directory(quarantine)
    sync_directory(os.path.dirname(quarantine))
    return True


def _same_file(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.samefile(one, other)


def _written_meanwhile(target: str, services: tuple[str, ...]) -> InUseError:
    units = " ".join(services) or "whatever writes to it (cron jobs, too)"
    return InUseError(
        f"{target} was written to during the restore",
        expected="a database at rest",
        found="its files changed between the copy and the swap",
        safe="the old database stands in its place again, with all that was written to it",
        next_step=f"stop {units}, then run the same command again",
    )


def _fresh_name(path: str) -> str:
    number, name = 1, path
    while os.path.lexists(name):
        number += 1
        name = f"{path}-{number}"
    return name


def quarantines(target: str) -> list[str]:
    """The folders with what former restores replaced, oldest first."""
    directory, name = os.path.split(target)
    found = [
        os.path.join(directory, entry)
        for entry in os.listdir(directory)
        if entry.startswith(name + BEFORE) and not entry.endswith(".stray")
    ]
    return sorted(path for path in found if os.path.isdir(path))
