# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pull: what a restore point needs comes from a remote, and nothing else.

First the small files: manifests, and the records of the archive. Out of them a repository is made that looks like the
remote's, with empty files of the right sizes in the place of what is large. The planner chooses there as it does at
home; then the files that the point needs take their places, and a restore proves each of them as it reads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import restore
from .config import Database, Remote
from .errors import LitekeepError, NoRestorePointError, RemoteError, VerificationError
from .files import CHUNK, private_directory, remove_tree, require_space
from .manifest import NAME as MANIFEST
from .outbound import Batches, cover, piece_of
from .planner import Point
from .progress import Progress
from .remote import Store
from .repository import Repository
from .restore import Plan
from .store import unpacked
from .timeline import HEARTBEAT, RECORDS, SUFFIX, Segment
from .timelinefile import recorded

_SAFE = "nothing was changed here, and nothing on the remote"
_INBOX = ".batches"


@dataclass
class Mirror:
    """What a remote holds of one database, as a repository of this machine below ``root``."""

    store: Store
    database: str
    root: str
    host: str
    _places: dict[str, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        """For whoever plans and restores. Before ``need``, its large files are empty."""
        return Repository(self.root, self.host)

    def look(self) -> None:
        """Ask what there is. Raises RemoteError, OSError."""
        # What the server keeps comes last: it counts.
        for place in dict.fromkeys((os.path.join(self.store.remote.incoming, self.database), self.database)):
            for path, size in self.store.files(place).items():
                self._places[path], self._sizes[path] = place, size
        self._fetch([path for path in self._sizes if os.path.basename(path) == MANIFEST])
        for path, size in self._sizes.items():
            if path.startswith("backups/") and os.path.basename(path) != MANIFEST:
                _empty_file(self._local(path), size)
        for folder in sorted({os.path.dirname(path) for path in self._sizes if path.startswith("archive/")}):
            self._look_at_timeline(folder)

    def _local(self, path: str) -> str:
        return os.path.join(self.repository.folder(self.database), path)

    def _fetch(self, paths: Sequence[str]) -> None:
        """Files to where they belong."""
        for place in sorted({self._places[path] for path in paths}):
            chosen = [path for path in paths if self._places[path] == place]
            private_directory(self._local(""))
            self.store.fetch(place, chosen, self._local(""))

    def _files_of(self, folder: str) -> dict[str, int]:
        return {os.path.basename(p): size for p, size in self._sizes.items() if os.path.dirname(p) == folder}

    def _look_at_timeline(self, folder: str) -> None:
        files = self._files_of(folder)
        pieces, _end = cover(files)
        small = [name for name in (RECORDS, HEARTBEAT) if name in files]
        self._fetch([f"{folder}/{name}" for name in (*small, *pieces)])
        with open(self._local(f"{folder}/{RECORDS}"), "ab") as records:
            for name in pieces:
                self._append(records.write, records.tell(), self._local(f"{folder}/{name}"))
        for segment, _holder, _at in self._held(folder, files):
            _empty_file(os.path.join(segment.folder, segment.name), segment.stored.stored_size)

    def _append(self, write: Callable[[bytes], int], end: int, piece: str) -> None:
        start, stop = piece_of(os.path.basename(piece)) or (0, 0)
        with open(piece, "rb") as stream:
            stored = stream.read()
        try:
            lines = unpacked(stored, stop - start)
        except ValueError as problem:
            raise _damaged(self.store.remote, piece, str(problem)) from problem
        write(lines[end - start :])
        os.unlink(piece)

    def _held(self, folder: str, files: Mapping[str, int]) -> Iterator[tuple[Segment, str, int]]:
        """Each segment of which the remote has the content: the file, and where in it."""
        try:
            segments = recorded(self._local(folder))
        except (OSError, ValueError):
            # Records that did not arrive yet, or are damaged: whoever reads the timeline says so.
            return
        starts: dict[int, dict[int, int]] = {}
        for segment in segments:
            starts.setdefault(segment.round, {})[segment.first] = segment.offset
        batches = Batches(files)
        for segment in segments:
            for name, at in batches.holding(segment, starts[segment.round]):
                yield segment, name, at
                break

    def need(self, point: Point, progress: Progress) -> None:
        """Bring what that point is made of. Raises RemoteError, VerificationError, SpaceError, OSError."""
        manifest = point.backup.manifest
        data = [f"backups/{point.backup.id}/{file.name}" for file in (manifest.files if manifest else ())]
        folder = f"archive/{point.timeline}"
        wanted = {segment.name for segment in point.segments}
        held = [entry for entry in self._held(folder, self._files_of(folder)) if entry[0].name in wanted]
        batches = sorted({name for _segment, name, _at in held})
        size = sum(self._sizes[path] for path in data) + 2 * sum(self._sizes[f"{folder}/{name}"] for name in batches)
        require_space({self.root: size}, _SAFE)
        for path in data:
            os.unlink(self._local(path))
        self._fetch(data)
        progress.step("pull: backup")
        inbox = os.path.join(self.root, _INBOX)
        if batches:
            self._fetch_batches(folder, batches, inbox)
        for segment, name, at in held:
            _cut(os.path.join(inbox, name), at, segment)
        progress.step("pull: archive")

    def settle(self, point: Point) -> None:
        """Remove all that only looked as if it were there."""
        kept = {point.backup.id, str(point.timeline)}
        for kind in ("backups", "archive"):
            folder = self._local(kind)
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                if name not in kept:
                    remove_tree(os.path.join(folder, name))
        folder = self._local(f"archive/{point.timeline}")
        wanted = {segment.name for segment in point.segments}
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name.endswith(SUFFIX) and name not in wanted:
                os.unlink(os.path.join(folder, name))
        remove_tree(os.path.join(self.root, _INBOX))

    def _fetch_batches(self, folder: str, names: Sequence[str], inbox: str) -> None:
        for place in sorted({self._places[f"{folder}/{name}"] for name in names}):
            chosen = [name for name in names if self._places[f"{folder}/{name}"] == place]
            self.store.fetch(f"{place}/{folder}", chosen, inbox)


def _empty_file(path: str, size: int) -> None:
    """One that takes no room and has that size, in the place of what was not fetched."""
    if not os.path.exists(path):
        private_directory(os.path.dirname(path))
        with open(path, "wb") as stream:
            stream.truncate(size)


def _cut(path: str, at: int, segment: Segment) -> None:
    """The segment's own file, out of one that holds several. Whoever reads it proves it."""
    with open(path, "rb") as source, open(os.path.join(segment.folder, segment.name), "wb") as target:
        source.seek(at)
        left = segment.stored.stored_size
        while left and (block := source.read(min(CHUNK, left))):
            target.write(block)
            left -= len(block)


def _damaged(remote: Remote, path: str, found: str) -> VerificationError:
    return VerificationError(
        f"{os.path.basename(path)} on {remote.name} is damaged",
        expected="records as they were sent",
        found=found,
        safe=_SAFE,
        next_step="take another remote (--from), or an earlier moment",
    )


@dataclass(frozen=True)
class Choice:
    """What to bring. nearest, timeline: see planner.Choice."""

    to: str = "latest"
    nearest: bool = False
    timeline: str | None = None


def planned(
    stores: Sequence[Store],
    database: Database,
    host: str,
    root: str,
    choice: Choice,
    target: str | None,
    apart: bool = True,
) -> tuple[Mirror, Plan, list[str]]:
    """The first remote that has the point, in the order given. Also, why those before it have not.

    root: a folder for their small files, those of each remote apart from the others', or only of the one that has the
    point. Nothing large is brought yet. Raises the last one's error.
    """
    passed: list[str] = []
    failure: LitekeepError = NoRestorePointError(f"There is no remote to bring {database.name} from", safe=_SAFE)
    for store in stores:
        mirror = Mirror(store, database.name, os.path.join(root, store.remote.name) if apart else root, host)
        try:
            mirror.look()
            plan = restore.plan(mirror.repository, database, choice.to, target, choice.nearest, choice.timeline)
            return mirror, plan, passed
        except (RemoteError, NoRestorePointError, VerificationError) as problem:
            remove_tree(mirror.repository.folder(database.name))
            passed.append(f"{store.remote.name}: {problem.what}" + (f": {problem.found}" if problem.found else ""))
            failure = problem
    raise failure
