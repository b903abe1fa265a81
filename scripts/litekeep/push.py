# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Push: what is complete in the repository goes to a remote, what others depend on first, and is read again there.

A remote may be append-only. So nothing that counts is written twice, and a file that a broken transfer left is
overwritten only as long as nothing says that it counts. ``heartbeat.json`` is the exception: a hint, written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .errors import LitekeepError, RemoteError, VerificationError
from .files import private_directory
from .locks import exclusive
from .manifest import NAME as MANIFEST
from .outbound import LARGEST_PIECE, Delivery, Outbound, cover, piece_name, piece_of
from .progress import Progress
from .remote import BrokenOffError, Store
from .repository import VERIFIED, Backup, Repository
from .store import packed, unpacked
from .timefmt import now, to_text
from .timeline import HEARTBEAT, RECORDS

# Seconds that one push waits for another one to end.
_PATIENCE = 600.0
# Pieces of records after which one that covers them all is sent, too: whoever pulls reads few files.
_MANY = 32


@dataclass
class Pushed:
    """What one pass did. backups: their ids. until: when the last commit that was sent was observed, empty for none."""

    backups: list[str] = field(default_factory=list)
    segments: int = 0
    size: int = 0
    until: str = ""


class Memory:
    """What is known to have arrived, in a small file of the database's folder. Without it the remote is asked again.

    place: where the remote is; what was known of another place is forgotten.
    """

    def __init__(self, repository: Repository, database: str, remote: str, what: str, place: str = "") -> None:
        self._path = os.path.join(repository.folder(database), "remotes", f"{remote}.{what}.json")
        self._place = place
        self.values: dict[str, object] = {}
        self._read()

    def _read(self) -> None:
        self._seen = _identity(self._path)
        self.values = read_memory(self._path)
        if self._place and self.values.get("place", self._place) != self._place:
            self.values = {}

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Alone at work, also among other processes. Whether one of them has changed it since. Raises BusyError."""
        private_directory(os.path.dirname(self._path))
        with exclusive(f"{self._path}.lock", "push", _PATIENCE):
            changed = _identity(self._path) != self._seen
            if changed:
                self._read()
            yield changed

    def names(self, key: str) -> list[str]:
        """Names that were kept under that key."""
        found = self.values.get(key)
        return [str(name) for name in found] if isinstance(found, list) else []

    def keep(self, **values: object) -> None:
        """Remember. Not synced: it can be found out again."""
        self.values.update(values, place=self._place)
        private_directory(os.path.dirname(self._path))
        beside = f"{self._path}.new"
        with open(beside, "w", encoding="utf-8") as stream:
            json.dump(self.values, stream)
        os.rename(beside, self._path)
        self._seen = _identity(self._path)

    def failed(self, problem: LitekeepError | OSError) -> None:
        """Something has not arrived."""
        words = str(problem)
        if isinstance(problem, LitekeepError):
            words = f"{problem.what}: {problem.found}" if problem.found else problem.what
        with contextlib.suppress(OSError):
            self.keep(trouble=words)


def _identity(path: str) -> tuple[int, int]:
    """Another one when the file was written again."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def read_memory(path: str) -> dict[str, object]:
    """The file of a memory; nothing where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


class _Lane:
    """One database on its way to one remote."""

    # How much of a time counts: as long as that is the same, the remote is not asked again what it has.
    _SAME = len("2026-11-22T02")

    def __init__(self, repository: Repository, database: str, store: Store, progress: Progress, what: str) -> None:
        self.repository, self.database, self.store, self.progress = repository, database, store, progress
        self.memory = Memory(repository, database, store.remote.name, what, store.remote.path)

    def run(self) -> Pushed:
        """Send what is new. Raises RemoteError, VerificationError, BusyError, OSError."""
        asked = to_text(now())[: self._SAME]
        with self.memory.held() as changed:
            if changed or self.memory.values.get("asked") != asked:
                self.forget()
            done = self._send_new()
            self.memory.keep(asked=asked, success=to_text(now()), trouble="")
        return done

    def forget(self) -> None:
        """Ask the remote again what is there."""
        raise NotImplementedError

    def _send_new(self) -> Pushed:
        raise NotImplementedError

    def there(self, below: str) -> dict[str, int]:
        """Sizes of the files below a folder of the database, where they are written and where the server keeps them."""
        found = self.store.files(f"{self._incoming}/{below}") if self.store.remote.incoming else {}
        return {**found, **self.store.files(f"{self.database}/{below}")}

    @property
    def _incoming(self) -> str:
        return os.path.join(self.store.remote.incoming, self.database)

    def put(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file and prove that it arrived. Raises RemoteError."""
        written = _Counted(blocks)
        self.store.write(f"{self._incoming}/{path}", written)
        self.prove(path, written.size, written.sha256.hexdigest())

    def prove(self, path: str, size: int, sha256: str) -> None:
        """Raises RemoteError when the file there is another one."""
        for place in dict.fromkeys((self._incoming, self.database)):
            found = self._found(f"{place}/{path}", size)
            if found in ((size, sha256), (size, "")):
                return
            if found is not None:
                break
        raise RemoteError(
            f"{path} is not on {self.store.remote.name} as it was sent",
            expected=f"{size} bytes, sha256 {sha256}",
            found="nothing" if found is None else f"{found[0]} bytes, sha256 {found[1] or 'not asked for'}",
            safe="the local backups and the archive are whole; it is sent again",
            next_step=f"litekeep push {self.database}",
        )

    def _found(self, path: str, size: int) -> tuple[int, str] | None:
        """Size and hash of what stands there; without a hash where only sizes are compared."""
        folder, name = os.path.split(path)
        if self.store.remote.check == "size":
            sizes = self.store.files(folder)
            return (sizes[name], "") if name in sizes else None
        read = _Counted(self.store.read(path))
        try:
            for _block in read:
                self.progress.advance(f"read back {self.store.remote.name}", read.size, size)
        except RemoteError:
            if name in self.store.files(folder):
                raise
            return None
        return read.size, read.sha256.hexdigest()


class _Counted:
    """Blocks, counted and hashed as they pass."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.size, self.sha256 = 0, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.size += len(block)
            self.sha256.update(block)
            yield block


class Backups(_Lane):
    """Full backups: the files, then the manifest that says what they are."""

    def __init__(self, repository: Repository, database: str, store: Store, progress: Progress) -> None:
        super().__init__(repository, database, store, progress, "backups")

    def forget(self) -> None:
        """Ask the remote again what is there."""
        self.memory.values["asked"] = ""

    def _send_new(self) -> Pushed:
        """Every verified backup that is not there."""
        done = Pushed()
        arrived = set(self.memory.names("arrived"))
        complete = [b for b in self.repository.catalogue(self.database).backups if b.state == VERIFIED and b.manifest]
        if all(backup.id in arrived for backup in complete) and self.memory.values.get("asked"):
            return done
        there = self.there("backups")
        oldest = min((path.split("/")[0] for path in there if path.endswith(f"/{MANIFEST}")), default="")
        with self.repository.lease(self.database, progress=self.progress):
            for backup in complete:
                if self._is_there(backup, there) or (backup.id in arrived and backup.id < oldest):
                    # Older than all that is there: the remote's own retention has removed it.
                    arrived.add(backup.id)
                elif os.path.isdir(backup.folder):
                    self._send(backup, done)
                    arrived.add(backup.id)
                self.memory.keep(arrived=sorted(arrived & {b.id for b in complete}))
        return done

    def _is_there(self, backup: Backup, there: Mapping[str, int]) -> bool:
        sizes = {
            name: size for path, size in there.items() for folder, name in [os.path.split(path)] if folder == backup.id
        }
        files = {file.name: file.stored_size for file in backup.manifest.files} if backup.manifest else {}
        files[MANIFEST] = os.path.getsize(os.path.join(backup.folder, MANIFEST))
        return all(sizes.get(name) == size for name, size in files.items())

    def _send(self, backup: Backup, done: Pushed) -> None:
        files = backup.manifest.files if backup.manifest else ()
        folder = f"backups/{backup.id}"
        self.store.send(backup.folder, [file.name for file in files], f"{self._incoming}/{folder}")
        for file in files:
            self.prove(f"{folder}/{file.name}", file.stored_size, file.stored_sha256)
            done.size += file.stored_size
        with open(os.path.join(backup.folder, MANIFEST), "rb") as stream:
            self.put(f"{folder}/{MANIFEST}", [stream.read()])
        done.backups.append(backup.id)


class Archive(_Lane):
    """The archive: segments, then the records that speak of them, then the heartbeat."""

    # Each time, its records are read from the beginning.
    _SAME = len("2026-11-22")

    def __init__(self, repository: Repository, database: str, store: Store, progress: Progress) -> None:
        super().__init__(repository, database, store, progress, "archive")
        self._open: dict[str, Outbound] = {}
        self._ended: set[str] = set()

    def forget(self) -> None:
        """Ask the remote again what is there."""
        self._open.clear()
        self._ended.clear()

    def _send_new(self) -> Pushed:
        """All that came since."""
        done = Pushed()
        names = [name for _number, name in self.repository.timeline_numbers(self.database)]
        for name in names:
            if name in self._ended:
                continue
            heartbeat = self._heartbeat(name)
            outbound = self._open.get(name) or self._opened(name)
            for delivery in outbound.deliveries():
                self._send(name, delivery, done)
            self._beat(name, heartbeat)
            if name != names[-1]:
                self._ended.add(name)
                self._open.pop(name, None)
        return done

    def _folder(self, timeline: str) -> str:
        return os.path.join(self.repository.archive(self.database), timeline)

    def _opened(self, timeline: str) -> Outbound:
        """Where the remote's copy ends."""
        sizes = self.there(f"archive/{timeline}")
        known = set(self.memory.names(timeline))
        unknown = [name for name in sizes if piece_of(name) and name not in known]
        known.update(name for name in unknown if self._is_ours(timeline, name))
        pieces, end = cover(sizes, known)
        outbound = Outbound(self._folder(timeline))
        if end:
            outbound.skip_to(end)
        self.memory.keep(**{timeline: pieces})
        self._open[timeline] = outbound
        return outbound

    def _is_ours(self, timeline: str, piece: str) -> bool:
        """Whether a piece of which nothing is remembered holds what it should, and is no torn one."""
        start, end = piece_of(piece) or (0, 0)
        try:
            lines = unpacked(b"".join(self.store.read(f"{self._incoming}/archive/{timeline}/{piece}")), end - start)
        except BrokenOffError:
            # Says nothing about the piece.
            raise
        except (RemoteError, ValueError):
            return False
        if lines == self._records(timeline, start, end):
            return True
        raise VerificationError(
            f"{self.store.remote.name} has other records of timeline {timeline}",
            expected=f"bytes {start} to {end} of {RECORDS} as they stand here",
            found=f"others, in {piece}",
            safe="both copies are as they were; nothing more is sent of this timeline",
            next_step=f"let the archive begin a new timeline: systemctl stop litekeep-archive@{self.database}, "
            f"litekeep backup {self.database}, systemctl start litekeep-archive@{self.database}",
        )

    def _records(self, timeline: str, start: int, end: int) -> bytes:
        with open(os.path.join(self._folder(timeline), RECORDS), "rb") as stream:
            stream.seek(start)
            return stream.read(end - start)

    def _send(self, timeline: str, delivery: Delivery, done: Pushed) -> None:
        folder = f"archive/{timeline}"
        for parcel in delivery.parcels:
            self.put(f"{folder}/{parcel.name}", parcel.blocks())
            done.segments += len(parcel.segments)
            done.size += parcel.size
        self._put_records(timeline, delivery.name, delivery.lines)
        pieces = [*self.memory.names(timeline), delivery.name]
        if delivery.observed:
            done.until = delivery.observed
            self.memory.keep(until=delivery.observed)
        self.memory.keep(**{timeline: self._gathered(timeline, pieces)})

    def _gathered(self, timeline: str, pieces: list[str]) -> list[str]:
        """Many small pieces get a larger one that covers them."""
        spans = [span for name in pieces if (span := piece_of(name))]
        recent = [end - start for start, end in spans[-_MANY:]]
        # Of like sizes only: each record is sent again once for each power of that number.
        if len(spans) < _MANY or 2 * max(recent) > sum(recent) or sum(recent) > LARGEST_PIECE:
            return pieces
        start, end = spans[-_MANY][0], spans[-1][1]
        name = piece_name(start, end)
        self._put_records(timeline, name, self._records(timeline, start, end))
        return [*pieces[:-_MANY], name]

    def _put_records(self, timeline: str, name: str, lines: bytes) -> None:
        """Send a piece. A server that seals may have taken it over before it could be read again."""
        try:
            self.put(f"archive/{timeline}/{name}", [packed(lines)])
        except RemoteError:
            if not self._is_sealed(timeline, name, lines):
                raise

    def _is_sealed(self, timeline: str, name: str, lines: bytes) -> bool:
        """Whether the records that the server keeps hold these lines."""
        start, end = piece_of(name) or (0, 0)
        folder = f"{self.database}/archive/{timeline}"
        if not self.store.remote.incoming or self.store.files(folder).get(RECORDS, 0) < end:
            return False
        return b"".join(self.store.read(f"{folder}/{RECORDS}", start, len(lines))) == lines

    def _heartbeat(self, timeline: str) -> bytes:
        try:
            with open(os.path.join(self._folder(timeline), HEARTBEAT), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return b""

    def _beat(self, timeline: str, heartbeat: bytes) -> None:
        """Up to when nothing further is known. At most once a minute."""
        minute = to_text(now())[:16]
        if heartbeat and self.memory.values.get("heartbeat") != minute:
            self.put(f"archive/{timeline}/{HEARTBEAT}", [heartbeat])
            self.memory.keep(heartbeat=minute)
