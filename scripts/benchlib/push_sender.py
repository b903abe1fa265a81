# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``litekeep push --follow`` with a clock in it: ``python -m benchlib.push_sender LOG WORD...``.

The words are those of ``litekeep``. A line of LOG is one pass over the archive that called rclone.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any
from unittest import mock

from litekeep import cli
from litekeep.push import Archive, Pushed
from litekeep.remote import Store


class Clock:
    """Notes each pass over the archive: ``begun`` (monotonic clock), ``wall`` seconds, ``segments``, ``written`` (names
    and sizes of files), ``calls`` of rclone (moments), ``failed``."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._pass = threading.local()  # backups travel in another thread, and do not count
        self._run, self._write, self._read, self._files = Archive.run, Store.write, Store.read, Store.files

    def run(self, archive: Archive) -> Pushed:
        """In the place of Archive.run."""
        noted: dict[str, Any] = {"written": [], "calls": [], "segments": 0, "failed": ""}
        self._pass.noted = noted
        noted["begun"] = time.monotonic()
        try:
            done = self._run(archive)
            noted["segments"] = done.segments
            return done
        except Exception as problem:
            noted["failed"] = repr(problem)
            raise
        finally:
            noted["wall"] = time.monotonic() - noted["begun"]
            self._pass.noted = None
            if noted["calls"]:
                self._log.write(json.dumps(noted) + "\n")
                self._log.flush()

    def _called(self) -> dict[str, Any]:
        noted: dict[str, Any] = getattr(self._pass, "noted", None) or {"written": [], "calls": []}
        noted["calls"].append(time.monotonic())
        return noted

    def write(self, store: Store, path: str, blocks: Iterable[bytes]) -> None:
        """In the place of Store.write."""
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for block in blocks:
                size += len(block)
                yield block

        self._write(store, path, counted())
        self._called()["written"].append((path.rpartition("/")[2], size))

    def read(self, store: Store, path: str, *part: int) -> Iterator[bytes]:
        """In the place of Store.read."""
        self._called()
        return self._read(store, path, *part)

    def files(self, store: Store, folder: str) -> dict[str, int]:
        """In the place of Store.files."""
        self._called()
        return self._files(store, folder)


def main() -> int:
    """The words of the command line."""
    with open(sys.argv[1], "w", encoding="utf-8") as log:
        clock = Clock(log)
        with (
            mock.patch.object(Archive, "run", lambda archive: clock.run(archive)),
            mock.patch.object(Store, "write", lambda *words: clock.write(*words)),
            mock.patch.object(Store, "read", lambda *words: clock.read(*words)),
            mock.patch.object(Store, "files", lambda *words: clock.files(*words)),
        ):
            return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
