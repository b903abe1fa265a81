from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from support import flip
from unit.archives import Kept, Scene, archiving, dump

from litekeep import replay as replays
from litekeep import store
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.replay import replay
from litekeep.repository import Repository
from litekeep.timeline import Position, Segment

QUIET = Progress()


def base_stands() -> None:
    """The base stands there already."""


def needed(scene: Scene, end: Position) -> list[Segment]:
    return [s for s in scene.read().segments if Position(s.round, s.first) <= end]


def rebuilt(scene: Scene, base: bytes, end: Position, place: Path) -> Path:
    place.write_bytes(base)
    replay(str(place), base_stands, needed(scene, end), end, QUIET)
    return place


def sqlite_rebuilt(scene: Scene, base: bytes, place: Path) -> bytes:
    """The reference: SQLite replays the rounds, each as the WAL beside the file."""
    place.write_bytes(base)
    rounds: dict[int, bytes] = {}
    for segment in scene.read().segments:
        block = b"".join(store.read_back(str(scene.folder / segment.name), segment.stored, QUIET, part_at=0))
        rounds[segment.round] = rounds.get(segment.round, b"") + block
    for number in sorted(rounds):
        Path(f"{place}-wal").write_bytes(rounds[number])
        with contextlib.closing(sqlite3.connect(place)) as db:
            assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    return place.read_bytes()


def paged(tmp_path: Path, size: int) -> Kept:
    path = tmp_path / "data" / "paged.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={size}")
        db.execute("PRAGMA journal_mode=wal")
        db.execute("CREATE TABLE events(id INTEGER PRIMARY KEY, kind TEXT, payload TEXT)")
    return Repository(str(tmp_path / "repository"), "host"), Database("events", str(path))


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_every_commit_comes_back_at_every_page_size(tmp_path: Path, size: int) -> None:
    with archiving(paged(tmp_path, size)) as scene:
        base = scene.path.read_bytes()
        for second in range(1, 5):
            scene.commit(second, count=3)
            if second == 2:
                scene.insert(200)
                scene.take(2.5)
                scene.db.execute("DELETE FROM events WHERE id % 2")
                scene.take(2.7)
                scene.relieve(2.8)
        for end, state in scene.states.items():
            assert dump(rebuilt(scene, base, end, tmp_path / "copy.db")) == state, end
        ours = rebuilt(scene, base, max(scene.states), tmp_path / "ours.db").read_bytes()
        assert ours == sqlite_rebuilt(scene, base, tmp_path / "reference.db")


@pytest.mark.parametrize("in_memory", [1 << 30, 1000])
def test_the_bytes_are_those_that_sqlite_would_make(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """Also where the segments are too large for the memory."""
    monkeypatch.setattr(replays, "_IN_MEMORY", in_memory)
    base = scene.path.read_bytes()
    scene.commit(1, count=20)
    scene.relieve(2)
    scene.insert(50, size=2000)
    scene.take(3)
    scene.db.execute("DELETE FROM events WHERE id % 3 = 0")
    scene.take(4)
    scene.writer.flush()
    end = max(scene.states)
    ours = rebuilt(scene, base, end, tmp_path / "ours.db").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == ["ours.db"]
    assert ours == sqlite_rebuilt(scene, base, tmp_path / "reference.db")


def test_a_database_that_shrank_and_grew_has_the_size_of_each_moment(scene: Scene, tmp_path: Path) -> None:
    base = scene.path.read_bytes()
    sizes = {}
    for second, change in enumerate(
        ("DELETE FROM events", "VACUUM", "INSERT INTO events(payload) SELECT hex(randomblob(50000))", "VACUUM",
         "DELETE FROM events", "VACUUM")
    ):  # fmt: skip
        scene.db.execute(change)
        scene.take(second)
        sizes[max(scene.states)] = scene.db.execute("PRAGMA page_count").fetchone()[0] * 4096
        if second == 2:
            scene.relieve(2.5)
    scene.writer.flush()
    assert len(set(sizes.values())) == 3
    for end, size in sizes.items():
        copy = rebuilt(scene, base, end, tmp_path / "copy.db")
        assert (copy.stat().st_size, dump(copy)) == (size, scene.states[end])


def test_a_base_from_the_middle_of_a_segment_reaches_the_same_end(scene: Scene, tmp_path: Path) -> None:
    scene.insert(3)
    scene.take(1)
    scene.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    base = scene.path.read_bytes()
    scene.insert(3)
    scene.take(2)
    scene.writer.flush()
    assert len(scene.read().segments) == 1
    for end, state in scene.states.items():
        assert dump(rebuilt(scene, base, end, tmp_path / "copy.db")) == state


def test_what_is_written_is_the_number_of_pages(scene: Scene, tmp_path: Path) -> None:
    base = scene.path.read_bytes()
    end = scene.commit(1, count=5)
    (tmp_path / "copy.db").write_bytes(base)
    pages = replay(str(tmp_path / "copy.db"), base_stands, needed(scene, end), end, QUIET)
    assert pages == scene.db.execute("PRAGMA page_count").fetchone()[0]
    assert (tmp_path / "copy.db").stat().st_size == pages * 4096


# -- segments that are not what was archived


def refused(scene: Scene, segments: list[Segment], place: Path) -> VerificationError:
    with pytest.raises(VerificationError, match="is not what was archived") as caught:
        replay(str(place), base_stands, segments, segments[-1].end, QUIET)
    return caught.value


def rewritten(scene: Scene, segment: Segment, change: Callable[[bytearray], object]) -> Segment:
    """The segment with another content and right checksums: as if the archiver had stored nonsense."""
    path = scene.folder / segment.name
    block = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()))
    change(block)
    path.unlink()
    out = store.StreamWriter(str(path), 2)
    out.write(bytes(block))
    stored = out.seal()
    out.sync()
    return dataclasses.replace(segment, stored=stored)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.__setitem__(32 + 8, b[32 + 8] ^ 1), "in every frame"),
        (lambda b: b.__setitem__(32 + 4120 + 15, b[32 + 4120 + 15] ^ 1), "in every frame"),
        (lambda b: b.__setitem__(0, 0), "the WAL header of its round"),
        (lambda b: b.__setitem__(16, b[16] ^ 1), "the WAL header of its round"),
        (lambda b: b.__delitem__(slice(-1, None)), "frames 1 to"),
        (lambda b: b.__delitem__(slice(-4120, None)), "frames 1 to"),
        (lambda b: b.extend(b[-4120:]), "frames 1 to"),
        (lambda b: b.__delitem__(slice(20, None)), "frames 1 to"),
        (lambda b: b.__setitem__(slice(-4116, -4112), b"\0\0\0\7"), "a commit in frame"),
        (lambda b: b.__setitem__(slice(-4116, -4112), bytes(4)), "a commit in frame"),
    ],
)
def test_a_segment_with_other_frames_is_refused(
    scene: Scene, tmp_path: Path, change: Callable[[bytearray], object], words: str
) -> None:
    scene.commit(1, count=3)
    (segment,) = scene.read().segments
    (tmp_path / "copy.db").write_bytes(scene.path.read_bytes())
    found = refused(scene, [rewritten(scene, segment, change)], tmp_path / "copy.db")
    assert words in found.expected
    assert "--to " in found.next_step


def test_a_segment_that_was_changed_cut_or_lost_is_refused_and_named(scene: Scene, tmp_path: Path) -> None:
    scene.commit(1)
    scene.commit(2)
    segments = list(scene.read().segments)
    place = tmp_path / "copy.db"
    place.write_bytes(scene.path.read_bytes())
    for segment in segments:
        path = scene.folder / segment.name
        good = path.read_bytes()
        for position in range(0, len(good), max(1, len(good) // 25)):
            flip(path, position)
            assert str(path) in refused(scene, segments, place).what
            path.write_bytes(good[:position])
            refused(scene, segments, place)
            path.write_bytes(good)
        path.unlink()
        assert str(path) in refused(scene, segments, place).what
        path.write_bytes(good)
    replay(str(place), base_stands, segments, segments[-1].end, QUIET)


@pytest.mark.parametrize("in_memory", [1 << 30, 1000])
def test_a_refused_replay_leaves_nothing_open_and_nothing_beside(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(replays, "_IN_MEMORY", in_memory)
    for second in range(1, 6):
        scene.commit(second)
    segments = list(scene.read().segments)
    place = tmp_path / "copy.db"
    place.write_bytes(scene.path.read_bytes())
    before = len(os.listdir("/proc/self/fd"))
    for segment in segments:
        flip(scene.folder / segment.name, 40)
        refused(scene, segments, place)
        flip(scene.folder / segment.name, 40)
    path = scene.folder / segments[0].name
    good = path.read_bytes()
    for change in (lambda block: block.__setitem__(16, block[16] ^ 1), lambda block: block.extend(b"x")):
        refused(scene, [rewritten(scene, segments[0], change), *segments[1:]], place)
        path.write_bytes(good)
    assert len(os.listdir("/proc/self/fd")) == before
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]


def test_a_merged_round_that_was_changed_anywhere_is_refused(scene: Scene, tmp_path: Path) -> None:
    for second in (1, 2, 3):
        scene.commit(second)
    scene.relieve(4)
    scene.commit(5)
    scene.writer.merge()
    segments = list(scene.read().segments)
    merged = scene.folder / segments[0].merged
    place = tmp_path / "copy.db"
    place.write_bytes(scene.path.read_bytes())
    size = merged.stat().st_size
    for position in range(0, size, size // 40):
        flip(merged, position)
        assert str(merged) in refused(scene, segments, place).what
        flip(merged, position)
    replay(str(place), base_stands, segments, segments[-1].end, QUIET)
