# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which restore point answers a request. Pure: a catalogue in, a choice or a refusal out."""

from __future__ import annotations

from . import timefmt
from .errors import NoRestorePointError, UsageError, VerificationError
from .repository import DAMAGED, VERIFIED, Backup, Catalogue
from .timefmt import NO_OFFSET, size_text, to_text


def choose(catalogue: Catalogue, to: str) -> Backup:
    """The backup that ``to`` means: ``latest`` (the newest restore point) or a backup's id.

    Raises NoRestorePointError (nothing there, unknown id, a point in time), VerificationError (the backup
    is there and does not count), UsageError (a time without an offset).
    """
    if to == "latest":
        return _latest(catalogue)
    backup = catalogue.find(to)
    if backup is None:
        raise _unknown(catalogue, to)
    if backup.state != VERIFIED:
        raise VerificationError(
            f"The backup {backup.id} of {catalogue.database} is no restore point: {backup.state}",
            expected="a verified backup",
            found=backup.problem,
            safe=f"nothing was changed; restore points: {_listed(catalogue)}",
            next_step=_inspect(backup),
        )
    return backup


def _latest(catalogue: Catalogue) -> Backup:
    if catalogue.newest is not None:
        return catalogue.newest
    others = ", ".join(f"{backup.id} ({backup.state})" for backup in catalogue.backups) or "none"
    raise NoRestorePointError(
        f"There is no restore point of {catalogue.database}",
        expected="at least one verified backup",
        found=f"backups: {others}",
        safe="nothing was changed",
        next_step=f"check --repository and the host's name, then: litekeep list {catalogue.database}",
    )


def _unknown(catalogue: Catalogue, to: str) -> NoRestorePointError | UsageError:
    try:
        moment = timefmt.from_text(to)
    except ValueError as problem:
        if str(problem) == NO_OFFSET:
            return UsageError(
                f"The time {to} has no offset from UTC",
                expected="for example 2026-11-22T02:00:00Z or 2026-11-22T03:00:00+01:00",
                safe="nothing was changed",
                next_step="add the offset",
            )
        return NoRestorePointError(
            f"{catalogue.database} has no backup {to!r}",
            expected=f"latest, or one of: {_listed(catalogue)}",
            safe="nothing was changed",
            next_step=f"litekeep list {catalogue.database}",
        )
    points = catalogue.restore_points
    before = [point for point in points if point.manifest and point.manifest.snapshot <= moment]
    after = [point for point in points if point.manifest and point.manifest.snapshot > moment]
    return NoRestorePointError(
        f"{catalogue.database} cannot be restored to {to_text(moment)}",
        expected="a moment that a backup holds; between two backups nothing is recorded",
        found=f"before it: {before[-1].id if before else 'none'}; after it: {after[0].id if after else 'none'}",
        safe="nothing was changed",
        next_step="choose one of these two with --to ID",
    )


def _inspect(backup: Backup) -> str:
    if backup.state == DAMAGED:
        return f"after mending the storage: litekeep verify --backup {backup.id}; else choose another with --to ID"
    if backup.manifest is None:
        return "choose another with --to ID"
    file = backup.manifest.files[0]
    return (
        f"choose another with --to ID; to look inside: zstd -d {backup.folder}/{file.name} -o /tmp/damaged.db"
        f" ({size_text(file.size)}), then sqlite3 /tmp/damaged.db .recover"
    )


def _listed(catalogue: Catalogue) -> str:
    ids = [backup.id for backup in reversed(catalogue.restore_points)]
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} older" if len(ids) > 5 else "") or "none"
