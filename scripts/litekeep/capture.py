# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a live database to a staged copy that nobody else touches, with a description of its source."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass

from . import sqlitefail
from .config import Database
from .errors import UsageError
from .files import remove_tree, require_space
from .progress import Progress
from .repository import PARTIAL, Partial, Repository
from .snapshot import copy_raw, copy_snapshot
from .source import identify, open_source
from .timefmt import now

SAFE = "the database is untouched; earlier backups stand"


@dataclass(frozen=True)
class Capture:
    """The staged copy and what the source was when it was taken.

    files: the database; for a raw copy also its -wal or -journal. wal: the snapshot's place in the WAL, when
    known. timeline: the one that an archiver was writing. damage: why SQLite could not read the source and its
    bytes were copied raw; empty otherwise.
    """

    files: list[str]
    source: dict[str, object]
    wal: dict[str, object] | None
    taken: dt.datetime
    damage: str
    timeline: str | None = None


@contextlib.contextmanager
def staging_folder(database: Database, partial: Partial) -> Iterator[str]:
    """A private folder for the uncompressed copy; leftovers of this database's killed backups go first."""
    if database.staging is None:
        folder = partial.file("staging")
    else:
        if not os.path.isdir(database.staging):
            raise UsageError(
                f"The staging directory {database.staging} of {database.name} does not exist",
                safe=SAFE,
                next_step=f"mkdir -m 700 {database.staging}, or correct the key staging",
            )
        prefix = f"{PARTIAL}{database.name}@"
        for entry in os.listdir(database.staging):
            if entry.startswith(prefix):
                remove_tree(os.path.join(database.staging, entry))
        folder = os.path.join(database.staging, prefix + partial.id)
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        remove_tree(folder)


def capture(repository: Repository, database: Database, folder: str, progress: Progress) -> Capture:
    """Copy one committed state of the database into ``folder``; its raw bytes when SQLite cannot read it.

    Raises SourceError, BusyError, SpaceError.
    """
    staged = os.path.join(folder, "database.db")
    try:
        return _snapshot(repository, database, staged, progress)
    except sqlitefail.DamagedError as problem:
        remove_tree(staged)
        return _raw(repository, database, staged, progress, str(problem))


def _snapshot(repository: Repository, database: Database, staged: str, progress: Progress) -> Capture:
    with open_source(database.path, database.deadline) as source:
        taken, timeline = now(), repository.current_timeline(database.name)
        _require_space(repository, database, staged, source.size)
        copy_snapshot(source, staged, database.deadline, progress)
        if not source.connection.in_transaction:
            # Without the transaction the copied state is the last one, not the one at the start.
            taken = now()
        described = {**source.identity.to_json(), "journal_mode": source.journal_mode}
        wal = source.wal.to_json() if source.wal else None
        return Capture([staged], described, wal, taken, "", timeline)


def _raw(repository: Repository, database: Database, staged: str, progress: Progress, damage: str) -> Capture:
    identity = identify(database.path)
    taken = now()
    _require_space(repository, database, staged, identity.size)
    files = copy_raw(identity.path, staged, progress)
    return Capture(files, {**identity.to_json(), "journal_mode": None}, None, taken, damage)


def _require_space(repository: Repository, database: Database, staged: str, size: int) -> None:
    """Staging takes the whole database; the stored size is guessed from the newest backup, else half."""
    newest = repository.catalogue(database.name).newest
    ratio = 0.5
    if newest is not None and newest.manifest is not None:
        ratio = min(1.0, 1.2 * newest.manifest.stored_size / max(1, newest.manifest.size))
    require_space({os.path.dirname(staged): size, repository.folder(database.name): int(size * ratio)}, SAFE)
