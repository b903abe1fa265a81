# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a timeline has grown old: at a backup from which the next one can go on.

A timeline goes on in a new one without a gap when a backup lies in the WAL's present round: all of that round is still
in the WAL, so the new timeline has it from its first frame, and a base from its first moment on. Most days the nightly
backup is such a one. Where none came for long, one is taken for that, and the round goes on until it is done.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import time
from collections.abc import Callable

from .hold import Hold
from .repository import Backup, Repository
from .timefmt import now

# Seconds between two looks at the backups, and between two of its own.
_LOOK_EVERY = 60.0
_OWN_EVERY = 3600.0


class Rollover:
    """Looks out for that backup.

    every: the age, in seconds, around which a timeline is to be replaced; 0 is never. start_backup: starts a backup and
    returns its process.
    """

    def __init__(
        self, repository: Repository, database: str, every: int, start_backup: Callable[[], subprocess.Popen[bytes]]
    ) -> None:
        self._repository = repository
        self._database = database
        self._every = every
        self._start = start_backup
        self._child: subprocess.Popen[bytes] | None = None
        self._look_at = self._own_at = 0.0

    def is_due(self, timeline: str, started: dt.datetime, hold: Hold) -> bool:
        """Whether the next timeline can begin now; takes care that it can some day."""
        age = (now() - started).total_seconds()
        if not self._every or age < self._every / 2:
            return False
        ended = self._child is not None and self._child.poll() is not None
        if ended:
            self._child = None
        if time.monotonic() >= self._look_at or ended:
            self._look_at = time.monotonic() + min(_LOOK_EVERY, self._every / 10)
            newest = self._repository.catalogue(self._database).newest
            if newest is not None and newest.timeline == timeline and _is_in_this_round(newest, hold):
                return True
        if age >= 1.5 * self._every and self._child is None and time.monotonic() >= self._own_at:
            self._own_at = time.monotonic() + min(_OWN_EVERY, self._every / 2)
            self._child = self._start()
        return False

    @property
    def is_backing_up(self) -> bool:
        """Whether a backup of its own is under way."""
        return self._child is not None

    def stop(self) -> None:
        """End such a backup; its clean-up runs."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
            self._child = None


def _is_in_this_round(backup: Backup, hold: Hold) -> bool:
    wal = backup.manifest.part("wal") if backup.manifest else {}
    position = hold.look().position
    return bool(position.frame) and wal.get("salts") == list(position.salts)
