# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A full backup: snapshot, check beside compression, read back, manifest last."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import checks, record, store
from .capture import SAFE, Capture, capture, staging_folder
from .checks import Outcome, Report
from .config import Database
from .errors import VerificationError
from .files import remove_tree, storage_errors, sync_directory
from .progress import Progress
from .repository import VERIFIED, Backup, Partial, Repository
from .source import identify
from .store import Stored
from .timefmt import duration_text, now

STEPS = (
    "backup: locked",
    "backup: folders made",
    "backup: copied",
    "backup: compressed",
    "backup: read back",
    "backup: checked",
    "backup: staged copy removed",
    "backup: manifest written",
    "backup: committed",
)


@dataclass(frozen=True)
class Intent:
    """What a backup run would do now: take one, or not because a young enough one stands."""

    needed: bool
    reason: str
    newest: Backup | None


def plan(repository: Repository, database: Database, max_age: int | None = None) -> Intent:
    """Whether a backup is due: always without ``max_age`` (seconds), else when the newest verified one is older.

    Changes nothing. Raises SourceError when the source is not there or no database.
    """
    store.require_zstandard()
    identify(database.path)
    newest = repository.catalogue(database.name).newest
    if newest is None or newest.manifest is None:
        return Intent(True, "there is no verified backup yet", None)
    age = (now() - newest.manifest.snapshot).total_seconds()
    text = f"the newest verified backup is {duration_text(max(0.0, age))} old"
    if max_age is None:
        return Intent(True, text, newest)
    # A backup from the future (the clock was set back) is no reason to wait.
    return Intent(not 0 <= age <= max_age, f"{text}, the limit is {duration_text(max_age)}", newest)


def ensure(
    repository: Repository, database: Database, progress: Progress, max_age: int | None = None
) -> tuple[Intent, Backup | None]:
    """Take a full backup if one is due, see plan; what was decided, and the backup that stands for it.

    A backup that another process is taking is waited for, up to the database's deadline, and then counts.
    Raises what take raises.
    """
    intent = plan(repository, database, max_age)
    if not intent.needed:
        return intent, intent.newest
    with _writing(repository, database, progress):
        intent = plan(repository, database, max_age)
        return intent, _take(repository, database, progress) if intent.needed else intent.newest


def take(repository: Repository, database: Database, progress: Progress) -> Backup:
    """Take one full backup and return it as it stands in the repository.

    Waits up to the database's deadline for another process that is taking one. Raises VerificationError when
    the source is damaged (its copy is kept, marked bad), or when what was stored could not be read back;
    SourceError, BusyError, SpaceError, UsageError as their names say.
    """
    store.require_zstandard()
    identify(database.path)
    with _writing(repository, database, progress):
        return _take(repository, database, progress)


@contextlib.contextmanager
def _writing(repository: Repository, database: Database, progress: Progress) -> Iterator[None]:
    with (
        storage_errors(f"Backup of {database.name}", repository.root, SAFE),
        repository.writing(database.name, database.deadline, progress),
    ):
        progress.step("backup: locked")
        yield


def _take(repository: Repository, database: Database, progress: Progress) -> Backup:
    started = now()
    partial = repository.begin(database.name, "full", started)
    with _removed_on_failure(partial.folder):
        with staging_folder(database, partial) as folder:
            progress.step("backup: folders made")
            captured = capture(repository, database, folder, progress)
            progress.step("backup: copied")
            files, read_back, report = _store_and_check(database, partial, captured, progress)
        progress.step("backup: staged copy removed")
        repository.write_manifest(
            partial,
            record.manifest_values(repository, database, partial, started, now(), captured, files, read_back, report),
        )
        progress.step("backup: manifest written")
        repository.commit(partial)
        progress.step("backup: committed")
    return _as_it_stands(repository, database, partial)


def _as_it_stands(repository: Repository, database: Database, partial: Partial) -> Backup:
    catalogue = repository.catalogue(database.name)
    backup = catalogue.find(partial.id)
    if backup is not None and backup.state == VERIFIED:
        return backup
    problem = backup.problem if backup is not None else "it is gone"
    newest = catalogue.newest
    good = f"the newest verified backup is {newest.id}" if newest else "there is no verified backup"
    repair = f"litekeep restore {database.name} --to {newest.id}" if newest else "sqlite3 DAMAGED.db .recover"
    raise VerificationError(
        f"The database {database.path} does not pass its checks: it is damaged",
        expected="a copy that passes integrity_check",
        found=problem,
        safe=f"{good}; the damaged state is kept in {partial.final} and never counts as a restore point",
        next_step=f"stop the application's writes, then: {repair}",
    )


@contextlib.contextmanager
def _removed_on_failure(folder: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        remove_tree(folder)
        raise


def _store_and_check(
    database: Database, partial: Partial, captured: Capture, progress: Progress
) -> tuple[list[Stored], Outcome, Report]:
    """Compress and read back in one thread, run the checks in another; both release the GIL."""
    cancelled = threading.Event()

    def keep() -> tuple[list[Stored], Outcome]:
        files = [
            store.compress(
                path,
                partial.file(os.path.basename(path) + ".zst"),
                database.compression_level,
                progress,
                cancelled,
            )
            for path in captured.files
        ]
        sync_directory(partial.folder)
        progress.step("backup: compressed")
        begun = time.monotonic()
        for path, file in zip(captured.files, files):
            for _block in store.read_back(partial.file(file.name), file, progress, cancelled, path):
                pass
        progress.step("backup: read back")
        return files, Outcome("ok", [], time.monotonic() - begun)

    def examine() -> Report:
        return record.raw_report(captured.damage) if captured.damage else checks.check(captured.files[0], cancelled)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        keeping, examining = pool.submit(keep), pool.submit(examine)
        jobs: list[concurrent.futures.Future[Any]] = [keeping, examining]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        except BaseException:
            cancelled.set()
            raise
    progress.step("backup: checked")
    files, read_back = keeping.result()
    return files, read_back, examining.result()
