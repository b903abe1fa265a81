"""Where rows went: the commit that took them, and the state before it."""

from __future__ import annotations

import datetime as dt
import sqlite3

import pytest
from support import flip
from unit.archives import Scene

from litekeep import commits as engine
from litekeep.commits import Commits, Fall, commits_around
from litekeep.errors import NoRestorePointError, SourceError, UsageError, VerificationError
from litekeep.progress import Progress
from litekeep.replay import commits_of
from litekeep.scratch import state_at
from litekeep.timefmt import to_text


def around(scene: Scene, second: float, within: int = 60) -> Commits:
    moment = to_text(scene.at(second))
    return commits_around(scene.repository, scene.database, moment, within, Progress())


def rows_at(scene: Scene, point: str, table: str = "events") -> int:
    with state_at(scene.repository, scene.database, point, Progress()) as state:
        return int(state.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def begin(scene: Scene) -> None:
    scene.commit(1)
    scene.backup(2)


def only(found: Commits) -> Fall:
    assert len(found.falls) == 1, found.falls
    return found.falls[0]


@pytest.mark.parametrize("count", [1, 3, 30, 200])
def test_the_look_that_found_rows_gone_is_named(scene: Scene, count: int) -> None:
    begin(scene)
    for number in range(count):
        scene.insert()
        scene.take(3 + number / 20)
    scene.db.execute("DELETE FROM events WHERE id <= 150")
    scene.take(20)
    for number in range(count):
        scene.insert()
        scene.take(21 + number / 20)
    scene.writer.flush()
    found = around(scene, 20, 19)
    fall = only(found)
    assert (fall.table, fall.rows, fall.gone, fall.looks) == ("events", 150, False, 1)
    assert (fall.before.rows["events"], fall.after.rows["events"]) == (201 + count, 51 + count)
    assert rows_at(scene, fall.before.point) == 201 + count
    assert rows_at(scene, fall.after.point) == 51 + count
    assert abs(fall.after.observed - scene.at(20)) < dt.timedelta(seconds=0.01)
    assert found.commits == 2 * count + 1
    assert len(found.states) <= 25


@pytest.mark.parametrize("count", [1, 5, 10])
def test_the_commit_is_named_where_one_look_found_many(scene: Scene, count: int) -> None:
    begin(scene)
    scene.insert(count)
    scene.db.execute("DELETE FROM events WHERE id <= 150")
    scene.insert(count, size=9000)
    scene.db.execute("DELETE FROM events WHERE id = 160")
    scene.take(3)
    scene.insert()
    scene.commit(4)
    found = around(scene, 3)
    first, second = found.falls
    assert (first.rows, second.rows, first.looks, second.looks) == (150, 1, 1, 1)
    assert (first.before.rows["events"], first.after.rows["events"]) == (201 + count, 51 + count)
    assert rows_at(scene, first.before.point) == 201 + count
    assert rows_at(scene, first.after.point) == 51 + count
    assert rows_at(scene, second.before.point) == 51 + 2 * count
    assert first.before.observed <= first.after.observed == scene.at(3)


def test_damage_of_the_segment_is_said_when_single_commits_are_looked_for(scene: Scene) -> None:
    begin(scene)
    scene.db.execute("DELETE FROM events WHERE id <= 150")
    scene.commit(3)
    segment = scene.read().segments[-1]
    flip(scene.folder / segment.name, 100)
    with pytest.raises(VerificationError, match="is not what was archived"):
        commits_of(segment)


def test_a_dropped_table_and_one_with_a_search_index_of_its_own(scene: Scene) -> None:
    begin(scene)
    scene.db.executescript("CREATE TABLE other(a); INSERT INTO other VALUES (1), (2);"
                           "CREATE VIRTUAL TABLE own USING fts5(a); INSERT INTO own VALUES ('x'), ('y')")  # fmt: skip
    scene.take(3)
    for number in range(50):
        scene.insert()
        scene.take(4 + number / 100)
    scene.db.execute("DROP TABLE other")
    scene.take(5)
    scene.db.execute("DELETE FROM own WHERE rowid = 1")
    scene.commit(6)
    other, own = around(scene, 5, 3).falls
    assert (other.table, other.rows, other.gone) == ("other", 2, True)
    assert (own.table, own.rows, own.gone) == ("own", 1, False)
    assert rows_at(scene, other.before.point, "other") == 2


def test_many_small_losses_end_in_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(scene)
    for number in range(100):
        scene.db.execute("DELETE FROM events WHERE id = ?", (number + 1,))
        if number == 70:
            scene.db.execute("DELETE FROM events WHERE id > 150")
        scene.take(3 + number / 20)
    scene.writer.flush()
    monkeypatch.setattr(engine, "_STEPS", 4)
    monkeypatch.setattr(engine, "_LOOKS_INSIDE", 3)
    looked: list[int] = []
    real = engine._Stretch.look
    monkeypatch.setattr(engine._Stretch, "look", lambda self, first, last: looked.append(1) or real(self, first, last))
    found = around(scene, 5, 8)
    assert len(looked) == 4
    assert len(found.falls) == 5
    largest = max(found.falls, key=lambda fall: fall.rows)
    assert (largest.rows, largest.looks) == (52, 1)
    assert any(fall.looks > 1 for fall in found.falls)


def test_rounds_and_times_that_begin_inside_a_segment(scene: Scene) -> None:
    begin(scene)
    for number in range(10):
        scene.insert(2)
        scene.take(3 + number)
        if number % 3 == 0:
            scene.writer.flush()
        if number == 5:
            scene.relieve(3 + number + 0.5)
    scene.db.execute("DELETE FROM events WHERE id % 2")
    scene.take(20)
    scene.insert()
    scene.take(30)
    scene.writer.flush()
    found = around(scene, 15, 6)
    assert only(found).before.rows["events"] == 221
    assert [state.rows["events"] for state in found.states] == [213, 215, 217, 219, 221, 110]
    assert found.commits == 5
    scene.heartbeat(50)
    later = around(scene, 40, 5)
    assert (later.commits, [state.rows["events"] for state in later.states], later.falls) == (0, [111], ())


def test_times_outside_the_archive_are_refused(scene: Scene) -> None:
    begin(scene)
    scene.heartbeat(10)
    for second in (-500, 500):
        with pytest.raises(NoRestorePointError, match="holds nothing from"):
            around(scene, second, 60)
    for wrong, words in (("2026-11-22T02:00:00", "has no offset"), ("yesterday", "cannot be read")):
        with pytest.raises(UsageError, match=words):
            commits_around(scene.repository, scene.database, wrong, 60, Progress())
    assert around(scene, 10).falls == ()


def test_a_state_that_begins_with_the_base_is_the_first_that_can_be_restored(scene: Scene) -> None:
    scene.commit(1)
    scene.commit(2)
    scene.insert()
    # The base lies between two looks: only the look after it can be restored.
    scene.backup(3)
    scene.insert()
    scene.take(4)
    scene.db.execute("DELETE FROM events WHERE id < 11")
    scene.commit(5)
    fall = only(around(scene, 3))
    assert rows_at(scene, fall.before.point) == 204


def test_rows_that_went_between_two_timelines_are_told(scene: Scene) -> None:
    begin(scene)
    scene.commit(3)
    scene.heartbeat(4)
    second = Scene((scene.repository, scene.database), shift=20)
    try:
        scene.db.execute("DELETE FROM events WHERE id <= 100")
        second.commit(1)
        second.backup(2)
        second.insert()
        second.take(3)
        second.db.execute("DELETE FROM events WHERE id <= 150")
        second.commit(4)
        in_gap, inside = around(scene, 12, 60).falls
        assert (in_gap.rows, in_gap.looks) == (99, 0)
        assert (inside.rows, inside.looks) == (50, 1)
        assert rows_at(scene, in_gap.before.point) == 202
        assert inside.before.point.startswith(second.read().id)
        assert in_gap.before.point.startswith(scene.read().id)
    finally:
        second.close()


def test_a_state_that_cannot_be_read_is_told_in_words(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(scene)

    def unreadable(_connection: sqlite3.Connection) -> dict[str, int]:
        raise sqlite3.OperationalError("no such function: mine")

    monkeypatch.setattr(engine, "_rows", unreadable)
    with pytest.raises(SourceError, match="cannot be read to its end"):
        around(scene, 1)
