"""What was pushed is found again, and only what a restore point needs is brought."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from offhost import folder_remote
from support import flip
from unit.archives import Kept, Scene, dump

from litekeep import restore
from litekeep.errors import NoRestorePointError, RemoteError, VerificationError
from litekeep.progress import Progress
from litekeep.pull import Choice, Mirror, planned
from litekeep.push import Archive, Backups
from litekeep.remote import Store
from litekeep.repository import Repository
from litekeep.seal import INCOMING, seal
from litekeep.timefmt import to_text

QUIET = Progress()


class Off:
    """A host that pushes to two remotes: a folder, and a server that seals."""

    def __init__(self, kept: Kept, place: Path) -> None:
        self.kept, self.place = kept, place
        self.plain = Store(folder_remote(place / "plain", "plain", check="size"))
        self.server = place / "server"
        (self.server / kept[0].host / INCOMING).mkdir(parents=True)
        self.sealing = Store(folder_remote(self.server / kept[0].host, "sealing", incoming=INCOMING, check="size"))
        self.lanes = [
            kind(kept[0], "events", store, QUIET) for store in (self.plain, self.sealing) for kind in (Backups, Archive)
        ]

    def push(self) -> None:
        for lane in self.lanes:
            lane.run()

    def seal(self) -> None:
        seal(Repository(str(self.server), self.kept[0].host), 0)

    def brought(self, store: Store, to: str, name: str) -> Path:
        root, target = self.place / f"mirror-{name}", self.place / f"{name}.db"
        mirror, plan, _passed = planned([store], self.kept[1], "host", str(root), Choice(to), str(target))
        mirror.need(plan.point, QUIET)
        again = restore.plan(mirror.repository, self.kept[1], plan.point.id, str(target))
        restore.restore(mirror.repository, self.kept[1], again, QUIET)
        return target


@pytest.fixture
def off(kept: Kept, scene: Scene, tmp_path: Path) -> Off:
    off = Off(kept, tmp_path)
    scene.commit(1)
    scene.backup(2)
    for second in range(3, 9):
        scene.commit(second, count=3)
        if second == 5:
            off.push()
            off.seal()
    scene.relieve(9)
    scene.commit(10)
    scene.heartbeat(100)
    return off


@pytest.mark.parametrize("sealed", [False, True])
def test_every_state_comes_back_from_each_remote(off: Off, scene: Scene, sealed: bool) -> None:
    for lane in off.lanes:
        lane.memory.keep(heartbeat="")
    off.push()
    if sealed:
        off.seal()
    states = [scene.states[position] for position in sorted(scene.states)]
    for store in (off.plain, off.sealing):
        name = store.remote.name
        assert dump(off.brought(store, "latest", f"{name}-latest")) == states[-1]
        assert dump(off.brought(store, to_text(scene.at(4.5)), f"{name}-moment")) == states[2]


def test_only_what_the_point_needs_is_brought(off: Off, scene: Scene, tmp_path: Path) -> None:
    scene.backup(20)
    off.push()
    mirror = Mirror(off.plain, "events", str(tmp_path / "mirror"), "host")
    mirror.look()
    disk = lambda: sum(path.stat().st_blocks for path in tmp_path.joinpath("mirror").rglob("*") if path.is_file())  # noqa: E731
    small = disk()
    newest = restore.plan(mirror.repository, off.kept[1], "latest", str(tmp_path / "t.db")).point
    mirror.need(newest, QUIET)
    assert newest.segments == ()
    whole = sum(path.stat().st_size for path in (tmp_path / "plain").rglob("*") if path.is_file())
    assert small * 512 < disk() * 512 < whole
    assert [b.id for b in mirror.repository.catalogue("events").restore_points] == [
        b.id for b in off.kept[0].catalogue("events").restore_points
    ]


def test_the_next_remote_is_taken_where_the_first_is_gone_or_has_less(off: Off, tmp_path: Path) -> None:
    off.push()
    gone = Store(folder_remote(tmp_path / "gone", "gone"))
    os.rmdir(tmp_path / "gone")
    broken = Store(folder_remote(tmp_path / "broken", "broken"))
    Path(broken.remote.rclone).write_text("[other]\ntype = alias\nremote = /\n")
    mirror, _plan, passed = planned(
        [gone, broken, off.plain], off.kept[1], "host", str(tmp_path / "m"), Choice(), str(tmp_path / "t.db")
    )
    assert mirror.store is off.plain
    assert [words.split(":")[0] for words in passed] == ["gone", "broken"]
    with pytest.raises(RemoteError) as caught:
        planned([gone, broken], off.kept[1], "host", str(tmp_path / "n"), Choice(), str(tmp_path / "t.db"))
    assert caught.value.exit_code == 9
    with pytest.raises(NoRestorePointError):
        planned([gone], off.kept[1], "host", str(tmp_path / "o"), Choice(), str(tmp_path / "t.db"))


def test_damage_on_the_remote_is_found_and_nothing_is_replaced(off: Off, scene: Scene) -> None:
    off.push()
    data = next((off.place / "plain").rglob("database.db.zst"))
    flip(data, data.stat().st_size // 2)
    with pytest.raises(VerificationError):
        off.brought(off.plain, "latest", "damaged")
    assert not (off.place / "damaged.db").exists()
