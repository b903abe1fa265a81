from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest
from unit.archives import Kept, Scene, archiving, connect

from litekeep import moments
from litekeep.moments import Gap, Window
from litekeep.repository import Backup, Catalogue
from litekeep.timeline import Position, Timeline


def windows(scene: Scene) -> list[Window]:
    return moments.windows(scene.repository.catalogue("events"), scene.repository.timelines("events"))


def test_without_a_backup_there_is_no_window(scene: Scene) -> None:
    scene.commit(1)
    assert windows(scene) == []


def test_a_window_goes_from_its_base_to_what_is_proven(scene: Scene) -> None:
    scene.commit(1)
    scene.commit(2)
    base = scene.backup()
    scene.commit(3)
    scene.heartbeat(60)
    (window,) = windows(scene)
    assert (window.start, window.end) == (scene.at(2), scene.at(60))
    assert window.bases == ((Position(1, scene.read().segments[1].last), base),)
    assert window.timeline.state == "running"
    assert (window.holds(scene.at(2)), window.holds(scene.at(60))) == (True, True)
    assert not window.holds(scene.at(2) - dt.timedelta(milliseconds=1))
    assert not window.holds(scene.at(60) + dt.timedelta(milliseconds=1))


def test_a_base_ahead_of_the_archive_opens_no_window_yet(scene: Scene) -> None:
    scene.commit(1)
    scene.insert()
    scene.backup()
    assert windows(scene) == []
    scene.take(2)
    scene.writer.flush()
    assert [window.start for window in windows(scene)] == [scene.at(2)]


def test_a_base_inside_a_segment_opens_the_window_at_the_first_commit_seen_after_it(scene: Scene) -> None:
    scene.insert()
    scene.take(1)
    scene.insert()
    base = scene.backup()
    scene.insert()
    scene.take(2)
    scene.take(3)
    scene.writer.flush()
    (window,) = windows(scene)
    assert window.start == scene.at(2)
    segment = scene.read().segments[0]
    ((position, found),) = window.bases
    assert found == base
    assert segment.first < position.frame < segment.last


def test_each_moment_uses_the_newest_base_that_is_not_newer(scene: Scene) -> None:
    scene.commit(1)
    first = scene.backup()
    scene.commit(2)
    second = scene.backup()
    third = scene.backup()
    scene.commit(3)
    (window,) = windows(scene)
    ends = [segment.end for segment in scene.read().segments]
    assert [window.base_of(end)[1] for end in ends] == [first, third, third]
    assert [backup for _position, backup in window.bases] == [first, second, third]


def test_a_backup_of_the_empty_wal_belongs_to_the_end_of_the_round_before(scene: Scene) -> None:
    scene.commit(1)
    scene.relieve(2)
    assert scene.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    scene.take(3)
    scene.heartbeat(4)
    base = scene.backup()
    assert base.manifest is not None
    assert base.manifest.part("wal")["frame"] == 0
    assert base.manifest.part("wal")["salts"] != [0, 0]
    end = scene.read().segments[-1].end
    assert windows(scene)[0].bases == ((end, base),)
    scene.commit(5)
    assert windows(scene)[0].bases == ((end, base),)


def test_a_backup_of_an_empty_wal_from_before_the_archive_is_no_state_of_its_beginning(
    kept: Kept, events: Path
) -> None:
    """What was committed between that backup and the archiver's first look happened before the timeline began."""
    db = connect(events)
    db.execute("INSERT INTO events(kind) VALUES('a')")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with archiving(kept) as scene:
        scene.backup()
    db.execute("INSERT INTO events(kind) VALUES('hours later')")
    with archiving(kept, shift=100) as scene:
        assert scene.take(0.1, unchanged=0)
        scene.writer.flush()
        scene.heartbeat(5)
        (window,) = [window for window in windows(scene) if window.timeline.id == scene.writer.id]
        assert moments.state_at(window.run, window.start).position in scene.states
        assert window.start == scene.at(0.1)
    db.close()


def hanging_on(scene: Scene, salts: list[int], frame: int, timeline: str | None) -> list[tuple[Position, Backup]]:
    backup = scene.backup()
    assert backup.manifest is not None
    values = {**backup.manifest.values, "wal": {"salts": salts, "frame": frame}, "timeline": timeline}
    other = dataclasses.replace(backup, manifest=dataclasses.replace(backup.manifest, values=values))
    return moments.bases_of(scene.read().runs[-1], [other])


def test_salts_of_zero_belong_to_many_wals_so_they_need_the_timelines_id(kept: Kept, events: Path) -> None:
    """A database that was closed well begins with an empty WAL whose salts are 0 and 0."""
    with archiving(kept) as scene:
        assert scene.hold.look().position.salts == (0, 0)
        assert not scene.take(0)
        scene.heartbeat(1)
        scene.insert()
        base = scene.backup()
        assert base.timeline == scene.writer.id
        assert hanging_on(scene, [0, 0], 0, scene.writer.id)[0][0] == Position(1, 0)
        assert hanging_on(scene, [0, 0], 0, "20200101T000000.000Z") == []
        assert hanging_on(scene, [0, 0], 0, None) == []


def test_other_salts_need_no_timeline(scene: Scene) -> None:
    end = scene.commit(1)
    salts = list(scene.hold.look().position.salts)
    for timeline in (None, scene.writer.id, "20200101T000000.000Z"):
        assert hanging_on(scene, salts, end.frame, timeline)[0][0] == end
    assert hanging_on(scene, salts, end.frame + 1, None) == []
    assert hanging_on(scene, [salts[0], salts[1] ^ 1], end.frame, None) == []


@pytest.mark.parametrize("wal", [None, {}, {"salts": [1], "frame": 1}, {"salts": [1, 2]}, {"salts": 5, "frame": 1}])
def test_a_backup_whose_place_is_not_known_hangs_on_nothing(scene: Scene, wal: object) -> None:
    scene.commit(1)
    backup = scene.backup()
    assert backup.manifest is not None
    other = dataclasses.replace(
        backup, manifest=dataclasses.replace(backup.manifest, values={**backup.manifest.values, "wal": wal})
    )
    assert moments.bases_of(scene.read().runs[-1], [other, dataclasses.replace(backup, manifest=None)]) == []


def test_only_verified_backups_are_bases(scene: Scene) -> None:
    scene.commit(1)
    base = scene.backup()
    assert len(windows(scene)) == 1
    scene.repository.record_verification("events", base.id, "flipped")
    assert windows(scene) == []


def test_every_moment_has_the_state_of_the_last_commit_seen_by_then(scene: Scene) -> None:
    scene.insert()
    scene.take(1)
    scene.insert()
    scene.take(2)
    scene.writer.flush()
    scene.relieve(3)
    scene.commit(4, unchanged=3.5)
    scene.heartbeat(9)
    scene.backup()
    run = scene.read().runs[0]
    positions = [mark.position for segment in run.segments for mark in segment.marks()]
    expected = {
        0: (0, 0.975, 1),
        1: (1, 1.975, 2),
        1.5: (1, 1.975, 2),
        2: (2, 3.5, 4),
        3.9: (2, 3.5, 4),
        4: (3, 9, None),
    }
    for second, (number, unchanged, following) in {**expected, 9: (3, 9, None)}.items():
        state = moments.state_at(run, scene.at(second))
        assert state.position == ([run.start] + positions)[number], second
        assert state.unchanged == scene.at(unchanged), second
        assert state.next == (None if following is None else scene.at(following)), second


def test_between_two_timelines_lies_a_gap_with_its_reason(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup()
        scene.heartbeat(10)
        first = scene.at(10)
    with archiving(kept, shift=100) as scene:
        scene.commit(1)
        scene.backup()
        found = windows(scene)
        assert [window.timeline.state for window in found] == ["ended", "running"]
        assert moments.gaps(found) == [Gap(first, scene.at(1), "reason 2")]


def test_between_two_runs_of_a_damaged_timeline_lies_a_gap_with_the_damage(scene: Scene) -> None:
    scene.commit(1)
    scene.backup()
    scene.commit(2)
    scene.commit(3)
    scene.backup()
    scene.commit(4)
    lost = scene.read().segments[1]
    (scene.folder / lost.name).unlink()
    found = windows(scene)
    assert [(window.start, window.end) for window in found] == [
        (scene.at(1), scene.at(1)),
        (scene.at(3), scene.at(4)),
    ]
    assert moments.gaps(found) == [Gap(scene.at(1), scene.at(3), f"the segment {scene.folder / lost.name} is missing")]


def test_no_timeline_is_no_window_and_no_gap() -> None:
    nothing: list[Timeline] = []
    assert moments.windows(Catalogue("events", ()), nothing) == []
    assert moments.gaps([]) == []
