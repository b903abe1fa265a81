# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of sealing: all hosts of a backup server side by side.

Each has a thread of its own, and is looked at again as long as another one is still busy. So a host that has sent a
very large backup, or rubbish that takes long to see through, keeps no other one's waiting.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from . import locks
from .config import check_name
from .errors import LitekeepError, UsageError
from .incoming import INCOMING
from .repository import Repository
from .seal import Sealed, seal

# Seconds after which a host is looked at again while others are busy, and for which a run waits for another one.
_AGAIN = 15.0
_PATIENCE = 60.0


def hosts_of(root: str) -> list[str]:
    """Those that may send to the repository. Raises UsageError when it cannot be read."""
    try:
        return sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, INCOMING)))
    except OSError as problem:
        raise UsageError(f"The repository {root} cannot be read", found=str(problem.strerror)) from problem


@dataclass
class SealRun:
    """A run. reserve, limit: see ``seal``. tell: what was found, as it is found; one call at a time."""

    root: str
    reserve: int
    limit: int
    tell: Callable[[str, Sealed], None]
    again: float = _AGAIN
    _busy: set[str] = field(default_factory=set)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _bugs: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        """Until no host is busy. Raises UsageError, BusyError when another run does not end."""
        hosts = hosts_of(self.root)
        with locks.exclusive(os.path.join(self.root, ".seal.lock"), "sealing", _PATIENCE):
            self._busy.update(hosts)
            # Daemons: the end of the process ends them. What is half done then is as after a crash.
            threads = [threading.Thread(target=self._work, args=(host,), daemon=True) for host in hosts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._bugs:
            raise self._bugs[0]

    def _work(self, host: str) -> None:
        try:
            while not self._all_done(host):
                pass
        except BaseException as problem:  # noqa: BLE001 - raised again when the other hosts are done
            with self._change:
                self._bugs.append(problem)
                self._busy.discard(host)
                self._change.notify_all()

    def _all_done(self, host: str) -> bool:
        """One look; then False when others are still busy after a while."""
        try:
            found = seal(Repository(self.root, check_name(host, "host name")), self.reserve, self.limit)
        except (LitekeepError, OSError) as problem:
            found = [Sealed(INCOMING)]
            found[0].refuse(problem)
        with self._change:
            for each in found:
                self.tell(host, each)
            self._busy.discard(host)
            self._change.notify_all()
            if self._change.wait_for(lambda: not self._busy, self.again):
                return True
            self._busy.add(host)
            return False
