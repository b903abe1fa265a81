"""Random histories of an application, an archiver that stops and fails, and backups at any moment.

Whatever happened: every state that the archive offers is one that the application saw, at the moment that it says.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.archives import Kept, Scene, archiving, dump, dump_of

from litekeep import moments, restore
from litekeep.follow import why_not_resumed
from litekeep.hold import LostError
from litekeep.planner import Choice, choose
from litekeep.progress import Progress
from litekeep.timefmt import to_text

QUIET = Progress()


class History:
    """A scene, and chance. truth: from which second on the application read what."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene, self.chance = scene, chance
        self.second = 1.0
        self.looked = 0.0
        self.truth: list[tuple[float, str]] = [(0.0, dump_of(scene.db))]

    def tick(self) -> float:
        self.second += self.chance.choice((0.001, 0.05, 0.3))
        return self.second

    def saw(self) -> None:
        self.truth.append((self.tick(), dump_of(self.scene.db)))

    def insert(self) -> None:
        self.scene.insert(self.chance.randint(1, 3), size=self.chance.choice((10, 500, 6000)))
        self.saw()

    def delete(self) -> None:
        self.scene.db.execute("DELETE FROM events WHERE id % 5 = ?", (self.chance.randint(0, 4),))
        self.saw()

    def vacuum(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            self.scene.db.execute("VACUUM")
        self.saw()

    def checkpoint(self) -> None:
        kind = self.chance.choice(("PASSIVE", "FULL", "RESTART", "TRUNCATE"))
        self.scene.db.execute(f"PRAGMA wal_checkpoint({kind})")

    def take(self) -> None:
        moment = self.tick()
        self.scene.take(moment, self.looked)
        self.looked = moment

    def flush(self) -> None:
        self.scene.writer.flush()

    def drop(self) -> None:
        self.scene.writer.drop()

    def relieve(self) -> None:
        moment = self.tick()
        self.scene.hold.relieve(lambda state: self.scene.take_state(state, moment, self.looked) and None, 1.0)
        self.looked = moment

    def merge(self) -> None:
        self.scene.writer.merge()

    def heartbeat(self) -> None:
        if not self.scene.writer.behind and not self.scene.writer.open_size:
            self.scene.heartbeat(self.looked)

    def resume(self) -> None:
        """A kill, and a new archiver that may go on or not."""
        found = self.scene.read()
        if not why_not_resumed(self.scene.hold, found):
            self.scene.resume()
            self.looked = (found.until - self.scene.start).total_seconds()

    def backup(self) -> None:
        self.scene.backup(self.tick())

    def run(self, steps: int) -> None:
        acts: list[Callable[[], None]] = [
            self.insert, self.insert, self.insert, self.delete, self.vacuum, self.checkpoint, self.checkpoint,
            self.take, self.take, self.take, self.take, self.flush, self.flush, self.drop, self.relieve, self.merge,
            self.heartbeat, self.resume, self.backup, self.backup,
        ]  # fmt: skip
        with contextlib.suppress(LostError):
            for _step in range(steps):
                self.chance.choice(acts)()
            self.take()
        self.scene.writer.flush()
        self.heartbeat()

    def at(self, second: float) -> str:
        return [state for since, state in self.truth if since <= second][-1]


@pytest.mark.parametrize("seed", range(int(os.environ.get("LITEKEEP_HISTORIES", "8"))))
def test_every_state_that_is_offered_is_one_that_the_application_saw(kept: Kept, tmp_path: Path, seed: int) -> None:
    with archiving(kept) as scene:
        history = History(scene, random.Random(seed))
        history.run(60)
    timelines = kept[0].timelines("events")
    assert [timeline.problems for timeline in timelines] == [()]
    choice = Choice(kept[0].catalogue("events"), timelines)
    offered = []
    for window in moments.windows(choice.catalogue, timelines):
        marks = [mark.observed for segment in window.run.segments for mark in segment.marks()]
        offered += [moment for moment in [window.start, *marks, window.end] if window.holds(moment)]
    for number, moment in enumerate(sorted(set(offered))):
        point = choose(choice, to_text(moment))
        target = tmp_path / f"{number}.db"
        restore.restore(*kept, restore.plan(*kept, to_text(moment), str(target)), QUIET)
        second = (moment - scene.start).total_seconds()
        assert dump(target) == history.at(second), (second, point.id)
