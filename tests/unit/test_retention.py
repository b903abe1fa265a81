from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litekeep.errors import UsageError
from litekeep.repository import BAD_SOURCE, DAMAGED, NEWER, UNREADABLE, VERIFIED
from litekeep.retention import ARCHIVE, BACKUP, Decision, Hold, Item, decide
from litekeep.retentionpolicy import Policy, policy_from

UTC = dt.timezone.utc
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
NOW = dt.datetime(2026, 11, 22, 3, tzinfo=UTC)
LATER = dt.datetime(2030, 1, 1, tzinfo=UTC)


def backup(moment: dt.datetime, state: str = VERIFIED, **more: object) -> Item:
    return Item(BACKUP, f"{moment:%Y%m%dT%H%M%S}", moment, moment, state, **more)  # type: ignore[arg-type]


def part(start: dt.datetime, end: dt.datetime, *bases: Item, state: str = "ended") -> Item:
    return Item(ARCHIVE, f"{start:%Y%m%dT%H%M%S}", start, end, state, bases=tuple(base.id for base in bases))


def nights(count: int, last: dt.datetime = NOW - HOUR) -> list[Item]:
    """Backups of so many nights, oldest first."""
    return [backup(last - n * DAY) for n in reversed(range(count))]


def kept(decisions: list[Decision]) -> set[str]:
    return {decision.item.id for decision in decisions if decision.keep}


def reasons(decisions: list[Decision], item: Item) -> str:
    return "; ".join(next(decision.reasons for decision in decisions if decision.item is item))


# What restic 0.14.0 keeps (`restic forget --dry-run --json`) of snapshots made with `restic backup --time`: hours, UTC.
RESTIC = json.loads(Path(__file__).with_name("restic_forget.json").read_text())
SCHEDULES = {
    "daily": [dt.datetime(2026, 1, 10, 2, tzinfo=UTC) + n * DAY for n in range(40)],
    "six hours": [dt.datetime(2026, 3, 1, 1, tzinfo=UTC) + 6 * n * HOUR for n in range(30)],
    "sundays": [dt.datetime(2025, 9, 7, 12, tzinfo=UTC) + 7 * n * DAY for n in range(12)],
    "outage": [dt.datetime(2026, 5, 1, 2, tzinfo=UTC) + n * DAY for n in (*range(5), *range(25, 32))],
    "year end": [dt.datetime(2025, 12, 20, 23, tzinfo=UTC) + n * DAY for n in range(20)],
}
EXAMPLES = [(schedule, words) for schedule, policies in RESTIC.items() for words in policies]


def policy_of(words: str) -> Policy:
    """Of options such as ``--keep-daily 4``."""
    pairs = zip(*[iter(words.split())] * 2)
    values = {name[2:].replace("-", "_"): value for name, value in pairs}
    counts = {name: value if name == "keep_within" else int(value) for name, value in values.items()}
    return policy_from({**counts, "min_verified": 1}, "retention")


def kept_hours(schedule: str, words: str) -> list[str]:
    """Without what keeps a window whole: the peers have no such rule."""
    decisions = decide(policy_of(words), map(backup, SCHEDULES[schedule]), LATER)
    found = [d.item.start for d in decisions if d.keep and d.reasons != ("keep_within: the one before it",)]
    return [f"{moment:%Y-%m-%dT%H}" for moment in found]


@pytest.mark.parametrize(("schedule", "words"), EXAMPLES)
def test_the_same_stays_as_with_restic(schedule: str, words: str) -> None:
    assert kept_hours(schedule, words) == RESTIC[schedule][words]


def proxmox(moments: list[dt.datetime], words: str) -> list[str]:
    """Proxmox Backup Server's documentation, "Maintenance Tasks", Pruning: the options in order, and each considers
    only what is older than what the one before it covers."""
    stays: dict[dt.datetime, str] = {}
    names = {
        "--keep-last": "%Y-%m-%dT%H:%M:%S",
        "--keep-hourly": "%Y-%m-%dT%H",
        "--keep-daily": "%Y-%m-%d",
        "--keep-weekly": "%G-%V",
        "--keep-monthly": "%Y-%m",
        "--keep-yearly": "%Y",
    }
    options = dict(zip(*[iter(words.split())] * 2))
    for option, form in names.items():
        covered = {f"{moment:{form}}" for moment in stays}
        found: list[str] = []
        for moment in sorted(moments, reverse=True):
            period = f"{moment:{form}}"
            if period in covered or period in found or len(found) == int(options.get(option, 0)):
                continue
            found.append(period)
            stays[moment] = option
    return [f"{moment:%Y-%m-%dT%H}" for moment in sorted(stays)]


@pytest.mark.parametrize(("schedule", "words"), [e for e in EXAMPLES if e[1].count("--") == 1 and "within" not in e[1]])
def test_a_single_rule_means_the_same_as_for_proxmox(schedule: str, words: str) -> None:
    assert kept_hours(schedule, words) == proxmox(SCHEDULES[schedule], words)


def test_rules_are_ored_and_not_put_one_after_the_other_as_proxmox_does() -> None:
    words = "--keep-last 2 --keep-daily 3"
    assert len(kept_hours("daily", words)) == 3
    assert len(proxmox(SCHEDULES["daily"], words)) == 5


def test_only_verified_backups_count() -> None:
    items = nights(10)
    items[-1] = replace(items[-1], state=BAD_SOURCE)
    items[-2] = replace(items[-2], state=DAMAGED)
    decisions = decide(Policy(keep_last=3, min_verified=1), items, NOW)
    assert kept(decisions) == {item.id for item in items[-5:]}
    assert reasons(decisions, items[-1]) == "bad source, and nothing newer is verified"
    assert reasons(decisions, items[-3]) == "keep_last 1 of 3; min_verified 1 of 1"


def test_what_did_not_pass_is_evidence_for_a_month() -> None:
    items = nights(60)
    items[3] = replace(items[3], state=DAMAGED)
    items[40] = replace(items[40], state=DAMAGED)
    decisions = decide(Policy(keep_last=1), items, NOW)
    assert reasons(decisions, items[40]) == "damaged: kept 30 days as evidence"
    assert reasons(decisions, items[3]) == f"damaged; the newer {items[-1].id} is verified"
    assert items[3].id not in kept(decisions)


@pytest.mark.parametrize("state", [UNREADABLE, NEWER])
def test_what_cannot_be_understood_stays(state: str) -> None:
    items = nights(60)
    items[0] = replace(items[0], state=state)
    assert items[0].id in kept(decide(Policy(keep_last=1), items, NOW))


def test_without_a_verified_backup_everything_stays() -> None:
    items = [replace(item, state=DAMAGED) for item in nights(60)]
    assert kept(decide(Policy(keep_last=1), items, NOW)) == {item.id for item in items}


def test_an_outage_or_a_clock_that_jumps_ahead_takes_nothing_away() -> None:
    items = nights(30)
    policy = Policy(keep_within=7 * 86400, keep_daily=10)
    assert kept(decide(policy, items, NOW)) == kept(decide(policy, items, NOW + 3000 * DAY))


def test_a_backup_of_a_wrong_clock_is_no_measure() -> None:
    items = nights(30)
    wrong = backup(NOW + 3000 * DAY)
    policy = Policy(keep_within=7 * 86400)
    decisions = decide(policy, [*items, wrong], NOW)
    assert kept(decisions) == kept(decide(policy, items, NOW)) | {wrong.id}
    assert "a clock was wrong" in reasons(decisions, wrong)


def test_a_window_keeps_one_restore_point_older_than_itself() -> None:
    items = [backup(NOW - n * DAY) for n in (100, 90, 5, 3, 1)]
    decisions = decide(Policy(keep_within=7 * 86400, min_verified=1), items, NOW)
    assert kept(decisions) == {item.id for item in items[1:]}
    assert reasons(decisions, items[1]) == "keep_within: the one before it"


def test_pins_and_parents_stay() -> None:
    items = nights(30)
    items[4] = replace(items[4], parent=items[2].id)
    items[2] = replace(items[2], parent=items[0].id)
    decisions = decide(Policy(keep_last=2), items, NOW, pins=[items[4].id])
    assert kept(decisions) == {items[n].id for n in (0, 2, 4, 28, 29)}
    assert reasons(decisions, items[0]) == f"parent of {items[2].id}"


def test_the_archive_of_the_window_stays_with_the_base_before_it() -> None:
    items = nights(30)
    old = part(items[0].start, items[9].start + HOUR, *items[0:10])
    recent = part(items[10].start, NOW, *items[10:], state="running")
    decisions = decide(Policy(keep_last=1, archive_window=5 * 86400, min_verified=1), [*items, old, recent], NOW)
    assert kept(decisions) == {recent.id, items[-1].id, items[-6].id}
    assert reasons(decisions, items[-6]) == f"archive_window: the archive {recent.id} hangs on it"
    assert reasons(decisions, old).startswith("ended 2026-11-02T03:00:00.000Z: before the archive_window")


def test_an_archive_that_stopped_long_ago_is_measured_by_its_own_end() -> None:
    items = nights(10)
    ended = part(items[2].start, items[4].start, items[2])
    decisions = decide(Policy(keep_last=2, archive_window=86400), [*items, ended], NOW)
    assert ended.id not in kept(decisions)
    assert ended.id in kept(decide(Policy(keep_last=2, archive_window=8 * 86400), [*items, ended], NOW))


def test_an_archive_without_a_base_goes_when_it_has_ended() -> None:
    items = nights(3)
    ended, running = part(NOW - DAY, NOW - HOUR), part(NOW - HOUR, NOW, state="stopped")
    decisions = decide(Policy(keep_last=2), [*items, ended, running], NOW)
    assert reasons(decisions, ended) == "no verified backup hangs on it: nothing can be restored with it"
    assert reasons(decisions, running) == "it may go on"


def test_a_hold_keeps_every_moment_in_it() -> None:
    items = nights(40)
    old = part(items[0].start, items[12].start, *items[0:12])
    hold = Hold("case-7", items[5].start + HOUR, items[8].start + HOUR)
    decisions = decide(Policy(keep_last=1), [*items, old], NOW, holds=[hold])
    assert kept(decisions) == {old.id, *(items[n].id for n in (5, 6, 7, 8, 38, 39))}
    assert (
        reasons(decisions, items[5]) == f"hold case-7: the archive {old.id} hangs on it; hold case-7: the one before it"
    )


STATES = [VERIFIED] * 8 + [BAD_SOURCE, DAMAGED, UNREADABLE]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Item], dt.datetime]:
    """Backups by a timer that fails, under a clock that jumps; and timelines that hang on some of them."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    every = rng.choice([HOUR, 6 * HOUR, DAY, 7 * DAY])
    moment, items, parts, bases = NOW - 300 * DAY, [], [], []
    begun = moment
    for sequence in range(draw(st.integers(0, 60))):
        moment += every * rng.choice([1] * 10 + [0, 20])
        if rng.random() < 0.04:
            moment += rng.choice([-1, 1]) * rng.choice([HOUR, 40 * DAY, 4000 * DAY])
            moment = max(moment, dt.datetime(1990, 1, 1, tzinfo=UTC))
        item = Item(BACKUP, f"b{sequence}", moment, moment, rng.choice(STATES), sequence)
        if items and rng.random() < 0.3:
            item = replace(item, parent=items[-1].id)
        items.append(item)
        if item.state == VERIFIED:
            bases.append(item)
        if rng.random() < 0.2:
            parts.append(
                Item(ARCHIVE, f"t{sequence}", begun, moment, "ended", sequence, bases=tuple(b.id for b in bases))
            )
            begun, bases = moment, []
    parts.append(
        Item(ARCHIVE, "last", begun, moment, rng.choice(["running", "stopped"]), 99, bases=tuple(b.id for b in bases))
    )
    return items + parts, moment + HOUR


POLICIES = st.builds(
    Policy,
    **{rule: st.integers(0, 5) for rule in ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly")},
    keep_within=st.integers(0, 20 * 86400),
    archive_window=st.integers(0, 20 * 86400),
    min_verified=st.integers(1, 5),
).filter(lambda policy: policy.rules)


@settings(max_examples=400, deadline=None)
@given(histories(), POLICIES, st.data())
def test_whatever_happened_nothing_goes_that_is_needed(
    history: tuple[list[Item], dt.datetime], policy: Policy, data: st.DataObject
) -> None:
    items, now = history
    backups = [item for item in items if item.kind == BACKUP]
    pins = data.draw(st.sets(st.sampled_from([item.id for item in backups] or ["none"]), max_size=3))
    start = data.draw(st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 12, 1))).replace(tzinfo=UTC)
    holds = data.draw(st.sampled_from([[], [Hold("case", start, start + 9 * DAY)]]))
    decisions = decide(policy, items, now, pins, holds)
    stays = kept(decisions)
    assert {decision.item.id for decision in decisions} == {item.id for item in items}
    assert all(decision.reasons for decision in decisions)
    points = [item for item in backups if item.state == VERIFIED]
    assert len(stays & {point.id for point in points}) >= min(policy.min_verified, len(points))
    # The newest that is not from the future, and what is pinned or held.
    believed = [point for point in points if point.end <= now]
    newest = max(believed, key=lambda point: (point.end, point.sequence), default=None)
    assert newest is None or newest.id in stays
    assert pins & {item.id for item in backups} <= stays
    for hold in holds:
        assert {point.id for point in points if hold.start <= point.end <= hold.end} <= stays
    # No orphans.
    for item in backups:
        assert item.id not in stays or item.parent is None or item.parent in stays
    for item in items:
        if item.kind == ARCHIVE and item.id in stays and item.bases:
            assert stays & set(item.bases)
    # Of each window's archive, each moment that could be restored still can be.
    for span in holds:
        for item in items:
            reach = [point for point in points if point.id in item.bases]
            if item.kind == ARCHIVE and reach and item.end >= span.start and item.start <= span.end:
                first = max([p.end for p in reach if p.end <= span.start], default=min(p.end for p in reach))
                assert any(p.end == first and p.id in stays for p in reach)
    # What stands afterwards stays the next time.
    left = [replace(item, bases=tuple(b for b in item.bases if b in stays)) for item in items if item.id in stays]
    assert kept(decide(policy, left, now, pins, holds)) == stays


@given(st.lists(st.integers(0, 100), unique=True, max_size=20), st.integers(0, 1000))
def test_the_order_of_what_is_found_does_not_matter(days: list[int], seed: int) -> None:
    items = [backup(NOW - n * DAY) for n in days]
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    policy = Policy(keep_daily=3, keep_weekly=2)
    assert decide(policy, items, NOW) == decide(policy, shuffled, NOW)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "keeps nothing"),
        ({"keep_daily": 0, "archive_window": "7d"}, "keeps nothing"),
        ({"keep_dayly": 3}, "did you mean keep_daily"),
        ({"keep_last": -1}, "is no count"),
        ({"keep_last": True}, "is no count"),
        ({"keep_last": "3"}, "is no count"),
        ({"keep_last": 3, "min_verified": 0}, "is no count"),
        ({"keep_within": "a week"}, "is not a duration"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        policy_from(values, "retention")
    error = caught.value
    assert words in f"{error.what} {error.next_step}"


def test_a_policy_is_said_in_words() -> None:
    policy = policy_from({"keep_daily": 30, "keep_within": "7d", "keep_last": None}, "retention")
    assert str(policy) == "keep_daily 30, keep_within 7 d, archive_window 7 d, min_verified 2"
    assert list(itertools.islice(policy.rules, 2)) == ["keep_daily", "keep_within"]
