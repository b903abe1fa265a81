from __future__ import annotations

import datetime as dt

from litekeep.retention import BACKUP, Item
from litekeep.retentionpolicy import Policy
from litekeep.simulate import simulated

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2026, 11, 22, 2, tzinfo=dt.timezone.utc)
POLICY = Policy(keep_daily=7, keep_weekly=4)


def backups(count: int, every: dt.timedelta = DAY) -> list[Item]:
    return [
        Item(BACKUP, f"b{n}", NOW - n * every, NOW - n * every, sequence=count - n, size=1000) for n in range(count)
    ]


def test_it_goes_on_as_it_did_until_nothing_changes_any_more() -> None:
    days, interval = simulated(backups(3), POLICY, 90 * 86400, None)
    assert (len(days), interval) == (90, 86400)
    assert [day.backups for day in days[:4]] == [4, 5, 6, 7]
    assert {day.backups for day in days[60:]} == {9, 10}
    assert {day.removed for day in days[:2]} == {0}
    assert days[-1].size == 1000 * days[-1].backups
    assert days[-1].oldest is not None
    assert (days[-1].day - days[-1].oldest).days in range(20, 29)


def test_another_interval_can_be_asked_for() -> None:
    days, interval = simulated(backups(3), Policy(keep_last=100), 10 * 86400, 3600)
    assert (interval, days[0].backups, days[-1].backups) == (3600, 27, 100)


def test_without_a_backup_it_begins_with_the_first_one() -> None:
    days, interval = simulated([], POLICY, 5 * 86400, None)
    assert (interval, [day.backups for day in days]) == (86400, [1, 2, 3, 4, 5])


def test_many_years_of_short_intervals_end() -> None:
    days, interval = simulated(backups(3), Policy(keep_last=3), 300 * 86400, 1)
    assert len(days) == 300
    assert interval == 300 * 86400 // 20_000
