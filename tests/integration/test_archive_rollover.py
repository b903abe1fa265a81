"""A timeline that has grown old goes on in a new one, and no moment is lost between them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archiving import Archive, archived, dump_of, moment
from support import litekeep, make_database

from litekeep import moments
from litekeep.moments import Window


@contextlib.contextmanager
def written_to(path: Path, pause: float = 0.002) -> Iterator[None]:
    """One commit after the other, whose number is its row's."""
    over = threading.Event()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as db:
            while not over.wait(pause):
                db.execute("INSERT INTO events(kind, payload) VALUES('load', hex(randomblob(300)))")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def look(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return dump_of(db)


def backup(archive: Archive) -> None:
    litekeep("--config", archive.config, "backup", "events", check=0)


def rows_at(archive: Archive, to: str) -> list[int]:
    target = archive.restored(to)
    with contextlib.closing(sqlite3.connect(target)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = [row[0] for row in db.execute("SELECT id FROM events ORDER BY id")]
    target.unlink()
    return found


def test_under_load_no_moment_is_lost_between_two_timelines(in_memory: Path) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=2)
    with archived(archive), written_to(path):
        for count in range(2, 5):
            backup(archive)
            archive.wait_for(lambda count=count: len(archive.timelines()) >= count)
        archive.wait_for(archive.hangs)
    archive.process = None
    windows = archive.windows()
    assert len(windows) == len(archive.timelines()) >= 4
    assert archive.gaps() == []
    for before, after in zip(windows, windows[1:]):
        assert (before.end, after.timeline.follows) == (after.start, before.timeline.id)
        seam = after.start
        # At the seam, and at the last look before it: each is a state of the writer, and the later one has more.
        marks = [mark for segment in before.run.segments for mark in segment.marks() if mark.observed <= seam]
        point = f"{before.timeline.id}@{marks[-1].position.round}.{marks[-1].position.frame}"
        earlier, later = rows_at(archive, point), rows_at(archive, seam.isoformat())
        assert earlier == list(range(1, len(earlier) + 1))
        assert later == list(range(1, len(later) + 1))
        assert len(earlier) <= len(later)
        assert archive.point(seam).timeline == after.timeline.id


def test_looks_on_both_sides_of_the_seam_come_back(in_memory: Path) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=2)
    seen = []
    with archived(archive), contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as db:
        for number in range(40):
            db.execute("INSERT INTO events(kind) VALUES(?)", (str(number),))
            seen.append((moment(), look(path)))
            if number % 8 == 4:
                backup(archive)
        archive.stop()
    assert len(archive.timelines()) > 2
    assert archive.gaps() == []
    for when, content in seen:
        assert archive.proves(when)
        assert archive.content_at(when) == content
    assert archive.content_at("latest") == seen[-1][1]


def test_where_no_backup_comes_the_archiver_takes_one_for_it(in_memory: Path) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=2)
    with archived(archive), written_to(path):
        archive.wait_for(lambda: len(archive.timelines()) > 1 and archive.hangs(), 60)
    assert archive.gaps() == []


def test_a_timeline_stays_when_it_may(in_memory: Path) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=0)
    with archived(archive), written_to(path):
        for _n in range(3):
            backup(archive)
        moment()
        archive.stop()
    archive.process = None
    assert len(archive.timelines()) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_archiver_leaves_what_can_be_told(in_memory: Path, seed: int) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=1)
    with archived(archive), written_to(path):
        for _n in range(4):
            backup(archive)
            known = len(archive.timelines())
            with contextlib.suppress(AssertionError):
                archive.wait_for(lambda known=known: len(archive.timelines()) > known, 3)
            moment() if seed % 2 else None
            archive.kill()
            archive.start()
        archive.stop()
    archive.process = None
    assert not any(timeline.problems for timeline in archive.timelines())
    windows = archive.windows()
    assert [gap for gap in archive.gaps() if gap.start > gap.end] == []
    for window in windows:
        for when in (window.start, window.end):
            found = rows_at(archive, when.isoformat())
            assert found == list(range(1, len(found) + 1))
    assert ends_meet(windows, archive)


def ends_meet(windows: list[Window], archive: Archive) -> bool:
    """Between two windows there is nothing, or a gap that says so."""
    named = {(gap.start, gap.end) for gap in moments.gaps(windows)}
    return all(
        before.end == after.start or (before.end, after.start) in named for before, after in zip(windows, windows[1:])
    )
