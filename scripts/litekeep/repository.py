# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The repository on disk: ``<repository>/<host>/<database>/`` with ``backups/<id>/`` and ``archive/<timeline>/``.

A backup is built in a hidden ``.partial-*`` folder and renamed when it is complete and synced. Readers see
complete backups only; what a killed process left is removed by the next backup.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from . import locks, timefmt
from .errors import LitekeepError, UsageError, VerificationError
from .files import append_line, private_directory, remove_tree, sync_directory, sync_file, write_json
from .manifest import NAME, Manifest, checksum, read_manifest
from .progress import Progress
from .timeline import Timeline
from .timelinefile import read_timeline, timeline_number

PARTIAL = ".partial-"
_RESTORES = "restores.jsonl"

VERIFIED = "verified"
BAD_SOURCE = "bad source"
DAMAGED = "damaged"
UNREADABLE = "unreadable"
NEWER = "newer format"

# Seconds for which somebody who looks whether an archiver runs may have its lock.
_LOOKING = 2.0
# Seconds for which a reader waits while retention removes files.
_PATIENCE = 600.0


@dataclass(frozen=True)
class Backup:
    """One backup as it stands in the repository.

    state: ``verified`` is the only one that counts as a restore point; problem says why another does not.
    last_verified: when its stored bytes were last read and found right.
    """

    id: str
    folder: str
    state: str
    problem: str
    manifest: Manifest | None
    last_verified: dt.datetime | None

    @property
    def timeline(self) -> str | None:
        """The timeline whose archiver ran when the snapshot was taken."""
        value = self.manifest.values.get("timeline") if self.manifest else None
        return value if isinstance(value, str) else None

    @property
    def moment(self) -> dt.datetime:
        """The moment whose state it holds; where its manifest cannot be read, the one that its id names."""
        return self.manifest.snapshot if self.manifest else timefmt.from_id(self.id)

    @property
    def order(self) -> tuple[str, int, str]:
        """Recorded time, then sequence; those without a readable manifest come first."""
        if self.manifest is None:
            return "", 0, self.id
        return timefmt.to_text(self.manifest.snapshot), self.manifest.sequence, self.id


@dataclass(frozen=True)
class Catalogue:
    """All backups of one database, oldest first."""

    database: str
    backups: tuple[Backup, ...]

    @property
    def restore_points(self) -> tuple[Backup, ...]:
        """The backups that count."""
        return tuple(backup for backup in self.backups if backup.state == VERIFIED)

    @property
    def newest(self) -> Backup | None:
        """The newest restore point."""
        return self.restore_points[-1] if self.restore_points else None

    def find(self, backup_id: str) -> Backup | None:
        """The backup of that id, whatever its state."""
        return next((backup for backup in self.backups if backup.id == backup_id), None)


@dataclass(frozen=True)
class Partial:
    """A backup that is being built. ``id`` is final, ``folder`` is not."""

    id: str
    folder: str
    final: str
    sequence: int

    def file(self, name: str) -> str:
        """The path of a file inside."""
        return os.path.join(self.folder, name)


class Repository:
    """The backups of one host below ``root``."""

    def __init__(self, root: str, host: str) -> None:
        self.root = root
        self.host = host

    def folder(self, database: str) -> str:
        """Where everything of that database stands."""
        return os.path.join(self.root, self.host, database)

    def databases(self) -> list[str]:
        """Names of all databases that ever had a backup here."""
        try:
            return sorted(entry.name for entry in os.scandir(os.path.join(self.root, self.host)) if entry.is_dir())
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def writing(self, database: str, patience: float = 0.0, progress: Progress | None = None) -> Iterator[None]:
        """The right to write backups of that database; BusyError when another process has it for longer than patience.

        patience: seconds to wait; meanwhile ``progress`` says for whom.
        """
        folder = self.folder(database)
        private_directory(os.path.join(folder, "backups"))
        with locks.exclusive(os.path.join(folder, ".lock"), f"backup of {database}", patience, progress):
            yield

    @contextlib.contextmanager
    def lease(self, database: str, patience: float = _PATIENCE, progress: Progress | None = None) -> Iterator[None]:
        """While it is held, retention removes no backup of that database. A read-only repository needs none.

        Retention that is at work is waited for, as for ``writing``; then BusyError.
        """
        with contextlib.ExitStack() as stack:
            if os.access(self.folder(database), os.W_OK):
                stack.enter_context(locks.shared(os.path.join(self.folder(database), ".lease"), patience, progress))
            yield

    @contextlib.contextmanager
    def removing(self, database: str, patience: float = 0.0, progress: Progress | None = None) -> Iterator[None]:
        """The right to remove backups of that database; BusyError while somebody has a lease, as for ``writing``."""
        path = os.path.join(self.folder(database), ".lease")
        with locks.exclusive(path, f"retention of {database}", patience, progress):
            yield

    @contextlib.contextmanager
    def archiving(self, database: str) -> Iterator[str]:
        """The right to write the archive of that database, and its folder; BusyError when another process has it."""
        folder = self.archive(database)
        private_directory(folder)
        with locks.exclusive(self._archive_lock(database), f"archive of {database}", patience=_LOOKING):
            yield folder

    def archive(self, database: str) -> str:
        """Where the timelines of that database stand."""
        return os.path.join(self.folder(database), "archive")

    def _archive_lock(self, database: str) -> str:
        return os.path.join(self.folder(database), ".archive.lock")

    def is_archiving(self, database: str) -> bool:
        """Whether an archiver is at work on that database."""
        return locks.is_held(self._archive_lock(database))

    def timelines(self, database: str) -> list[Timeline]:
        """All timelines of the database, oldest first. Never fails because one of them is damaged."""
        running = self.is_archiving(database)
        names = [name for _number, name in self.timeline_numbers(database)]
        return [self._timeline(database, name, name == names[-1], running) for name in names]

    def timeline_numbers(self, database: str) -> list[tuple[int, str]]:
        """Number and id of all timelines, oldest first. One whose first record is damaged has the number 0."""
        try:
            with os.scandir(self.archive(database)) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise _unreadable(self.archive(database), problem) from problem
        numbered = [(timeline_number(os.path.join(self.archive(database), name)), name) for name in names]
        # A number that cannot be read leaves the names, which tell the time by the clock of then.
        return numbered if any(not number for number, _name in numbered) else sorted(numbered)

    def _timeline(self, database: str, name: str, newest: bool, running: bool) -> Timeline:
        timeline = read_timeline(os.path.join(self.archive(database), name))
        return replace(timeline, state="ended" if not newest else "running" if running else "stopped")

    def current_timeline(self, database: str) -> str | None:
        """The timeline that an archiver is writing now."""
        numbers = self.timeline_numbers(database) if self.is_archiving(database) else []
        return numbers[-1][1] if numbers else None

    def begin(self, database: str, kind: str, started: dt.datetime) -> Partial:
        """A new partial backup. The caller holds ``writing``; leftovers of killed processes go first."""
        backups = os.path.join(self.folder(database), "backups")
        for entry in os.listdir(backups):
            if entry.startswith(PARTIAL):
                remove_tree(os.path.join(backups, entry))
        catalogue = self.catalogue(database)
        sequence = 1 + max((b.manifest.sequence for b in catalogue.backups if b.manifest), default=0)
        backup_id = f"{timefmt.to_id(started)}-{kind}"
        while os.path.exists(os.path.join(backups, backup_id)):
            started += dt.timedelta(milliseconds=1)
            backup_id = f"{timefmt.to_id(started)}-{kind}"
        partial = Partial(
            backup_id, os.path.join(backups, PARTIAL + backup_id), os.path.join(backups, backup_id), sequence
        )
        os.mkdir(partial.folder, 0o700)
        return partial

    def write_manifest(self, partial: Partial, values: dict[str, object]) -> None:
        """Write the manifest, last of all files, and read it again."""
        values["checksum"] = checksum(values)
        write_json(partial.file(NAME), values)
        sync_file(partial.file(NAME))
        read_manifest(partial.file(NAME))

    def commit(self, partial: Partial) -> None:
        """Make the partial backup one that counts."""
        sync_directory(partial.folder)
        os.rename(partial.folder, partial.final)
        sync_directory(os.path.dirname(partial.final))

    def catalogue(self, database: str) -> Catalogue:
        """All backups of the database. Never fails because one of them is damaged."""
        backups = os.path.join(self.folder(database), "backups")
        history = self._verifications(database)
        try:
            names = [entry.name for entry in os.scandir(backups) if not entry.name.startswith(".")]
        except FileNotFoundError:
            names = []
        except OSError as problem:
            raise _unreadable(backups, problem) from problem
        found = [_backup(os.path.join(backups, name), name, history.get(name, {})) for name in names]
        return Catalogue(database, tuple(sorted(found, key=lambda backup: backup.order)))

    def record_verification(self, database: str, backup_id: str, problem: str) -> None:
        """Remember that the stored bytes were read: right (no problem), or not."""
        entry = {
            "time": timefmt.to_text(timefmt.now()),
            "backup": backup_id,
            "result": "failed" if problem else "ok",
            "problem": problem,
        }
        append_line(self._history(database), entry)

    def record_restore(self, database: str, point: str, target: str) -> None:
        """Remember that the database was restored in its place; not where the repository cannot be written."""
        values = {"time": timefmt.to_text(timefmt.now()), "point": point, "target": target}
        with contextlib.suppress(OSError):
            append_line(os.path.join(self.folder(database), _RESTORES), values)

    def restores(self, database: str) -> list[dt.datetime]:
        """When the database was restored in its place. Torn lines of a crash are passed over."""
        return [
            timefmt.from_text(str(entry["time"]))
            for entry in lines_of(os.path.join(self.folder(database), _RESTORES))
            if "time" in entry
        ]

    def _history(self, database: str) -> str:
        return os.path.join(self.folder(database), "verifications.jsonl")

    def _verifications(self, database: str) -> dict[str, Mapping[str, object]]:
        """The last word on each backup. Torn lines of a crash are passed over."""
        return {str(entry.get("backup")): entry for entry in lines_of(self._history(database))}


def lines_of(path: str) -> list[dict[str, object]]:
    """The JSON objects of a file of lines; torn ones are passed over, and a file that is not there is empty."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(entry)
    return found


def _unreadable(path: str, problem: OSError) -> UsageError:
    return UsageError(
        f"The repository {path} cannot be read",
        found=str(problem.strerror),
        safe="nothing was changed",
        next_step="run this as the user who takes the backups (on a host with the role: root)",
    )


def _backup(folder: str, name: str, verification: Mapping[str, object]) -> Backup:
    try:
        manifest = read_manifest(os.path.join(folder, NAME))
        if manifest.id != name:
            raise VerificationError(f"{folder} holds the manifest of {manifest.id}")
    except LitekeepError as problem:
        state = NEWER if isinstance(problem, UsageError) else UNREADABLE
        text = problem.what + (f": {problem.found}" if problem.found else "")
        return Backup(name, folder, state, text, None, None)
    if not manifest.verified:
        return Backup(name, folder, BAD_SOURCE, _source_problem(manifest), manifest, None)
    if verification.get("result") == "failed":
        return Backup(name, folder, DAMAGED, str(verification.get("problem")), manifest, None)
    with contextlib.suppress(ValueError, KeyError):
        return Backup(name, folder, VERIFIED, "", manifest, timefmt.from_text(str(verification["time"])))
    return Backup(name, folder, VERIFIED, "", manifest, manifest.snapshot)


def _source_problem(manifest: Manifest) -> str:
    integrity = manifest.part("checks").get("integrity")
    messages = integrity.get("messages") if isinstance(integrity, dict) else None
    return "the source did not pass its checks: " + "; ".join(str(message) for message in (messages or ["unknown"])[:3])
