from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import die_before_call, flip
from unit.archives import Kept, Scene, archiving, connect, dump
from unit.places import Disk, in_fork

from litekeep import archivewriter, files, moments, store, timelinefile
from litekeep.archivewriter import ArchiveWriter, StorageError, merge_round
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.hold import LostError
from litekeep.progress import Progress
from litekeep.replay import replay
from litekeep.repository import Repository
from litekeep.timefmt import now, to_text
from litekeep.timeline import Position, Timeline


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def rounds(timeline: Timeline) -> list[list[tuple[int, int]]]:
    by_round: dict[int, list[tuple[int, int]]] = {}
    for segment in timeline.segments:
        by_round.setdefault(segment.round, []).append((segment.first, segment.last))
    return list(by_round.values())


def raw(scene: Scene) -> bytes:
    """The archived rounds, one after the other, as the zstd program sees them."""
    found = b""
    for segment in scene.read().segments:
        path, offset = archivewriter.segment_file(segment)
        found += b"".join(store.read_back(path, segment.stored, Progress(), part_at=offset))
    return found


# -- what is taken over


def test_the_segments_of_a_round_are_the_wal(scene: Scene) -> None:
    for second in range(3):
        scene.commit(second)
    scene.insert(3, size=20000)
    assert scene.take(4)
    assert scene.writer.open_size > 0
    assert scene.writer.flush()
    wal = Path(f"{scene.path}-wal").read_bytes()
    assert raw(scene) == wal
    assert rounds(scene.read())[0][0][0] == 1


def test_nothing_new_is_no_segment(scene: Scene) -> None:
    assert not scene.take(1)
    assert not scene.writer.flush()
    scene.commit(2)
    assert not scene.take(3)
    assert not scene.writer.flush()
    assert len(scene.read().segments) == 1


def test_an_open_transaction_is_not_taken_over(scene: Scene) -> None:
    scene.commit(1)
    scene.db.execute("BEGIN")
    scene.db.execute("PRAGMA cache_size=1")
    scene.insert(200, size=3000)
    assert not scene.take(2)
    scene.db.execute("ROLLBACK")
    assert not scene.take(3)
    scene.commit(4)
    wal = Path(f"{scene.path}-wal").read_bytes()
    assert wal.startswith(raw(scene)), "the rolled back frames were overwritten"


def test_a_new_round_begins_when_the_wal_begins_anew(scene: Scene) -> None:
    scene.commit(1)
    scene.relieve(2)
    scene.commit(3)
    scene.relieve(4)
    scene.insert()
    assert scene.take(5)
    scene.relieve(6)
    scene.commit(7)
    assert [pieces[0][0] for pieces in rounds(scene.read())] == [1, 1, 1, 1]
    assert [segment.round for segment in scene.read().segments] == [1, 2, 3, 4]
    assert scene.read().problems == ()


def test_an_empty_wal_is_remembered_with_the_round_after_it(scene: Scene) -> None:
    """A backup of the empty WAL has its salts only."""
    scene.commit(1)
    scene.relieve(2)
    other = connect(scene.path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    assert not scene.take(3)
    empty = list(scene.writer.empty)
    assert len(empty) == 1
    scene.heartbeat(4)
    assert scene.read().runs[-1].empty == tuple(empty)
    scene.resume()
    assert scene.writer.empty == empty
    scene.commit(5)
    assert scene.read().segments[-1].before == tuple(empty)
    assert scene.writer.empty == []


def test_an_empty_wal_seen_while_a_segment_is_open_comes_after_that_segment(scene: Scene) -> None:
    """Else a backup of the empty WAL would be taken for one from before the segment, and the segment applied to it."""
    scene.insert(5)
    assert scene.take(1)
    scene.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert not scene.take(2), "all is in the database: the reader sits on mark 0 now"
    assert scene.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert not scene.take(3)
    assert scene.hold.look().position.frame == 0
    salts = scene.hold.look().position.salts
    assert scene.writer.flush()
    scene.heartbeat(4)
    end = scene.read().segments[-1].end
    assert scene.read().runs[-1].locate(salts, 0) == end
    scene.commit(5)
    assert scene.read().runs[-1].locate(salts, 0) == end


def test_a_wal_that_lost_commits_ends_the_timeline(scene: Scene) -> None:
    scene.commit(1, count=5)
    state = scene.hold.look()
    back = type(state)(
        type(state.position)(state.position.salts, state.position.frame - 1),
        state.page_size,
        state.page_count,
        state.checksum,
        0,
    )
    with pytest.raises(LostError, match="its last commits are gone"):
        scene.take_state(back, 2)


def test_a_last_frame_that_is_not_what_the_index_says_is_not_taken_over(scene: Scene) -> None:
    scene.commit(1)
    scene.insert()
    state = scene.hold.look()
    wrong = type(state)(state.position, state.page_size, state.page_count + 1, state.checksum, 0)
    with pytest.raises(LostError, match="is not the commit"):
        scene.take_state(wrong, 2)
    assert scene.writer.behind is False
    assert scene.take(3)
    assert scene.writer.flush()
    assert raw(scene) == Path(f"{scene.path}-wal").read_bytes()


def test_a_wal_that_is_shorter_than_its_index_says_is_not_taken_over(scene: Scene) -> None:
    scene.commit(1)
    state = scene.hold.look()
    beyond = type(state)(
        type(state.position)(state.position.salts, state.position.frame + 40),
        state.page_size,
        state.page_count,
        state.checksum,
        0,
    )
    with pytest.raises(LostError, match="shorter than its index says"):
        scene.take_state(beyond, 2)


def test_a_header_that_does_not_belong_to_the_index_is_not_taken_over(scene: Scene) -> None:
    scene.commit(1)
    state = scene.hold.look()
    other = type(state)(type(state.position)((1, 2), 3), state.page_size, state.page_count, state.checksum, 0)
    with pytest.raises(LostError, match="header does not belong"):
        scene.take_state(other, 2)


def test_a_timeline_has_the_name_of_its_folder_and_cannot_begin_there_twice(scene: Scene) -> None:
    assert scene.writer.id == scene.folder.name == scene.read().id
    scene.commit(1)
    before = scene.records.read_bytes()
    with pytest.raises(OSError, match=r"exists|not empty"):
        ArchiveWriter.begin(scene.writer.folder, 2, 0, {"started": "2026-11-22T02:00:00Z"})
    assert scene.records.read_bytes() == before


# -- dropping and taking again


def test_what_was_dropped_is_taken_again_as_unchanged_since_its_first_look(scene: Scene) -> None:
    scene.commit(1)
    scene.insert()
    assert scene.take(2, unchanged=1.5)
    scene.writer.drop()
    assert scene.writer.behind
    scene.insert()
    assert scene.take(9, unchanged=8)
    assert not scene.writer.behind
    assert scene.writer.flush()
    (mark,) = scene.read().segments[-1].marks()
    assert (mark.unchanged, mark.observed) == (scene.at(1.5), scene.at(9))
    assert raw(scene) == Path(f"{scene.path}-wal").read_bytes()
    assert names(scene.folder)[0] != ".partial-", "nothing hidden is left"


def test_a_dropped_segment_is_taken_again_without_a_further_commit(scene: Scene) -> None:
    scene.insert()
    assert scene.take(1)
    scene.writer.drop()
    assert scene.take(2)
    assert scene.writer.flush()
    assert raw(scene) == Path(f"{scene.path}-wal").read_bytes()


def test_a_wal_that_began_anew_over_dropped_commits_ends_the_timeline(scene: Scene) -> None:
    scene.insert()
    assert scene.take(1)
    scene.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert not scene.take(2)
    scene.writer.drop()
    scene.insert()
    with pytest.raises(LostError, match="began anew"):
        scene.take(3)


def test_a_full_archive_disk_loses_nothing_once_there_is_room_again(on_disk: Callable[..., None], events: Path) -> None:
    def work(disk: Disk) -> None:
        with archiving((Repository(str(disk / "repository"), "host"), Database("events", str(events)))) as scene:
            scene.commit(1)
            for leave in (0, 4096, 8192):
                scene.insert(10, size=3000)
                disk.fill(leave=leave)
                with pytest.raises(OSError, match="No space left"):
                    _ = scene.take(2) and scene.writer.flush()
                assert scene.writer.behind or not scene.writer.open_size
                (disk / "ballast").unlink()
                assert scene.read().problems == ()
                assert scene.take(3)
                assert scene.writer.flush()
            assert scene.read().problems == ()
            assert raw(scene) == Path(f"{events}-wal").read_bytes()

    on_disk(work, size="2m")


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_a_disk_that_fills_up_inside_a_record_damages_nothing(scene: Scene, missing: int) -> None:
    """The limit of a file's size ends a write where the test wants it."""
    scene.commit(1)
    length = len(scene.records.read_bytes().splitlines()[-1]) + 1

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = scene.records.stat().st_size
        line = b"x" * (length - 1) + b"\n"
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + length - missing, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="No space left"):
            files.append_bytes(str(scene.records), line)
        assert scene.records.stat().st_size == size + length - missing

    in_fork(work)
    assert scene.read().problems == ()
    scene.commit(2)
    assert scene.read().problems == ()


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_a_record_that_the_disk_did_not_take_whole_never_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    scene.commit(1)
    scene.insert()
    assert scene.take(2)
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, block: write(descriptor, block[: len(block) - missing]))
    with pytest.raises(OSError, match="No space left"):
        scene.writer._record({"kind": "segment", "sequence": 2, "x": "y" * 200})
    monkeypatch.undo()
    scene.writer.drop()
    assert scene.read().problems == ()
    assert scene.take(3)
    assert scene.writer.flush()
    assert scene.read().problems == ()
    assert len(scene.read().segments) == 2


def test_below_the_reserve_nothing_is_archived_and_nothing_is_lost(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.writer._reserve = 1 << 60
        scene.insert()
        assert scene.take(2)
        with pytest.raises(StorageError, match=r"less than .* free in"):
            scene.writer.flush()
        assert scene.writer.behind
        scene.writer._reserve = 0
        assert scene.take(3)
        assert scene.writer.flush()
        assert raw(scene) == Path(f"{scene.path}-wal").read_bytes()


# -- dying


def test_a_process_killed_before_any_call_leaves_a_timeline_that_goes_on(kept: Kept) -> None:
    """Every changing call of a flush, a heartbeat and a merge, each killed once: no damage, nothing lost."""
    with archiving(kept) as scene:
        scene.commit(1)
        scene.commit(2)
        scene.relieve(3)
        for number in range(1, 100):
            scene.insert()

            def work() -> None:
                assert scene.take(4)
                assert scene.writer.flush()
                scene.heartbeat(5)
                scene.writer.merge()

            code = die_before_call(number, work)
            assert scene.read().problems == (), f"killed before call {number}"
            scene.resume()
            assert [name for name in names(scene.folder) if name.startswith(".partial")] == []
            if code == 0:
                break
            assert code == -signal.SIGKILL
        assert number > 10
        assert not scene.take(6)
        assert raw(scene).endswith(Path(f"{scene.path}-wal").read_bytes())


def test_a_merge_killed_before_any_call_is_ended_by_the_next_archiver(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.commit(2)
        scene.commit(3)
        scene.relieve(4)
        scene.commit(5)
        before = raw(scene)
        for number in range(1, 50):
            code = die_before_call(number, scene.writer.merge)
            assert scene.read().problems == (), f"killed before call {number}"
            assert raw(scene) == before
            if code == 0:
                break
        assert number > 4
        scene.resume()
        scene.writer.merge()
        segments = scene.read().segments
        assert names(scene.folder) == sorted({segments[0].merged, segments[-1].name, "timeline.jsonl"})
        assert raw(scene) == before


def test_a_process_killed_while_it_begins_a_timeline_leaves_no_damage(kept: Kept) -> None:
    values: dict[str, Any] = {
        "number": 1,
        "host": "h",
        "database": "events",
        "source": {},
        "started": to_text(now()),
        "reason": "r",
    }
    values["empty"] = []
    archive = Path(kept[0].archive("events"))
    archive.mkdir(parents=True)
    for number in range(1, 20):
        folder = archive / f"20261122T02{number:04d}.000Z"

        def begin(folder: Path = folder) -> None:
            ArchiveWriter.begin(str(folder), 2, 0, values)

        code = die_before_call(number, begin)
        damage = [problem for timeline in kept[0].timelines("events") for problem in timeline.problems]
        assert damage == [], f"killed before call {number}"
        if code == 0:
            return
    pytest.fail("it never ended")


def test_going_on_gives_a_segment_its_name_that_a_crash_kept_hidden(scene: Scene) -> None:
    scene.commit(1)
    segment = scene.read().segments[-1]
    hidden = scene.folder / timelinefile.partial_name(segment.round, segment.first)
    (scene.folder / segment.name).rename(hidden)
    (scene.folder / ".partial-other").write_bytes(b"x")
    scene.resume()
    assert names(scene.folder) == [segment.name, "timeline.jsonl"]
    scene.commit(2)
    assert scene.read().problems == ()
    assert raw(scene) == Path(f"{scene.path}-wal").read_bytes()


# -- merging


def test_a_closed_round_is_one_file_that_zstd_reads(scene: Scene) -> None:
    for second in range(4):
        scene.commit(second)
    wal = Path(f"{scene.path}-wal").read_bytes()
    scene.writer.merge()
    assert len(list(scene.folder.glob("*.wal.zst"))) == 4, "the round is not over"
    scene.relieve(5)
    scene.commit(6)
    scene.writer.merge()
    merged, _newest = sorted(scene.folder.glob("*.wal.zst"))
    done = subprocess.run(["zstd", "-dc", str(merged)], capture_output=True, check=True)
    assert done.stdout == wal
    found = scene.read()
    assert (found.problems, len(found.segments)) == ((), 5)
    assert [segment.observed for segment in found.segments] == [scene.at(n) for n in (0, 1, 2, 3, 6)]
    scene.resume()
    scene.commit(7)
    assert scene.read().problems == ()


def test_parts_that_are_not_what_was_stored_are_not_merged_and_stay(scene: Scene) -> None:
    scene.commit(1)
    scene.commit(2)
    scene.relieve(3)
    scene.commit(4)
    parts = sorted(scene.folder.glob("00000001-*"))
    flip(parts[1], 20)
    for _again in range(2):
        with pytest.raises(VerificationError, match="is not what was stored"):
            scene.writer.merge()
        assert sorted(scene.folder.glob("00000001-*")) == parts
    flip(parts[1], 20)
    scene.writer.merge()
    assert len(list(scene.folder.glob("00000001-*"))) == 1


def test_a_round_of_one_segment_needs_no_merging(scene: Scene) -> None:
    scene.commit(1)
    before = names(scene.folder)
    merge_round(list(scene.read().segments))
    merge_round([])
    assert names(scene.folder) == before


def test_no_archived_round_depends_on_what_the_database_is_now(scene: Scene, tmp_path: Path) -> None:
    """Base, segments, replay: the whole way once, over several rounds and merges."""
    base = tmp_path / "base.db"
    base.write_bytes(scene.path.read_bytes())
    for number in range(1, 5):
        scene.commit(number, count=3)
        if number % 2:
            scene.relieve(number + 0.5)
            scene.writer.merge()
    scene.heartbeat(9)
    scene.writer.merge()
    found = scene.read()
    for position, state in scene.states.items():
        copy = tmp_path / "copy.db"
        copy.write_bytes(base.read_bytes())
        segments = [s for s in found.segments if Position(s.round, s.first) <= position]
        replay(str(copy), lambda: None, segments, position, Progress())
        assert dump(copy) == state
    assert moments.state_at(found.runs[0], scene.at(9)).position == found.runs[0].end


def test_the_heartbeat_carries_what_the_archiver_complains_of(scene: Scene) -> None:
    scene.writer.heartbeat(scene.at(1), "the disk is full")
    found: Any = scene.read()
    assert (found.trouble, found.until) == ("the disk is full", scene.at(1))
