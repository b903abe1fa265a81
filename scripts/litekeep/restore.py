# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restore: plan, build beside the target, prove, swap; and the way back."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import checks, planner, sqlitefail, store
from .config import Database
from .errors import NoRestorePointError, UsageError, VerificationError
from .files import remove_tree, require_space, storage_errors, sync, write_blocks
from .fileset import FileSet
from .manifest import Manifest
from .openers import Look, find_openers
from .ownership import Attributes, attributes_from_manifest, attributes_of
from .planner import Choice, Point
from .progress import Progress
from .replay import replay
from .repository import Backup, Repository
from .source import connect
from .swap import BEFORE, FAILED, Swap, quarantines
from .swap import STEPS as SWAP_STEPS
from .swaprecovery import is_swapped, recover
from .timefmt import to_text
from .workspace import BUILDING, READY, Journal, Workspace

STEPS = (
    "restore: workspace made",
    "restore: built",
    "restore: proven",
    *SWAP_STEPS,
    "restore: workspace removed",
)
SAFE = "the database in place is as it was; the backups stand"


@dataclass(frozen=True)
class Plan:
    """What a restore would do. target: resolved path. in_use: who has it open now."""

    point: Point
    target: str
    replaces: tuple[str, ...]
    in_use: Look
    prepared: bool

    @property
    def backup(self) -> Backup:
        """The backup that is restored, and that the archive brings forward."""
        return self.point.backup

    @property
    def manifest(self) -> Manifest:
        """The manifest of the chosen backup; a restore point always has one."""
        if self.backup.manifest is None:
            raise VerificationError(f"The backup {self.backup.id} has no manifest")
        return self.backup.manifest

    @property
    def size(self) -> int:
        """Bytes that the restored file takes while it is built."""
        last = self.point.segments[-1] if self.point.segments else None
        return max(self.manifest.size, last.pages * last.page_size if last else 0)


@dataclass(frozen=True)
class Restored:
    """What a restore or a rollback did.

    quarantine: where the replaced files are, empty when there were none. notes: what the operator should know,
    for example what an interrupted restore had left.
    """

    target: str
    point: str
    quarantine: str
    notes: tuple[str, ...]
    swapped: bool = True


def plan(
    repository: Repository,
    database: Database,
    to: str = "latest",
    target: str | None = None,
    nearest: bool = False,
    timeline: str | None = None,
) -> Plan:
    """Choose the restore point and look at the target. Changes nothing.

    target: another path than the database's own; nothing may stand there. nearest, timeline: see planner.Choice.
    Raises NoRestorePointError, VerificationError, UsageError.
    """
    store.require_zstandard()
    place = os.path.realpath(database.path if target is None else target)
    # The timelines first: a base that is younger than what was read of them would hang on nothing.
    timelines = repository.timelines(database.name)
    point = planner.choose(Choice(repository.catalogue(database.name), timelines, nearest, timeline), to)
    present = FileSet(place).present()
    if target is not None and present and place != os.path.realpath(database.path):
        raise UsageError(
            f"{place} already exists",
            expected="a free path; only the database's own place is replaced",
            found=", ".join(place + suffix for suffix in present),
            safe="nothing was changed",
            next_step="choose another --target, or move these files away first",
        )
    if os.path.isdir(place):
        raise UsageError(f"{place} is a directory", expected="the path of a file", safe="nothing was changed")
    workspace = Workspace(place)
    prepared = is_prepared(workspace, point.id)
    return Plan(point, place, tuple(place + suffix for suffix in present), find_openers(place), prepared)


def prepare(repository: Repository, database: Database, chosen: Plan, progress: Progress) -> Restored:
    """Build and prove the restored file beside the target, which stays in use; ``restore`` will swap it in.

    Raises SpaceError, VerificationError, BusyError; the target is as it was.
    """
    with at_work(chosen.target, "Restore") as workspace:
        notes = _build(repository, database, chosen, workspace, progress)
        return Restored(chosen.target, chosen.point.id, "", tuple(notes), swapped=False)


def restore(repository: Repository, database: Database, chosen: Plan, progress: Progress) -> Restored:
    """Build, prove and swap. The old files stay in quarantine.

    Raises InUseError when a process has the target open, and what ``prepare`` raises; then the target is as it was.
    """
    with at_work(chosen.target, "Restore") as workspace:
        notes = _build(repository, database, chosen, workspace, progress)
        if chosen.in_use.hidden:
            notes.append(f"{chosen.in_use.hidden} processes of other users could not be looked into")
        return install(workspace, repository, database, notes, progress)


def install(
    workspace: Workspace, repository: Repository, database: Database, notes: Sequence[str], progress: Progress
) -> Restored:
    """Swap in what stands proven in the workspace, and remove that. Raises InUseError."""
    journal = workspace.read()
    swap = Swap(workspace, units(database), lambda path: prove(path, journal.fingerprint), progress)
    quarantine = swap.run(journal, BEFORE)
    if workspace.target == os.path.realpath(database.path):
        repository.record_restore(database.name, journal.backup, workspace.target)
    workspace.remove()
    progress.step("restore: workspace removed")
    return Restored(workspace.target, journal.backup, quarantine, tuple(notes))


def units(database: Database) -> tuple[str, ...]:
    """The services that must be stopped for a swap, the archiver of this database included."""
    return database.services + ((f"litekeep-archive@{database.name}.service",) if database.archive else ())


def prepared_workspace(database: Database, target: str | None = None) -> str:
    """The folder that a prepared restore of the target waits in; empty when there is none."""
    workspace = Workspace(os.path.realpath(database.path if target is None else target))
    return workspace.folder if os.path.isdir(workspace.folder) else ""


def discard(database: Database, target: str | None = None) -> None:
    """Give up a prepared restore: what an interrupted swap moved is put back, and the folder goes.

    Raises BusyError when a restore is at work in it.
    """
    if prepared_workspace(database, target):
        with at_work(os.path.realpath(database.path if target is None else target), "Restore") as workspace:
            recover(workspace)
            workspace.remove()


def last_quarantine(database: Database, target: str | None = None) -> str:
    """The folder with what the last restore replaced. NoRestorePointError when there is none."""
    place = os.path.realpath(database.path if target is None else target)
    found = quarantines(place) if os.path.isdir(os.path.dirname(place)) else []
    if found:
        return found[-1]
    raise NoRestorePointError(
        f"There is nothing to roll back at {place}",
        expected=f"a folder {place}{BEFORE}TIME",
        safe="nothing was changed",
        next_step=f"litekeep list {database.name}, then restore an older backup with --to ID",
    )


def rollback(database: Database, progress: Progress, target: str | None = None) -> Restored:
    """Put back what the last restore of the target replaced; what it had put there goes into quarantine.

    Raises NoRestorePointError when no former restore left anything, InUseError when the target is open.
    """
    place = os.path.realpath(database.path if target is None else target)
    with at_work(place, "Rollback") as workspace:
        interrupted = workspace.read()
        done = bool(interrupted.rollback_of) and is_swapped(workspace, interrupted)
        notes = [note for note in (recover(workspace),) if note]
        folder = interrupted.rollback_of if done else last_quarantine(database, target)
        kept = FileSet(os.path.join(folder, os.path.basename(place)))
        quarantine = interrupted.quarantine
        if not done:
            workspace.empty()
            bring_back(kept, workspace)
            journal = Journal(backup=f"the files in {folder}", rollback_of=folder)
            quarantine = Swap(workspace, units(database), lambda _path: None, progress).run(journal, FAILED)
        # What stands in place again needs no second name; where SQLite had to settle it first, the raw files stay.
        if not os.path.exists(kept.path) or os.path.samefile(kept.path, place):
            remove_tree(folder)
        workspace.remove()
        progress.step("restore: workspace removed")
        return Restored(place, os.path.basename(folder), quarantine, tuple(notes))


def bring_back(kept: FileSet, workspace: Workspace) -> None:
    """Put a quarantined set into the workspace, as one whole file where SQLite can make it one."""
    if "" not in kept.present():
        raise NoRestorePointError(
            f"{os.path.dirname(kept.path)} holds no database",
            found=", ".join(kept.sidecars()) or "nothing",
            safe="nothing was changed",
            next_step="restore a backup instead: litekeep list, litekeep restore",
        )
    if not kept.is_whole_by_itself():
        with contextlib.suppress(sqlitefail.DamagedError):
            kept.settle_into(workspace.new)
            return
        for suffix in FileSet(workspace.new).present():
            os.unlink(workspace.new + suffix)
        for suffix in kept.sidecars():
            os.link(kept.path + suffix, workspace.new + suffix)
    os.link(kept.path, workspace.new)


@contextlib.contextmanager
def at_work(target: str, what: str) -> Iterator[Workspace]:
    """The locked workspace of a target. After a failure the target is whole and the workspace gone."""
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise UsageError(
            f"The directory {directory} does not exist",
            safe="nothing was changed",
            next_step=f"install the application first, or: mkdir -p {directory}",
        )
    workspace = Workspace(target)
    with storage_errors(f"{what} of {target}", directory, SAFE), workspace.locked():
        try:
            yield workspace
        except BaseException:
            recover(workspace)
            workspace.remove()
            raise


def _build(
    repository: Repository, database: Database, chosen: Plan, workspace: Workspace, progress: Progress
) -> list[str]:
    """Make the proven file, unless an earlier ``prepare`` left it ready. Returns notes."""
    notes = [note for note in (recover(workspace),) if note]
    if is_prepared(workspace, chosen.point.id):
        return notes
    workspace.empty()
    journal = Journal(BUILDING, chosen.point.id)
    workspace.write(journal)
    progress.step("restore: workspace made")
    manifest = chosen.manifest
    require_space({workspace.folder: chosen.size}, SAFE)
    with repository.lease(database.name, progress=progress):
        if not os.path.isdir(chosen.backup.folder):
            raise NoRestorePointError(
                f"The backup {chosen.backup.id} has gone since it was chosen",
                found="retention removed it",
                safe=SAFE,
                next_step=f"litekeep list {database.name}, then choose another one",
            )
        file, point = manifest.files[0], chosen.point
        base = store.read_back(os.path.join(chosen.backup.folder, file.name), file, progress, twice=False)
        if point.end is not None and point.segments:
            write_base = functools.partial(write_blocks, base, workspace.new, sync=False)
            replay(workspace.new, write_base, point.segments, point.end, progress)
            journal.fingerprint = _checked(workspace.new, chosen, notes)
        else:
            write_blocks(base, workspace.new)
            journal.fingerprint = fingerprint_in(manifest)
    notes += _attributes(chosen, workspace.target).apply(workspace.new)
    progress.step("restore: built")
    mark_proven(workspace, journal.backup, journal.fingerprint)
    progress.step("restore: proven")
    return notes


def mark_proven(workspace: Workspace, label: str, fingerprint: dict[str, object]) -> None:
    """Write down that the workspace's new file may take the target's place. Raises VerificationError."""
    prove(workspace.new, fingerprint)
    workspace.write(Journal(READY, label, built=_built(workspace), fingerprint=fingerprint))


def _checked(path: str, chosen: Plan, notes: list[str]) -> dict[str, object]:
    """Check what the archive changed; its fingerprint. Notes get what does not keep it from being a sound database."""
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        syncing = beside.submit(sync, path)
        report = checks.check(path, threading.Event())
        syncing.result()
    if not report.passed or report.fingerprint is None:
        raise VerificationError(
            f"The state of {chosen.target} at {to_text(chosen.point.recovered)} does not pass its checks",
            expected="integrity_check answers ok",
            found="; ".join(report.integrity.messages[:3]),
            safe=SAFE,
            next_step="the database was damaged at that moment already: choose an earlier one with --to TIME",
        )
    notes += [f"foreign key violations in {message}" for message in report.foreign_keys.messages]
    return fingerprint_values(report.fingerprint)


def _attributes(chosen: Plan, target: str) -> Attributes:
    """Those of the file in place; where there is none, those recorded with the backup."""
    if os.path.exists(target):
        return attributes_of(target)
    return attributes_from_manifest(chosen.manifest.part("source"), os.path.dirname(target))


def fingerprint_in(manifest: Manifest) -> dict[str, object]:
    """What a restored backup must show, from its manifest."""
    source = manifest.part("source")
    return {
        "application_id": source.get("application_id"),
        "user_version": source.get("user_version"),
        "schema_sha256": source.get("schema_sha256"),
        "page_size": manifest.values.get("page_size"),
        "page_count": manifest.values.get("page_count"),
    }


def fingerprint_values(found: checks.Fingerprint) -> dict[str, object]:
    """The same keys, of a database that was looked at."""
    return {
        "application_id": found.application_id,
        "user_version": found.user_version,
        "schema_sha256": found.schema_sha256,
        "page_size": found.page_size,
        "page_count": found.page_count,
    }


def prove(path: str, expected: Mapping[str, object]) -> None:
    """Open the file by itself and compare its fingerprint; its bytes were proven while it was written.

    Raises VerificationError, also when a sidecar stands beside it: SQLite would replay it over the restored state.
    """
    sidecars = FileSet(path).sidecars()
    if sidecars:
        raise VerificationError(
            f"Beside the restored {path} stand files of another database",
            expected="none",
            found=", ".join(path + suffix for suffix in sidecars),
            safe=SAFE,
            next_step="stop what writes there, then run the same command again",
        )
    with contextlib.closing(connect(path, immutable=True)) as connection:
        try:
            fingerprint = fingerprint_values(checks.fingerprint_of(connection, count_rows=False))
        except sqlite3.Error as problem:
            fingerprint = dict.fromkeys(expected, str(problem))
    different = [key for key, value in expected.items() if fingerprint[key] != value]
    if different:
        raise VerificationError(
            f"The restored {path} is not what was stored",
            expected=", ".join(f"{key} {expected[key]}" for key in different),
            found=", ".join(f"{key} {fingerprint[key]}" for key in different),
            safe=SAFE,
            next_step="run: litekeep verify --all, and restore another backup with --to ID",
        )


def _built(workspace: Workspace) -> list[int]:
    found = os.stat(workspace.new)
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def is_prepared(workspace: Workspace, point: str) -> bool:
    """Whether a proven file of that restore point waits in the workspace, untouched since."""
    journal = workspace.read()
    if journal.phase != READY or journal.backup != point or not os.path.exists(workspace.new):
        return False
    return journal.built == _built(workspace)
