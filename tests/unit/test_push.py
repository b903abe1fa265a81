"""Push: what is complete arrives, in order, and is proven; what is interrupted arrives later; nothing counts early."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from offhost import folder_remote, sftp_server
from support import flip
from unit.archives import Kept, Scene

from litekeep import outbound, push
from litekeep.errors import BusyError, RemoteError, VerificationError
from litekeep.outbound import Batches, cover, piece_name, piece_of
from litekeep.progress import Progress
from litekeep.push import Archive, Backups
from litekeep.remote import Store
from litekeep.store import packed, unpacked

QUIET = Progress()


class There:
    """A folder that a host pushes to."""

    def __init__(self, kept: Kept, place: Path, check: str = "size") -> None:
        self.kept, self.place = kept, place
        self.store = Store(folder_remote(place, check=check))

    def archive(self) -> Archive:
        return Archive(self.kept[0], "events", self.store, QUIET)

    def backups(self) -> Backups:
        return Backups(self.kept[0], "events", self.store, QUIET)

    def files(self, below: str = "") -> list[str]:
        folder = self.place / "events" / below
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def pieces(self, scene: Scene) -> list[str]:
        return [name for name in self.files(f"archive/{scene.folder.name}") if piece_of(name)]

    def records(self, scene: Scene) -> bytes:
        """Put together out of pieces."""
        folder = self.place / "events" / "archive" / scene.folder.name
        names, end = cover({path.name: path.stat().st_size for path in folder.iterdir()})
        found = b""
        for name in names:
            start, stop = piece_of(name) or (0, 0)
            found = found[:start] + unpacked((folder / name).read_bytes(), stop - start)
        assert len(found) == end
        return found


@pytest.fixture
def there(kept: Kept, tmp_path: Path) -> There:
    return There(kept, tmp_path / "remote")


@pytest.fixture
def story(scene: Scene) -> Scene:
    scene.commit(1)
    scene.backup(2)
    for second in range(3, 6):
        scene.commit(second)
    return scene


def test_over_real_sftp_nothing_is_sent_twice(kept: Kept, story: Scene, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with sftp_server(tmp_path / "keys") as server:
        store = Store(server.remote())
        assert Backups(kept[0], "events", store, QUIET).run().backups
        archive = Archive(kept[0], "events", store, QUIET)
        assert archive.run().segments == 4
        story.commit(9)
        assert archive.run().segments == 1
        # Forgotten, and found again by asking.
        shutil.rmtree(Path(kept[0].folder("events"), "remotes"))
        assert Archive(kept[0], "events", store, QUIET).run().segments == 0
        assert Backups(kept[0], "events", store, QUIET).run().backups == []
        with pytest.raises(RemoteError, match="refused to write"):
            store.write("elsewhere", [b"x"])


def test_the_manifest_comes_last_and_records_come_after_their_segments(
    there: There, story: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real_write, real_send = Store.write, Store.send

    def write(self: Store, path: str, blocks: Iterable[bytes]) -> None:
        written.append(os.path.basename(path))
        real_write(self, path, blocks)

    def send(self: Store, folder: str, names: list[str], to: str) -> None:
        written.extend(names)
        real_send(self, folder, names, to)

    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(Store, "send", send)
    there.backups().run()
    there.archive().run()
    assert written[:2] == ["database.db.zst", "manifest.json"]
    assert [name.split("-")[0] for name in written[2:4]] == ["00000001", "records"]
    assert written[4:] in ([], ["heartbeat.json"])


@pytest.mark.parametrize("when", range(8))
def test_a_push_that_breaks_off_anywhere_is_made_good_by_the_next(
    there: There, story: Scene, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """Half of a file arrives, then the remote is gone."""
    calls = iter(range(1000))
    real = Store.write

    def write(self: Store, path: str, blocks: Iterable[bytes]) -> None:
        content = b"".join(blocks)
        if next(calls) == when:
            real(self, path, [content[: len(content) // 2]])
            raise RemoteError("gone")
        real(self, path, [content])

    monkeypatch.setattr(Store, "write", write)
    for lane in (there.backups(), there.archive()):
        for second in (10, 11):
            if isinstance(lane, Archive):
                story.commit(second + when)
            try:
                lane.run()
            except RemoteError:
                lane.forget()
            if when % 2:
                shutil.rmtree(Path(there.kept[0].folder("events"), "remotes"), ignore_errors=True)
    again = there.backups(), there.archive()
    for lane in again:
        lane.run()
    assert there.records(story) == story.records.read_bytes()
    newest = there.kept[0].catalogue("events").newest
    assert newest is not None
    for name in os.listdir(newest.folder):
        copy = there.place / "events" / "backups" / newest.id / name
        assert copy.read_bytes() == Path(newest.folder, name).read_bytes()


def test_what_arrived_otherwise_than_it_was_sent_does_not_count(
    kept: Kept, story: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = There(kept, tmp_path / "remote", check="read_back")
    real = Store.write

    def write(self: Store, path: str, blocks: Iterable[bytes]) -> None:
        content = bytearray(b"".join(blocks))
        content[len(content) // 2] ^= 1
        real(self, path, [bytes(content)])

    monkeypatch.setattr(Store, "write", write)
    archive = there.archive()
    with pytest.raises(RemoteError, match="is not on vault as it was sent") as caught:
        archive.run()
    assert "sha256" in caught.value.expected
    assert there.pieces(story) == []
    with pytest.raises(RemoteError, match="as it was sent"):
        there.backups().run()
    monkeypatch.undo()
    archive.forget()
    archive.run()
    assert there.records(story) == story.records.read_bytes()


def test_a_segment_that_is_damaged_here_is_not_sent(there: There, story: Scene) -> None:
    flip(story.folder / story.read().segments[1].name, 60)
    with pytest.raises(VerificationError, match="is not what was archived"):
        there.archive().run()
    assert there.pieces(story) == []


def test_only_verified_backups_are_sent_and_those_that_the_remote_removed_are_not_sent_again(
    there: There, kept: Kept, story: Scene
) -> None:
    first = kept[0].catalogue("events").newest
    second = story.backup(20)
    third = story.backup(21)
    assert first is not None
    Path(second.folder, "manifest.json").write_text("{}")
    assert there.backups().run().backups == [first.id, third.id]
    shutil.rmtree(there.place / "events" / "backups" / first.id)
    lane = there.backups()
    lane.forget()
    assert lane.run().backups == []
    # But a hole is filled, and so is a remote that has lost everything.
    shutil.rmtree(there.place / "events" / "backups" / third.id)
    lane.forget()
    assert third.id in lane.run().backups


def test_many_small_pieces_get_one_that_covers_them(
    there: There, story: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_MANY", 4)
    archive = there.archive()
    for second in range(10, 40):
        story.commit(second)
        archive.run()
    folder = there.place / "events" / "archive" / story.folder.name
    names, _end = cover({path.name: path.stat().st_size for path in folder.iterdir()})
    assert len(names) <= 9
    assert len(there.pieces(story)) > 30
    assert there.records(story) == story.records.read_bytes()


def test_a_round_that_ends_and_is_merged_on_the_way_is_sent_all_the_same(there: There, story: Scene) -> None:
    archive = there.archive()
    archive.run()
    for second in range(10, 16):
        story.commit(second)
    story.relieve(16)
    story.commit(17)
    story.writer.merge()
    archive.run()
    story.relieve(18)
    story.commit(19)
    archive.run()
    assert there.records(story) == story.records.read_bytes()
    folder = there.place / "events" / "archive" / story.folder.name
    batches = Batches({path.name: path.stat().st_size for path in folder.iterdir()})
    starts: dict[int, dict[int, int]] = {}
    for segment in story.read().segments:
        starts.setdefault(segment.round, {})[segment.first] = segment.offset
    for segment in story.read().segments:
        name, at = next(batches.holding(segment, starts[segment.round]))
        assert at + segment.stored.stored_size <= (folder / name).stat().st_size


def test_records_of_another_timeline_of_that_name_are_refused(there: There, story: Scene) -> None:
    there.archive().run()
    story.commit(10)
    content = story.records.read_bytes()
    story.records.write_bytes(content[: content.find(b"\n", len(content) // 2) + 1])
    with pytest.raises(VerificationError, match="do not end a line where the remote's end"):
        there.archive().run()
    shutil.rmtree(Path(there.kept[0].folder("events"), "remotes"))
    with pytest.raises(VerificationError, match="vault has other records of timeline"):
        there.archive().run()


def test_the_fewest_pieces_that_reach_furthest() -> None:
    spans = [(0, 10), (10, 20), (0, 20), (20, 30), (15, 40), (50, 60), (5, 8)]
    sizes: dict[str, int] = {piece_name(*span): 1 for span in spans}
    names, end = cover(sizes)
    assert ([piece_of(name) for name in names], end) == ([(0, 20), (15, 40)], 40)
    assert cover({**sizes, "timeline.jsonl": 45}) == ([], 45)
    assert cover({**sizes, "timeline.jsonl": 50})[1] == 60
    assert cover(sizes, [piece_name(0, 10)]) == ([piece_name(0, 10)], 10)
    assert cover({}) == ([], 0)


@pytest.mark.parametrize("stored", [b"", b"not zstd", packed(b"x" * 100)[:-3], packed(b"x" * 101)])
def test_small_contents_that_are_none_are_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(stored, 100)
    assert unpacked(packed(b"x" * 100), 100) == b"x" * 100


def test_batches_have_a_largest_size(there: There, story: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "_LARGEST_BATCH", 1)
    there.archive().run()
    folder = there.place / "events" / "archive" / story.folder.name
    assert len(list(folder.glob("*.wal.zst"))) == 4


def test_what_another_process_has_sent_is_not_sent_again(there: There, story: Scene) -> None:
    service = there.archive()
    service.run()
    story.commit(10)
    assert there.archive().run().segments == 1
    assert service.run().segments == 0
    story.commit(11)
    assert service.run().segments == 1
    assert there.records(story) == story.records.read_bytes()


def test_only_one_is_at_work_on_a_lane(there: There, story: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_PATIENCE", 0.1)
    first, second = there.backups(), there.backups()
    with first.memory.held(), pytest.raises(BusyError, match="holds"):
        second.run()
    # The other lane has a lock of its own.
    assert there.archive().run().segments > 0
    assert second.run().backups != []


def test_what_has_gone_from_there_is_sent_again_a_day_later(there: There, story: Scene) -> None:
    lane = there.archive()
    lane.run()
    for name in there.files(f"archive/{story.folder.name}"):
        (there.place / "events" / "archive" / story.folder.name / name).unlink()
    assert lane.run().segments == 0
    lane.memory.values["asked"] = "2001-01-01"
    assert lane.run().segments > 0
    assert there.records(story) == story.records.read_bytes()


def test_what_was_known_of_another_place_of_the_same_name_does_not_count(
    there: There, kept: Kept, story: Scene, tmp_path: Path
) -> None:
    sent = there.backups().run().backups
    remote = replace(folder_remote(tmp_path / "remote"), path="here:moved")
    lane = Backups(kept[0], "events", Store(remote), QUIET)
    assert lane.run().backups == sent != []
    assert (there.place / "moved" / "events" / "backups" / sent[0]).is_dir()
