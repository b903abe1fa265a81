# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hidden folder beside a target in which a restore is built, and its journal.

It stands in the target's directory, because only a rename inside one file system is atomic. The journal
tells the next run how far a killed one came.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import BusyError, UsageError
from .files import remove_tree, sync_directory, write_json

_JOURNAL = "restore.json"

BUILDING = "building"
READY = "ready"
LINKING = "linking"
MOVING = "moving"


@dataclass
class Journal:
    """How far a restore has come.

    phase: ``building``, ``ready`` (proven, waits for the swap), ``linking`` (the target is old and whole until
    one rename), ``moving`` (the old files are on their way into quarantine and must be put back).
    built: inode, size and time of change of the proven file. quarantine: where the old files go. old: the inodes
    of the old files by suffix. rollback_of: the folder that a rollback brings back, empty for a restore.
    fingerprint: what the proven file must show once it stands.
    """

    phase: str = BUILDING
    backup: str = ""
    built: list[int] = field(default_factory=list)
    quarantine: str = ""
    old: dict[str, int] = field(default_factory=dict)
    rollback_of: str = ""
    fingerprint: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Workspace:
    """The folder of one target."""

    target: str

    @property
    def folder(self) -> str:
        """Beside the target, hidden."""
        directory, name = os.path.split(self.target)
        return os.path.join(directory, f".litekeep-restore-{name}")

    @property
    def new(self) -> str:
        """The file that will replace the target."""
        return os.path.join(self.folder, "database.db")

    @property
    def settled(self) -> str:
        """The old database made whole."""
        return os.path.join(self.folder, "settled.db")

    @property
    def undo(self) -> str:
        """A second name of the file that the last rename replaces."""
        return os.path.join(self.folder, "undo.db")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it alone. BusyError when another restore of this target is at work."""
        descriptor = self._open_locked()
        try:
            yield
        finally:
            os.close(descriptor)

    def _open_locked(self) -> int:
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            try:
                descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._require_own(os.fstat(descriptor).st_uid)
                if os.stat(self.folder).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except FileNotFoundError:
                pass
            except BlockingIOError as problem:
                os.close(descriptor)
                raise BusyError(
                    f"Another restore to {self.target} is at work",
                    found=f"a lock on {self.folder}",
                    safe="nothing was changed; the other restore goes on",
                    next_step="wait for it to end",
                ) from problem
            except BaseException:
                os.close(descriptor)
                raise
            # The folder was removed by the one who held it before: take the new one.
            os.close(descriptor)

    def _require_own(self, uid: int) -> None:
        """A journal that the application could have written must not steer what root moves."""
        if uid != os.geteuid():
            raise UsageError(
                f"{self.folder} was made by another user",
                expected=f"a folder of user {os.geteuid()}",
                found=f"a folder of user {uid}",
                safe="nothing was changed",
                next_step=f"look into it; when nothing in it is needed: rm -r {self.folder}",
            )

    def read(self) -> Journal:
        """The journal; a missing, torn or foreign one means that nothing was proven."""
        nothing = Journal()
        try:
            with open(os.path.join(self.folder, _JOURNAL), encoding="utf-8") as stream:
                values = json.load(stream)
            kinds = {key: type(value) for key, value in vars(nothing).items()}
            if {key: type(values[key]) for key in kinds} != kinds:
                return nothing
            journal = Journal(**{key: values[key] for key in kinds})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return nothing
        directory = os.path.dirname(self.target)
        beside = all(os.path.dirname(p) == directory for p in (journal.quarantine, journal.rollback_of) if p)
        return journal if beside else nothing

    def write(self, journal: Journal) -> None:
        """Replace the journal durably."""
        write_json(os.path.join(self.folder, _JOURNAL), vars(journal))

    def empty(self) -> None:
        """Remove what is inside, the journal last; the folder stays."""
        for entry in sorted(os.listdir(self.folder), key=_JOURNAL.__eq__):
            remove_tree(os.path.join(self.folder, entry))

    def remove(self) -> None:
        """Remove the folder. The caller still holds its lock, so nobody else is inside."""
        self.empty()
        remove_tree(self.folder)
        sync_directory(os.path.dirname(self.folder))
