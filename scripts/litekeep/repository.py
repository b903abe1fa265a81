# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The repository on disk: ``<repository>/<host>/<database>/backups/<id>/``, and the catalogue of what it holds.

A backup is built in a hidden ``.partial-*`` folder and renamed when it is complete and synced. Readers see
complete backups only; what a killed process left is removed by the next backup.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import locks, timefmt
from .errors import LitekeepError, UsageError, VerificationError
from .files import append_line, private_directory, remove_tree, sync_directory, sync_file, write_json
from .manifest import NAME, Manifest, checksum, read_manifest

PARTIAL = ".partial-"

VERIFIED = "verified"
BAD_SOURCE = "bad source"
DAMAGED = "damaged"
UNREADABLE = "unreadable"
NEWER = "newer format"


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
    def writing(self, database: str) -> Iterator[None]:
        """The right to write backups of that database; BusyError when another process has it."""
        folder = self.folder(database)
        private_directory(os.path.join(folder, "backups"))
        with locks.exclusive(os.path.join(folder, ".lock"), f"backup of {database}"):
            yield

    @contextlib.contextmanager
    def lease(self, database: str) -> Iterator[None]:
        """While it is held, retention removes no backup of that database. A read-only repository needs none."""
        with contextlib.ExitStack() as stack:
            if os.access(self.folder(database), os.W_OK):
                stack.enter_context(locks.shared(os.path.join(self.folder(database), ".lease")))
            yield

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
            raise UsageError(
                f"The repository {backups} cannot be read",
                found=str(problem.strerror),
                safe="nothing was changed",
                next_step="run this as the user who takes the backups (on a host with the role: root)",
            ) from problem
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

    def _history(self, database: str) -> str:
        return os.path.join(self.folder(database), "verifications.jsonl")

    def _verifications(self, database: str) -> dict[str, Mapping[str, object]]:
        """The last word on each backup. Torn lines of a crash are passed over."""
        last: dict[str, Mapping[str, object]] = {}
        try:
            with open(self._history(database), encoding="utf-8", errors="replace") as stream:
                lines = stream.readlines()
        except OSError:
            return last
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                entry = json.loads(line)
                last[str(entry["backup"])] = entry
        return last


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
