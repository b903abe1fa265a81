from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from litekeep import repository
from litekeep.errors import NoRestorePointError, UsageError, VerificationError
from litekeep.manifest import Manifest
from litekeep.planner import Choice, Point, choose
from litekeep.repository import Backup, Catalogue
from litekeep.store import Stored

FIRST = dt.datetime(2026, 11, 20, 2, tzinfo=dt.timezone.utc)


def made(day: int, state: str = repository.VERIFIED, readable: bool = True) -> Backup:
    moment = FIRST + dt.timedelta(days=day)
    name = f"day-{day}"
    manifest = Manifest({}, name, "full", day + 1, moment, True, (Stored("database.db.zst", 9000, "", 5, ""),))
    problem = "" if state == repository.VERIFIED else f"{state} because"
    return Backup(name, f"/repo/{name}", state, problem, manifest if readable else None, None)


def catalogue(*backups: Backup) -> Catalogue:
    return Catalogue("events", backups)


def chosen(found: Catalogue, to: str, **how: Any) -> Point:
    return choose(Choice(found, (), **how), to)


def refused(found: Catalogue, to: str, kind: type[Any]) -> Any:
    with pytest.raises(kind) as caught:
        chosen(found, to)
    return caught.value


def test_latest_is_the_newest_that_counts() -> None:
    found = catalogue(made(0), made(1), made(2, repository.BAD_SOURCE), made(3, repository.DAMAGED))
    assert chosen(found, "latest").id == "day-1"


def test_a_backup_is_had_by_its_id() -> None:
    found = chosen(catalogue(made(0), made(1)), "day-0")
    assert (found.id, found.backup, found.recovered) == ("day-0", made(0), FIRST)
    assert (found.segments, found.end, found.timeline) == ((), None, None)
    assert found.next == FIRST + dt.timedelta(days=1)


def test_nothing_to_restore_names_what_is_there_and_why_it_does_not_count() -> None:
    assert refused(catalogue(), "latest", NoRestorePointError).found == "backups: none"
    found = refused(catalogue(made(0, repository.BAD_SOURCE)), "latest", NoRestorePointError)
    assert found.found == "backups: day-0 (bad source)"


def test_an_unknown_id_is_answered_with_the_newest_known_ones() -> None:
    found = refused(catalogue(*(made(day) for day in range(8))), "day-9", NoRestorePointError)
    assert found.expected.startswith("latest, a time such as ")
    assert found.expected.endswith(", or one of: day-7, day-6, day-5, day-4, day-3 and 3 older")
    assert refused(catalogue(), "day-9", NoRestorePointError).expected.endswith("none")


@pytest.mark.parametrize(
    ("state", "readable", "hint"),
    [
        (repository.BAD_SOURCE, True, "zstd -d /repo/day-1/database.db.zst"),
        (repository.DAMAGED, True, "litekeep verify --backup day-1"),
        (repository.UNREADABLE, False, "choose another"),
        (repository.NEWER, False, "choose another"),
    ],
)
def test_a_backup_that_does_not_count_is_refused_with_its_reason(state: str, readable: bool, hint: str) -> None:
    found = refused(catalogue(made(0), made(1, state, readable)), "day-1", VerificationError)
    assert (found.found, state in found.what) == (f"{state} because", True)
    assert hint in found.next_step
    assert "day-0" in found.safe


def test_the_way_to_look_inside_a_bad_one_ends_with_a_copy_of_its_own() -> None:
    found = refused(catalogue(made(0, repository.BAD_SOURCE)), "day-0", VerificationError)
    assert "-o /tmp/damaged.db" in found.next_step
    assert found.safe.endswith("none")


@pytest.mark.parametrize(
    ("to", "before", "ago", "after", "why"),
    [
        ("2026-11-21T14:00:00Z", "2026-11-21T02:00:00.000Z", "12 h", "2026-11-22T02:00:00.000Z", "two backups"),
        ("2026-11-19T14:00:00Z", "none", "", "2026-11-20T02:00:00.000Z", "before the first restore point"),
        ("9999-12-01T00:00:00+05:30", "2026-11-22T02:00:00.000Z", "2912", "none", "in the future"),
    ],
)
def test_a_moment_between_two_backups_is_refused_with_both_neighbours(
    to: str, before: str, ago: str, after: str, why: str
) -> None:
    found = refused(catalogue(made(0), made(1), made(2)), to, NoRestorePointError)
    assert found.found.startswith(f"before it: {before}" + (f" ({ago}" if ago else ";"))
    assert found.found.endswith(f"; after it: {after}")
    assert ("--nearest takes it" in found.found) is bool(ago)
    assert why in found.what
    for moment in {before, after} - {"none"}:
        assert f"litekeep restore events --to {moment}" in found.next_step


def test_neighbours_are_only_those_that_count() -> None:
    points = catalogue(made(0), made(1, repository.DAMAGED), made(2))
    found = refused(points, "2026-11-21T14:00:00Z", NoRestorePointError)
    assert found.found.startswith("before it: 2026-11-20T02:00:00.000Z ")
    assert found.found.endswith("; after it: 2026-11-22T02:00:00.000Z")


def test_a_moment_without_an_offset_is_a_usage_error() -> None:
    assert "add the offset" in refused(catalogue(made(0)), "2026-11-21T14:00:00", UsageError).next_step


@pytest.mark.parametrize("to", ["0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z", "yesterday", "", "../day-0"])
def test_a_word_that_is_neither_id_nor_time_is_no_restore_point(to: str) -> None:
    refused(catalogue(made(0)), to, NoRestorePointError)


def test_an_offset_that_cannot_be_is_not_told_as_a_missing_one() -> None:
    refused(catalogue(made(0)), "2026-11-22T02:00:00+25:00", NoRestorePointError)
