from __future__ import annotations

import dataclasses
import datetime as dt
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import flip
from unit.archives import Here, Kept, Scene, archiving
from unit.places import Disk

from litekeep import follow, timefmt
from litekeep.config import ArchiveSettings, Database
from litekeep.follow import Clock, Follower, why_not_resumed
from litekeep.hold import Hold, LostError
from litekeep.repository import Repository

BRISK = {"interval": 0, "heartbeat": 0, "reserve": 0}


def following(scene: Scene, **settings: int) -> Follower:
    return Follower(scene.hold, scene.writer, ArchiveSettings(**{**BRISK, **settings}), scene.start, Here())


# -- the clock


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[dt.datetime]:
    """A clock on the wall that only the test moves."""
    moment = [dt.datetime(2026, 11, 22, 2, tzinfo=dt.timezone.utc)]
    monkeypatch.setattr(follow, "now", lambda: moment[0])
    return moment


def test_moments_never_go_back(wall: list[dt.datetime]) -> None:
    begin = wall[0]
    clock = Clock(begin)
    assert (clock.before(), clock.after()) == (begin, begin + dt.timedelta(milliseconds=1))
    wall[0] += dt.timedelta(seconds=10)
    assert clock.before() == begin + dt.timedelta(seconds=10)
    wall[0] -= dt.timedelta(seconds=4)
    assert clock.before() == begin + dt.timedelta(seconds=10)
    assert clock.after() == begin + dt.timedelta(seconds=10, milliseconds=1)
    wall[0] += dt.timedelta(seconds=5)
    assert clock.before() == begin + dt.timedelta(seconds=11)


@pytest.mark.parametrize("seconds", [5.001, 60, 86400])
def test_a_clock_that_was_set_back_ends_the_timeline(wall: list[dt.datetime], seconds: float) -> None:
    clock = Clock(wall[0])
    wall[0] -= dt.timedelta(seconds=seconds)
    with pytest.raises(LostError, match="the clock was set back by"):
        clock.before()
    with pytest.raises(LostError, match="the clock was set back by"):
        clock.after()


def test_a_timeline_is_never_continued_before_its_own_end(wall: list[dt.datetime]) -> None:
    later = wall[0] + dt.timedelta(seconds=3)
    assert Clock(later).before() == later


# -- turn by turn


def test_a_commit_is_stored_and_every_mark_is_between_two_looks(scene: Scene) -> None:
    follower = following(scene)
    follower.turn()
    before = timefmt.now()
    scene.insert()
    follower.turn()
    after = timefmt.now() + dt.timedelta(milliseconds=1)
    follower.turn()
    (segment,) = scene.read().segments
    (mark,) = segment.marks()
    assert mark.unchanged <= before + dt.timedelta(milliseconds=1)
    assert before <= mark.observed <= after
    assert follower.trouble == ""


def test_a_commit_between_a_look_and_its_entry_is_not_said_to_come_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for its turn there may wait for long: what came meanwhile was not in the state."""
    follower = following(scene, interval=3600)
    follower.turn()
    scene.insert()
    after, committed = follower._clock.after, []

    def late() -> dt.datetime:
        if not committed:
            committed.append(timefmt.now())
            scene.insert()
            time.sleep(0.2)
        return after()

    monkeypatch.setattr(follower._clock, "after", late)
    for _turn in range(3):
        follower.turn()
    follower.finish()
    (segment,) = scene.read().segments
    assert segment.commits == 2
    first, second = list(segment.marks())
    assert first.position < second.position
    assert second.unchanged <= committed[0] + dt.timedelta(milliseconds=1)


def test_idle_time_is_proven_by_heartbeats(scene: Scene) -> None:
    follower = following(scene)
    scene.insert()
    for _turn in range(3):
        follower.turn()
    first = scene.read().until
    for _turn in range(3):
        follower.turn()
    assert scene.read().until >= first
    assert scene.read().until >= scene.read().segments[-1].observed
    assert len(scene.read().segments) == 1


def test_several_looks_go_into_one_segment_until_its_interval_is_over(scene: Scene) -> None:
    follower = following(scene, interval=3600)
    for _commit in range(4):
        scene.insert()
        follower.turn()
    assert scene.read().segments == ()
    follower.finish()
    (segment,) = scene.read().segments
    assert segment.commits == 4
    assert [mark.position.frame for mark in segment.marks()][-1] == segment.last


def test_a_large_segment_is_stored_before_its_interval_is_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_SEGMENT_SIZE", 20000)
    follower = following(scene, interval=3600)
    scene.insert(10, size=3000)
    follower.turn()
    assert len(scene.read().segments) == 1


def test_finishing_says_until_when_that_is_all(scene: Scene) -> None:
    follower = following(scene, interval=3600, heartbeat=3600)
    scene.insert()
    follower.turn()
    follower.turn()
    follower.finish()
    assert scene.read().until == max(follower.unchanged, scene.read().segments[-1].observed)
    assert scene.read().problems == ()


def test_rounds_are_merged_as_they_close(scene: Scene) -> None:
    follower = following(scene)
    for _round in range(3):
        for _segment in range(2):
            scene.insert()
            follower.turn()
            follower.turn()
        assert scene.hold.relieve(lambda state: follower._take(state, follower.unchanged), 1.0)
    scene.insert()
    follower.turn()
    follower.turn()
    assert len(list(scene.folder.glob("*.wal.zst"))) == 4
    assert len(scene.read().segments) == 7
    assert scene.read().problems == ()


def test_a_large_wal_is_brought_to_begin_anew(scene: Scene) -> None:
    follower = following(scene, relief=100_000)
    scene.insert(30, size=3000)
    for _turn in range(3):
        follower.turn()
    assert follower.wal_size > 100_000
    scene.insert()
    follower.turn()
    assert follower.wal_size < 100_000
    follower.finish()
    assert [segment.round for segment in scene.read().segments][-1] == 2


# -- how the hold moves on


def count_steps(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    step = scene.hold.step

    def counted() -> Any:
        steps.append(1)
        return step()

    monkeypatch.setattr(scene.hold, "step", counted)
    return steps


def test_the_hold_moves_on_no_more_often_than_sqlite_checkpoints(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved on with every commit, each commit's own checkpoint finds something to do, and syncs twice."""
    monkeypatch.setattr(follow, "_QUIET", 3600.0)
    monkeypatch.setattr(follow, "_STEP", 40)
    follower = following(scene)
    follower.turn()
    steps = count_steps(scene, monkeypatch)
    begun = scene.hold.look().position.frame
    for _commit in range(60):
        scene.insert()
        follower.turn()
    frames = scene.hold.look().position.frame - begun
    assert frames >= 120
    assert frames // 80 <= len(steps) <= frames // 40 + 1
    follower.finish()
    assert sum(segment.commits for segment in scene.read().segments) == 60


@pytest.mark.parametrize("kind", ["FULL", "RESTART", "TRUNCATE"])
def test_the_hold_moves_on_for_a_checkpoint_that_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(follow, "_QUIET", 3600.0)
    monkeypatch.setattr(follow, "_VERY_QUIET", 3600.0)
    follower = following(scene)
    follower.turn()
    scene.insert(20)
    follower.turn()
    assert scene.hold.look().backfilled < scene.hold.look().position.frame
    code = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=300)\n"
        f"print(db.execute('PRAGMA wal_checkpoint({kind})').fetchone()[0])\n"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code, scene.path], stdout=subprocess.PIPE, text=True)
    give_up_at = time.monotonic() + 60
    while waiting.poll() is None and time.monotonic() < give_up_at:
        follower.turn()
        time.sleep(0.005)
    waiting.kill()
    assert waiting.communicate()[0] == "0\n"
    scene.insert()
    follower.turn()
    follower.finish()
    assert sum(segment.commits for segment in scene.read().segments) == 21


def test_where_nobody_is_at_work_the_wal_is_relieved_long_before_it_is_large(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_VERY_QUIET", 0.0)
    monkeypatch.setattr(follow, "_STEP", 10)
    follower = following(scene)
    scene.insert(3)
    for _turn in range(3):
        follower.turn()
    assert scene.hold.look().backfilled == 0
    scene.insert(10)
    for _turn in range(3):
        follower.turn()
    before = scene.hold.look()
    assert before.backfilled == before.position.frame
    scene.insert()
    assert scene.hold.look().position.salts != before.position.salts


def test_where_locks_cannot_be_asked_for_the_hold_moves_on_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> bytes:
        raise OSError("no such thing here")

    assert not scene.hold.is_in_the_way()
    monkeypatch.setattr("litekeep.hold.fcntl.fcntl", refused)
    assert scene.hold.is_in_the_way()


def test_a_database_that_is_damaged_on_disk_is_archived_as_long_as_the_application_commits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application has its pages in memory; the WAL is whole, and the transaction of before still holds it."""
    monkeypatch.setattr(follow, "_QUIET", 0.0)
    monkeypatch.setattr(follow, "_CHECK_EVERY", 0.0)
    follower = following(scene, relief=1)
    follower.turn()
    scene.insert()
    scene.hold.relieve(lambda state: follower._take(state, follower.unchanged), 1.0)
    header = scene.path.read_bytes()[:100]
    with open(scene.path, "r+b") as file:
        os.pwrite(file.fileno(), b"\xde\xad" * 50, 0)
    for _commit in range(3):
        scene.db.execute("INSERT INTO events(kind) VALUES('after the damage')")
        follower.turn()
        # Not longer: a commit that makes the database grow brings its first page into the WAL, and all is well again.
        assert "the database is damaged" in follower.damage
        assert follower.trouble == ""
    with open(scene.path, "r+b") as file:
        os.pwrite(file.fileno(), header, 0)
    scene.insert()
    follower.turn()
    assert follower.damage == ""
    follower.finish()
    assert sum(segment.commits for segment in scene.read().segments) == 5


def test_relief_is_tried_again_less_and_less_often_while_a_reader_is_in_the_way(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following(scene, relief=1)
    tries: list[float] = []
    monkeypatch.setattr(scene.hold, "relieve", lambda _copy, patience: tries.append(patience))
    scene.insert()
    for _turn in range(5):
        follower.turn()
    assert len(tries) == 1
    pauses = []
    for _try in range(8):
        pauses.append(follower._relief_pause)
        follower._relieve_at = 0.0
        follower.turn()
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    monkeypatch.undo()
    follower._relieve_at = 0.0
    follower.turn()
    assert follower._relief_pause == 1.0


def test_a_wal_that_grows_beyond_its_limit_is_let_go(scene: Scene) -> None:
    follower = following(scene, max_wal=50_000)
    scene.insert()
    follower.turn()
    scene.insert(20, size=3000)
    with pytest.raises(LostError, match=r"max_wal is 50\.0 kB"):
        follower.turn()
    follower.finish()
    assert scene.read().problems == (), "what was taken over counts"


def test_a_disk_of_the_application_that_is_nearly_full_comes_before_the_archive(
    on_disk: Callable[..., None], events: Path, tmp_path: Path
) -> None:
    def work(disk: Disk) -> None:
        path = disk / "events.db"
        path.write_bytes(events.read_bytes())
        with archiving((Repository(str(tmp_path / "repository"), "host"), Database("events", str(path)))) as scene:
            follower = following(scene, relief=100_000)
            scene.insert()
            follower.turn()
            scene.db.execute("BEGIN IMMEDIATE")
            scene.insert(100, size=3000)
            scene.db.execute("COMMIT")
            follower._relieve_at = float("inf")
            with pytest.raises(LostError, match="disk was nearly full"):
                follower.turn()

    on_disk(work, size="8m")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_replaced_file_ends_the_timeline_with_what_was_there(scene: Scene, suffix: str) -> None:
    follower = following(scene)
    scene.insert()
    follower.turn()
    (scene.path.parent / "other").write_bytes(b"x")
    os.replace(scene.path.parent / "other", f"{scene.path}{suffix}")
    follower._check_at = 0.0
    with pytest.raises(LostError, match="was replaced"):
        follower.turn()
    follower.finish()
    assert len(scene.read().segments) == 1


def test_a_moment_without_a_lock_is_survived_and_damage_is_not(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = following(scene)
    follower.turn()

    def fail(words: str) -> Callable[[], Any]:
        def look() -> None:
            raise sqlite3.OperationalError(words)

        return look

    monkeypatch.setattr(scene.hold, "look", fail("database is locked"))
    follower.turn()
    monkeypatch.setattr(scene.hold, "look", fail("database disk image is malformed"))
    with pytest.raises(LostError, match="SQLite cannot read it"):
        follower.turn()


# -- the archive's disk


def small(disk: Disk, events: Path) -> Kept:
    return Repository(str(disk / "repository"), "host"), Database("events", str(events))


def retry(follower: Follower) -> None:
    """A second later."""
    follower._store_at = 0.0
    for _turn in range(3):
        follower.turn()


def test_a_full_disk_is_trouble_until_there_is_room_and_nothing_is_lost(
    on_disk: Callable[..., None], events: Path
) -> None:
    def work(disk: Disk) -> None:
        with archiving(small(disk, events)) as scene:
            follower = following(scene)
            scene.insert()
            follower.turn()
            follower.turn()
            disk.fill()
            scene.insert(3, size=3000)
            for _turn in range(4):
                follower.turn()
            assert "the archive cannot be written" in follower.trouble
            until = scene.read().until
            for _turn in range(3):
                retry(follower)
                assert follower.trouble
                assert scene.read().until == until
                assert scene.read().problems == ()
            (disk / "ballast").unlink()
            retry(follower)
            assert follower.trouble == ""
            found = scene.read()
            assert (found.problems, found.segments[-1].last) == ((), scene.hold.look().position.frame)

    on_disk(work, size="2m")


def test_nothing_is_proven_about_commits_that_could_not_be_stored(on_disk: Callable[..., None], events: Path) -> None:
    """The disk refuses a segment; then there is room for a heartbeat, and the archiver is stopped."""

    def work(disk: Disk) -> None:
        with archiving(small(disk, events)) as scene:
            follower = following(scene)
            scene.insert()
            for _turn in range(3):
                follower.turn()
            known = follower.unchanged
            scene.insert(5, size=3000)
            disk.fill()
            while not follower.trouble:
                follower.turn()
            assert scene.writer.behind
            (disk / "ballast").unlink()
            follower.finish()
            found = scene.read()
            assert found.segments[-1].last < scene.hold.look().position.frame
            assert found.until <= known

    on_disk(work, size="2m")


def test_below_the_reserve_it_stays_trouble(scene: Scene) -> None:
    follower = following(scene)
    scene.insert()
    follower.turn()
    follower.turn()
    scene.writer._reserve = 1 << 60
    scene.insert()
    until = []
    for _turn in range(300):
        follower.turn()
        until.append(scene.read().until)
        if "less than" in follower.trouble:
            break
        time.sleep(0.01)
    assert "less than" in follower.trouble
    assert max(until) <= max(follower.unchanged, scene.read().segments[-1].observed)
    assert len(scene.read().segments) == 1
    scene.writer._reserve = 0
    retry(follower)
    assert (follower.trouble, len(scene.read().segments)) == ("", 2)


def test_a_part_that_cannot_be_merged_is_trouble_and_archiving_goes_on(scene: Scene) -> None:
    follower = following(scene)
    for _segment in range(2):
        scene.insert()
        follower.turn()
        follower.turn()
    flip(scene.folder / scene.read().segments[0].name, 20)
    assert scene.hold.relieve(lambda state: follower._take(state, follower.unchanged), 1.0)
    scene.insert()
    follower.turn()
    follower.turn()
    assert "is not what was stored" in follower.trouble
    scene.insert()
    retry(follower)
    assert len(scene.read().segments) == 4


# -- going on after a stop


@pytest.fixture
def stopped(scene: Scene) -> Scene:
    """An archiver that was stopped after two commits."""
    scene.commit(1)
    scene.commit(2)
    scene.heartbeat(3)
    return scene


def test_a_wal_that_went_on_is_followed_further(stopped: Scene) -> None:
    assert why_not_resumed(stopped.hold, stopped.read()) == ""
    stopped.insert(3)
    assert why_not_resumed(stopped.hold, stopped.read()) == ""


def test_a_damaged_timeline_is_not_gone_on_with(stopped: Scene) -> None:
    (stopped.folder / stopped.read().segments[0].name).unlink()
    assert "are damaged" in why_not_resumed(stopped.hold, stopped.read())


def test_a_database_that_is_another_file_now_is_not_gone_on_with(stopped: Scene) -> None:
    timeline = stopped.read()
    other = dataclasses.replace(timeline, source={**timeline.source, "inode": stopped.hold.inode[1] + 1})
    assert "was replaced" in why_not_resumed(stopped.hold, other)


def test_an_empty_timeline_is_not_gone_on_with(scene: Scene) -> None:
    assert "archived nothing" in why_not_resumed(scene.hold, scene.read())


@pytest.mark.parametrize("kind", ["RESTART", "TRUNCATE"])
def test_a_wal_that_began_anew_is_not_gone_on_with(stopped: Scene, kind: str) -> None:
    timeline = stopped.read()
    assert stopped.hold.relieve(lambda _state: None, 1.0)
    stopped.db.execute(f"PRAGMA wal_checkpoint({kind})")
    stopped.insert(9)
    assert "began anew" in why_not_resumed(stopped.hold, timeline)


def test_a_wal_that_lost_archived_commits_is_not_gone_on_with(stopped: Scene) -> None:
    """A host went down, and its disk had not got the last of them."""
    early = stopped.read()
    stopped.commit(4)
    late = stopped.read()
    longer = late.segments[-1]
    shorter = early.segments[-1]
    assert longer.last > shorter.last
    state = stopped.hold.look()
    back = type(state)(
        type(state.position)(state.position.salts, shorter.last),
        state.page_size,
        state.page_count,
        state.checksum,
        0,
    )
    stopped.hold.look = lambda: back  # type: ignore[method-assign]
    assert "lost commits" in why_not_resumed(stopped.hold, late)
    assert why_not_resumed(stopped.hold, early) == ""


def test_a_wal_with_another_last_commit_is_not_gone_on_with(stopped: Scene) -> None:
    timeline = stopped.read()
    last = timeline.segments[-1]
    offset = 32 + (last.last - 1) * 4120
    for position in (offset, offset + 20, offset + 24, offset + 4119):
        flip(Path(f"{stopped.path}-wal"), position)
        assert "no longer stands" in why_not_resumed(stopped.hold, timeline)
        flip(Path(f"{stopped.path}-wal"), position)
    assert why_not_resumed(stopped.hold, timeline) == ""


def test_commits_seen_when_going_on_are_never_left_out(stopped: Scene) -> None:
    """All of the WAL is in the database: the reader sits on mark 0, and the next commit begins the WAL anew."""
    stopped.hold.close()
    stopped.insert(3)
    stopped.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    stopped.hold = Hold(str(stopped.path))
    assert why_not_resumed(stopped.hold, stopped.read()) == ""
    stopped.resume()
    stopped.insert()
    with pytest.raises(LostError, match="began anew"):
        stopped.take(10)
