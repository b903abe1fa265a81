# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The base backup of a timeline: taken by another process while the archiver goes on.

Another process, because a backup opens and closes the database, and POSIX would drop the archiver's locks.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from .errors import LitekeepError

Say = Callable[[str], None]

_PAUSES = (10.0, 3600.0)


class BaseBackup:
    """Takes care that a timeline has a verified backup to hang on.

    start: starts a backup and returns its process. hangs: whether a restore point belongs to the timeline now.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], hangs: Callable[[], bool], say: Say) -> None:
        self._start = start
        self._hangs = hangs
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._done = False
        self._next = 0.0
        self._pause = _PAUSES[0]
        self.trouble = ""

    def tend(self) -> None:
        """Look after it; returns at once. ``trouble`` says what is wrong, empty when nothing is."""
        if self._done or time.monotonic() < self._next:
            return
        try:
            self._tend()
        except (OSError, LitekeepError) as problem:
            self._fail(f"the base backup could not be taken: {problem}")

    def _tend(self) -> None:
        if self._child is None:
            self._done = self._hangs()
            if not self._done:
                self._child = self._start()
        elif self._child.poll() is not None:
            code, self._child = self._child.returncode, None
            self._done = self._hangs()
            if not self._done:
                unknown = "the base backup's place in the WAL is not known"
                self._fail(f"the base backup failed (exit code {code})" if code else unknown)
        if self._done:
            self.trouble = ""
            self._say("the timeline has its base backup")

    def _fail(self, trouble: str) -> None:
        self.trouble = trouble
        self._say(f"{self.trouble}; until there is one this timeline can restore nothing; again in {self._pause:.0f} s")
        self._next = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    @property
    def is_there(self) -> bool:
        """Whether the timeline had its backup when it was last looked."""
        return self._done

    def stop(self) -> None:
        """End a backup that is under way; its clean-up runs."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
            self._child = None
