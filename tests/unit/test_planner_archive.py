"""Choosing a moment out of a real archive, and out of one that went wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from unit.archives import Kept, Scene

from litekeep import planner, timefmt
from litekeep.errors import NoRestorePointError, UsageError, VerificationError
from litekeep.planner import Choice, Point, choose
from litekeep.timefmt import to_text
from litekeep.timeline import Position

MILLISECOND = dt.timedelta(milliseconds=1)


def choice(kept: Kept, nearest: bool = False, timeline: str | None = None) -> Choice:
    return Choice(kept[0].catalogue("events"), kept[0].timelines("events"), nearest, timeline)


def at(kept: Kept, moment: dt.datetime | str, **how: Any) -> Point:
    return choose(choice(kept, **how), moment if isinstance(moment, str) else to_text(moment))


def refused(kept: Kept, moment: dt.datetime | str, kind: type[Any] = NoRestorePointError, **how: Any) -> Any:
    with pytest.raises(kind) as caught:
        at(kept, moment, **how)
    return caught.value


@pytest.fixture
def story(kept: Kept, scene: Scene) -> Scene:
    """A base at second 1, commits at 2, 3, 3.2 and 5, nothing more until 60; all of it a minute ago."""
    scene.start -= dt.timedelta(seconds=100)
    scene.commit(1)
    scene.backup(1.5)
    scene.commit(2)
    scene.insert()
    scene.take(3)
    scene.insert()
    scene.take(3.2)
    scene.writer.flush()
    scene.relieve(4)
    scene.commit(5)
    scene.heartbeat(60)
    return scene


def positions(scene: Scene) -> list[Position]:
    return sorted(scene.states)


@pytest.mark.parametrize(
    ("second", "number", "recovered", "following"),
    [(1, 0, 1, 2), (1.5, 0, 1.5, 2), (2, 1, 2, 3), (3, 2, 3, 3.2), (3.2, 3, 3.2, 5), (4.9, 3, 4.9, 5), (5, 4, 5, None),
     (60, 4, 60, None)],
)  # fmt: skip
def test_a_moment_inside_is_exactly_that_moment(
    kept: Kept, story: Scene, second: float, number: int, recovered: float, following: float | None
) -> None:
    found = at(kept, story.at(second))
    assert found.end == positions(story)[number]
    assert (found.requested, found.recovered) == (story.at(second), story.at(recovered))
    assert found.next == (None if following is None else story.at(following))
    assert found.timeline == story.writer.id
    assert found.id == f"{story.writer.id}@{positions(story)[number].round}.{positions(story)[number].frame}"
    base = kept[0].catalogue("events").newest
    assert found.backup == base
    assert all(found.end >= Position(s.round, s.first) and s.end > positions(story)[0] for s in found.segments)
    assert bool(found.segments) is (number > 0)


def test_the_base_alone_is_what_it_holds(kept: Kept, story: Scene) -> None:
    found = at(kept, story.at(1))
    assert (found.segments, found.observed) == ((), story.at(1))


@pytest.mark.parametrize("offset", ["+00:00", "+05:30", "-08:00"])
def test_an_offset_says_the_same_moment_in_other_words(kept: Kept, story: Scene, offset: str) -> None:
    hours, minutes = int(offset[:3]), int(offset[0] + offset[4:])
    there = story.at(3).astimezone(dt.timezone(dt.timedelta(hours=hours, minutes=minutes)))
    assert at(kept, there.isoformat()).end == positions(story)[2]


def test_the_id_of_a_point_names_the_same_state_when_the_archive_has_gone_on(kept: Kept, story: Scene) -> None:
    points = [at(kept, story.at(second)) for second in (1, 2, 3, 3.2, 5, 60)]
    story.commit(70)
    story.relieve(71)
    story.commit(72)
    story.writer.merge()
    story.backup()
    for point in points:
        again = at(kept, point.id)
        assert (again.end, again.id, again.timeline) == (point.end, point.id, point.timeline)
        assert again.observed == point.observed


@pytest.mark.parametrize("change", ["9.9", "1.0", "1.99", "0.0"])
def test_the_id_of_a_point_that_is_not_in_the_archive_is_refused(kept: Kept, story: Scene, change: str) -> None:
    refused(kept, f"{story.writer.id}@{change}")
    refused(kept, f"20200101T000000.000Z@{positions(story)[1].round}.{positions(story)[1].frame}")


def test_a_commit_between_two_looks_is_said_to_have_come_between_them(kept: Kept, story: Scene) -> None:
    story.insert(3)
    story.take(70, unchanged=69)
    story.writer.flush()
    last = story.read().segments[-1]
    found = at(kept, f"{story.writer.id}@2.{last.first}")
    assert found.end == Position(2, last.first)
    assert (found.recovered, found.observed, found.next) == (story.at(69), story.at(70), story.at(70))
    assert found.segments[-1] == last
    assert at(kept, found.id).end == found.end


def test_a_moment_before_the_first_base_is_refused_with_the_first_that_can_be_had(kept: Kept, story: Scene) -> None:
    found = refused(kept, story.at(1) - MILLISECOND)
    assert "before the first restore point" in found.what
    assert found.found == f"before it: none; after it: {to_text(story.at(1))}"
    assert f"--to {to_text(story.at(1))}" in found.next_step
    refused(kept, story.at(1) - MILLISECOND, nearest=True)


def test_the_future_is_refused_and_nearest_takes_the_end(kept: Kept, story: Scene) -> None:
    moment = timefmt.now() + dt.timedelta(days=1)
    found = refused(kept, moment)
    assert "in the future" in found.what
    assert "--nearest takes it" in found.found


def test_what_the_archive_has_not_reached_yet_is_refused(kept: Kept, story: Scene) -> None:
    found = refused(kept, story.at(60) + MILLISECOND)
    assert "does not reach it yet" in found.what


def test_nearest_after_the_end_is_the_end_and_says_so(kept: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(1.5)
    scene.commit(20)
    scene.heartbeat(60)
    found = at(kept, scene.at(90), nearest=True)
    assert (found.requested, found.recovered, found.next) == (scene.at(90), scene.at(60), None)
    assert found.end == positions(scene)[-1]


def test_in_a_downtime_nobody_knows_when_a_commit_came(kept: Kept, story: Scene) -> None:
    """The archiver was away from 60 to 80; what it then found can have been committed at any moment between."""
    story.commit(80, unchanged=60)
    for second in (5, 30, 60):
        assert at(kept, story.at(second)).end == positions(story)[4]
    for second in (60.001, 70, 79.999):
        found = refused(kept, story.at(second))
        assert "nobody watched" in found.what
        assert found.found.startswith(f"before it: {to_text(story.at(60))} ")
        assert found.found.endswith(f"; after it: {to_text(story.at(80))}")
        near = at(kept, story.at(second), nearest=True)
        assert (near.end, near.recovered) == (positions(story)[4], story.at(60))
    assert at(kept, story.at(80)).end == positions(story)[5]


def test_a_second_between_two_looks_is_no_downtime(kept: Kept, story: Scene) -> None:
    story.commit(61, unchanged=60)
    found = at(kept, story.at(60.5))
    assert (found.end, found.recovered, found.next) == (positions(story)[4], story.at(60), story.at(61))


@pytest.fixture
def second(kept: Kept, story: Scene) -> Iterator[Scene]:
    """A second timeline after the story: begun at its second 80, base and commit at 81, commit at 82, until 90."""
    story.close()
    after = Scene(kept)
    after.start = story.at(80)
    after.commit(1)
    yield after
    after.close()


def test_a_moment_in_a_gap_is_refused_with_both_ends(kept: Kept, story: Scene, second: Scene) -> None:
    second.backup(1.5)
    second.commit(2)
    second.heartbeat(10)
    found = refused(kept, story.at(70))
    assert "in a gap" in found.what
    assert found.found.startswith(f"before it: {to_text(story.at(60))} (10.0 s earlier; --nearest takes it)")
    assert found.found.endswith(f"after it: {to_text(second.at(1))}")
    near = at(kept, story.at(70), nearest=True)
    assert (near.timeline, near.recovered, near.next) == (story.writer.id, story.at(60), second.at(1))
    assert at(kept, story.at(5)).timeline == story.writer.id
    assert at(kept, second.at(2)).timeline == second.writer.id


def test_only_the_timeline_that_is_meant_is_used(kept: Kept, story: Scene, second: Scene) -> None:
    second.backup(1.5)
    second.commit(2)
    second.heartbeat(10)
    old, new = story.writer.id, second.writer.id
    assert at(kept, story.at(5), timeline=old).timeline == old
    refused(kept, story.at(5), timeline=new)
    refused(kept, second.at(2), timeline=old)
    assert at(kept, second.at(2), timeline=new).timeline == new
    found = refused(kept, story.at(5), UsageError, timeline="nonsense")
    assert found.expected == f"one of: {old}, {new}"


def test_latest_of_a_timeline_is_the_end_of_that_timeline(kept: Kept, story: Scene, second: Scene) -> None:
    second.backup(1.5)
    found = at(kept, "latest", timeline=story.writer.id)
    assert (found.timeline, found.end) == (story.writer.id, positions(story)[-1])


def test_nearest_of_a_timeline_stays_in_that_timeline(kept: Kept, story: Scene, second: Scene) -> None:
    second.backup(1.5)
    found = at(kept, second.at(3600), timeline=story.writer.id, nearest=True)
    assert (found.timeline, found.end) == (story.writer.id, positions(story)[-1])


def test_a_moment_that_came_twice_needs_its_timeline(kept: Kept, story: Scene, second: Scene) -> None:
    """The clock was set back: the second timeline began before the end of the first."""
    second.start = story.at(30)
    second.commit(2)
    second.backup(2.5)
    second.commit(5)
    second.heartbeat(20)
    found = refused(kept, story.at(40))
    assert "more than once" in found.what
    assert story.writer.id in found.found
    assert second.writer.id in found.found
    assert "--timeline" in found.next_step
    assert at(kept, story.at(40), timeline=story.writer.id).end == positions(story)[-1]
    assert at(kept, story.at(40), timeline=second.writer.id).timeline == second.writer.id
    assert at(kept, story.at(5)).timeline == story.writer.id


def test_latest_is_the_end_of_the_archive(kept: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(1.5)
    scene.commit(2)
    scene.heartbeat(60)
    found = at(kept, "latest")
    assert (found.requested, found.recovered, found.end) == (None, scene.at(60), positions(scene)[-1])


def test_latest_is_the_newest_backup_when_that_is_newer(kept: Kept, story: Scene) -> None:
    story.insert()
    newest = story.backup(61)
    found = at(kept, "latest")
    assert (found.backup, found.id, found.segments) == (newest, newest.id, ())


def test_a_backup_by_its_id_is_that_backup_and_its_next_state_is_known(kept: Kept, scene: Scene) -> None:
    scene.commit(1)
    base = scene.backup(1.5)
    scene.commit(20)
    found = at(kept, base.id)
    assert (found.backup, found.end, found.next) == (base, None, scene.at(20))


def test_the_moment_of_a_backup_outside_of_any_window_is_that_backup(kept: Kept, story: Scene) -> None:
    base = story.backup(70)
    assert base.manifest is not None
    found = at(kept, base.manifest.snapshot)
    assert (found.backup, found.requested, found.end) == (base, base.manifest.snapshot, None)
    near = at(kept, base.manifest.snapshot + MILLISECOND, nearest=True)
    assert (near.backup, near.recovered, near.end) == (base, base.manifest.snapshot, None)


def test_a_damaged_end_is_never_passed_off_as_latest(kept: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.backup(1.5)
    scene.commit(20)
    scene.commit(30)
    (scene.folder / scene.read().segments[-1].name).unlink()
    found = refused(kept, "latest", VerificationError)
    assert "is missing" in found.found
    assert to_text(scene.at(20)) in found.safe
    assert "--nearest" in found.next_step
    assert at(kept, "latest", nearest=True).recovered == scene.at(20)
    assert at(kept, scene.at(20)).end == positions(scene)[1]


def test_a_newest_timeline_that_cannot_be_read_is_never_passed_over_by_latest(
    kept: Kept, story: Scene, second: Scene
) -> None:
    base = second.backup(1.5)
    second.commit(400)
    assert at(kept, "latest").timeline == second.writer.id
    second.records.write_bytes(b"x" + second.records.read_bytes())
    found = refused(kept, "latest", VerificationError)
    assert second.writer.id in found.found
    assert at(kept, "latest", nearest=True).backup == base


def test_damage_before_the_newest_backup_is_never_passed_over_by_latest(kept: Kept, scene: Scene) -> None:
    """All that was committed after that backup is in the damaged part."""
    scene.commit(1)
    scene.backup(1.5)
    scene.commit(20)
    base = scene.backup(21)
    scene.commit(30)
    (scene.folder / scene.read().segments[1].name).unlink()
    (scene.folder / scene.read().segments[-1].name).unlink()
    refused(kept, "latest", VerificationError)
    assert at(kept, "latest", nearest=True).backup == base


def test_damage_in_a_timeline_that_has_ended_is_no_reason_to_refuse_latest(
    kept: Kept, story: Scene, second: Scene
) -> None:
    second.backup(1.5)
    second.commit(400)
    (story.folder / story.read().segments[1].name).unlink()
    assert at(kept, "latest").timeline == second.writer.id


def test_choosing_asks_the_clock_only_whether_a_moment_is_in_the_future(
    kept: Kept, story: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner.timefmt, "now", lambda: pytest.fail("asked"))
    assert at(kept, story.at(5)).end == positions(story)[-1]
