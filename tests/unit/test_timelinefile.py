from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import flip
from unit.archives import Scene

from litekeep import timelinefile
from litekeep.timeline import FORMAT, VERSION, Position, Timeline, file_name, partial_name, seal, unseal
from litekeep.timelinefile import read_timeline

FORM = {"name": FORMAT, "version": VERSION}


def what(timeline: Timeline) -> Timeline:
    """All that was read, but for where."""
    runs = tuple(
        dataclasses.replace(run, segments=tuple(dataclasses.replace(s, folder="") for s in run.segments))
        for run in timeline.runs
    )
    return dataclasses.replace(timeline, folder="", runs=runs)


@pytest.fixture
def small(scene: Scene, tmp_path: Path) -> Path:
    """A copy of a timeline of two rounds, four segments and a heartbeat."""
    scene.commit(1)
    scene.commit(2)
    scene.relieve(3)
    scene.commit(4)
    scene.commit(5)
    scene.heartbeat(60)
    return Path(shutil.copytree(scene.folder, tmp_path / "copy" / scene.folder.name))


def read(folder: Path) -> Timeline:
    return read_timeline(str(folder))


def once(folder: Path) -> Timeline:
    """Without looking again at what seems damaged: for the tests that do it thousands of times."""
    return timelinefile._read(str(folder))


# -- one record


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(), st.lists(st.integers())), max_size=5))
def test_a_record_says_again_what_was_put_into_it(values: dict[str, object]) -> None:
    line, checksum = seal(values)
    assert unseal(line) == (values, checksum)
    assert line.count(b"\n") == 1


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_a_value_error(block: bytes) -> None:
    with pytest.raises(ValueError, match=r"checksum|record"):
        unseal(block)


def test_a_list_with_a_right_checksum_is_no_record() -> None:
    body = b'[1, {"a": 2}'
    line = body + b', "checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    with pytest.raises(ValueError):  # noqa: PT011 (any of the JSON module's words)
        unseal(line)


def test_a_record_that_is_nested_too_deeply_is_a_value_error() -> None:
    body = b'{"a": ' + b"[" * 200_000 + b"]" * 200_000
    line = body + b', "checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    with pytest.raises(ValueError, match="nested"):
        unseal(line)


# -- reading


def test_a_timeline_is_read_as_it_was_written(scene: Scene) -> None:
    ends = [scene.commit(1, count=3), scene.commit(2)]
    scene.relieve(3)
    ends.append(scene.commit(4))
    scene.heartbeat(60)
    found = scene.read()
    assert (found.problems, found.id, found.number, found.reason) == ((), scene.writer.id, 1, "archiving began")
    assert (found.started, found.until) == (scene.start, scene.at(60))
    assert [segment.end for segment in found.segments] == ends
    assert [segment.commits for segment in found.segments] == [3, 1, 1]
    assert [segment.observed for segment in found.segments] == [scene.at(1), scene.at(2), scene.at(4)]
    assert len(found.runs) == 1
    assert (found.runs[0].start, found.runs[0].end) == (Position(1, 0), ends[-1])
    assert found.stored_size == sum(path.stat().st_size for path in scene.folder.glob("*.wal.zst"))
    mark = next(found.segments[1].marks())
    assert (mark.unchanged, mark.observed, mark.position) == (scene.at(1.975), scene.at(2), ends[1])


def test_without_a_heartbeat_it_is_proven_until_its_last_segment(scene: Scene) -> None:
    assert scene.read().until == scene.start
    scene.commit(5)
    found = scene.read()
    assert (found.until, found.problems) == (scene.at(5), ())


def test_a_heartbeat_of_an_older_record_proves_nothing_further(scene: Scene) -> None:
    scene.commit(1)
    scene.heartbeat(30)
    scene.commit(5)
    found = scene.read()
    assert (found.until, found.problems) == (scene.at(5), ())


def test_no_changed_byte_of_a_record_goes_unnoticed(small: Path) -> None:
    good = read(small)
    assert good.problems == ()
    path = small / "timeline.jsonl"
    block = path.read_bytes()
    for position in range(len(block)):
        mask = (0x01, 0x2A, 0xFF)[position % 3]
        path.write_bytes(block[:position] + bytes([block[position] ^ mask]) + block[position + 1 :])
        found = once(small)
        assert found.problems or what(found) == what(good), position


def test_no_changed_byte_of_a_heartbeat_goes_unnoticed(small: Path) -> None:
    good = read(small)
    path = small / "heartbeat.json"
    block = path.read_bytes()
    for position in range(len(block)):
        for mask in (0x01, 0x2A, 0xFF):
            path.write_bytes(block[:position] + bytes([block[position] ^ mask]) + block[position + 1 :])
            found = once(small)
            assert found.problems or what(found) == what(good), (position, mask)
            assert found.until <= good.until


@pytest.mark.parametrize("name", ["timeline.jsonl", "heartbeat.json"])
def test_a_file_that_was_cut_anywhere_is_noticed(small: Path, name: str) -> None:
    good = read(small)
    path = small / name
    block = path.read_bytes()
    for length in range(len(block) - 1):
        path.write_bytes(block[:length])
        assert once(small).problems, length
    path.write_bytes(block[:-1])
    found = read(small)
    assert found.problems or what(found) == what(good)


def test_a_record_that_is_gone_twice_or_in_another_place_is_noticed(small: Path) -> None:
    path = small / "timeline.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for number in range(len(lines)):
        without = lines[:number] + lines[number + 1 :]
        path.write_bytes(b"".join(without))
        assert read(small).problems, f"without line {number}"
        path.write_bytes(b"".join([*lines[: number + 1], *lines[number:]]))
        assert read(small).problems, f"line {number} twice"
        path.write_bytes(b"".join([*without, lines[number]]))
        assert read(small).problems or number == len(lines) - 1, f"line {number} at the end"


@given(order=st.permutations(range(5)))
def test_records_in_another_order_are_noticed(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    folder = tmp_path_factory.getbasetemp() / "order"
    folder.mkdir(exist_ok=True)
    previous, lines = None, []
    for number in range(5):
        values: dict[str, object] = {"kind": "note", "sequence": number, "previous": previous}
        if number == 0:
            more = {"timeline": "t", "started": "2026-11-22T02:00:00.000Z", "number": 1, "reason": "r", "source": {}}
            values = {**values, "kind": "start", "empty": [], "format": FORM, **more}
        line, previous = seal(values)
        lines.append(line)
    (folder / "timeline.jsonl").write_bytes(b"".join(lines[n] for n in order))
    assert bool(read(folder).problems) is (order != sorted(order))


def test_what_stands_before_the_damage_can_still_be_had_and_what_follows_is_a_run_of_its_own(small: Path) -> None:
    path = small / "timeline.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + [b"x" + lines[2]] + lines[3:]))
    found = read(small)
    assert "damaged before line 4" in found.problems[0]
    assert [[segment.sequence for segment in run.segments] for run in found.runs] == [[1], [3, 4]]
    first, second = found.runs
    assert first.until == first.segments[-1].observed
    assert second.started == next(second.segments[0].marks()).observed
    assert second.start == Position(second.segments[0].round, second.segments[0].first - 1)


def test_a_line_torn_by_a_crash_is_no_damage_and_the_next_archiver_closes_it(scene: Scene) -> None:
    scene.commit(1)
    scene.commit(2)
    good = what(scene.read())
    with open(scene.records, "ab") as stream:
        stream.write(b'{"kind": "segment", "sequence": 3, "rou')
    assert what(scene.read()) == good
    scene.resume()
    scene.commit(3)
    found = scene.read()
    assert found.problems == ()
    assert [segment.sequence for segment in found.segments] == [1, 2, 3]


def test_a_record_without_its_last_newline_never_counted(scene: Scene) -> None:
    """A disk that fills up can take all but the newline: the segment is dropped then, and its record must be, too."""
    scene.commit(1)
    scene.commit(2)
    dropped = scene.read().segments[-1]
    scene.records.write_bytes(scene.records.read_bytes()[:-1])
    (scene.folder / dropped.name).unlink()
    found = scene.read()
    assert (found.problems, [segment.sequence for segment in found.segments]) == ((), [1])


def test_a_timeline_of_a_newer_format_is_not_read_as_if_it_were_known(scene: Scene, tmp_path: Path) -> None:
    values, _checksum = unseal(scene.records.read_bytes())
    values.pop("checksum", None)
    values["format"]["version"] = 2
    folder = tmp_path / "newer"
    folder.mkdir()
    (folder / "timeline.jsonl").write_bytes(seal(values)[0])
    assert read(folder).problems


@pytest.mark.parametrize("block", [b"", b"\n", b"x\n", b"\xff\xfe\n\n", b'{"kind": "start"}\n', bytes(5000)])
def test_garbage_is_a_damaged_timeline_and_no_crash(tmp_path: Path, block: bytes) -> None:
    (tmp_path / "timeline.jsonl").write_bytes(block)
    found = read(tmp_path)
    assert found.problems
    assert (found.runs, found.number) == ((), 0)
    assert timelinefile.timeline_number(str(tmp_path)) == 0


def test_whole_records_that_make_no_sense_are_a_damaged_timeline(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    path.write_bytes(seal({"kind": "segment", "previous": None})[0])
    assert "has no first record" in read(tmp_path).problems[0]
    path.write_bytes(seal({"kind": "start", "previous": None, "started": 7})[0])
    assert read(tmp_path).problems
    assert read(tmp_path / "none").problems


# -- segment files


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wal.zst"))


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_segment_that_is_missing_is_named_and_splits_the_run(small: Path, number: int) -> None:
    good = read(small).segments
    files(small)[number].unlink()
    found = read(small)
    assert found.problems == (f"the segment {small / good[number].name} is missing",)
    assert [s.sequence for s in found.segments] == [s.sequence for s in good if s is not good[number]]
    pieces = [piece for piece in ([1, 2, 3, 4][:number], [1, 2, 3, 4][number + 1 :]) if piece]
    assert [[s.sequence for s in run.segments] for run in found.runs] == pieces
    assert found.runs[-1].until <= good[-1].observed


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_segment_of_another_length_is_noticed(small: Path, number: int, change: int) -> None:
    path = files(small)[number]
    size = path.stat().st_size
    os.truncate(path, size + change)
    assert read(small).problems == (f"the segment {path} has {size + change} bytes instead of {size}",)


def test_a_segment_under_another_name_is_missing_and_in_no_record(small: Path) -> None:
    path = files(small)[1]
    other = path.rename(path.parent / file_name(1, 70, 80))
    assert read(small).problems == (
        f"the segment {path} is missing",
        f"the segment {other} is in no record: the records were cut short",
    )


def test_a_segment_that_has_its_record_and_not_its_name_yet_counts(small: Path) -> None:
    good = what(read(small))
    segment = read(small).segments[-1]
    (small / segment.name).rename(small / partial_name(segment.round, segment.first))
    assert what(read(small)) == good
    os.truncate(small / partial_name(segment.round, segment.first), segment.stored.stored_size - 1)
    assert read(small).problems == (f"the segment {small / segment.name} is missing",)


def test_what_a_crash_leaves_hidden_is_no_damage(small: Path) -> None:
    good = what(read(small))
    (small / partial_name(2, 99)).write_bytes(b"half a segment")
    (small / f".partial-{file_name(1, 1, 9)}").write_bytes(b"half a round")
    (small / "heartbeat.json.new").write_bytes(b"{")
    assert what(read(small)) == good


def merge(folder: Path, parts: list[Path], last: int) -> Path:
    merged = folder / file_name(1, 1, last)
    merged.write_bytes(b"".join(part.read_bytes() for part in parts))
    return merged


def test_a_round_counts_in_every_state_that_merging_goes_through(small: Path) -> None:
    good = what(read(small))
    parts = files(small)[:2]
    merged = merge(small, parts, read(small).segments[1].last)
    assert what(read(small)) == good
    for part in parts:
        part.unlink()
        assert what(read(small)) == good
    for change in (-1, 1):
        size = merged.stat().st_size
        os.truncate(merged, size + change)
        assert read(small).problems
        os.truncate(merged, size)
    flip(merged, 20)
    assert what(read(small)) == good, "the content is looked at when it is used"
    merged.unlink()
    assert len(read(small).problems) == 2


def test_a_merged_round_that_lost_its_records_is_noticed(small: Path) -> None:
    parts = files(small)[:2]
    merged = merge(small, parts, read(small).segments[1].last)
    for part in parts:
        part.unlink()
    lines = (small / "timeline.jsonl").read_bytes().splitlines(keepends=True)
    (small / "timeline.jsonl").write_bytes(b"".join(lines[:2]))
    (small / "heartbeat.json").unlink()
    for path in files(small):
        if path != merged:
            path.unlink()
    assert any("is in no record" in problem for problem in read(small).problems)


def test_records_that_the_heartbeat_knows_and_the_file_lacks_are_noticed(small: Path) -> None:
    lines = (small / "timeline.jsonl").read_bytes().splitlines(keepends=True)
    (small / "timeline.jsonl").write_bytes(b"".join(lines[:-1]))
    files(small)[-1].unlink()
    assert any("lacks records that the heartbeat knows" in problem for problem in read(small).problems)


def test_a_round_that_is_merged_while_it_is_being_read_is_no_damage(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeline of a day takes a second to read; the archiver does not wait for that."""
    scene.commit(1)
    scene.commit(2)
    records = timelinefile._records
    done = []

    def slowly(path: str) -> object:
        found = records(path)
        if not done:
            done.append(1)
            scene.commit(3)
            scene.relieve(4)
            scene.commit(5)
            scene.writer.merge()
        return found

    monkeypatch.setattr(timelinefile, "_records", slowly)
    assert scene.read().problems == ()


def test_a_part_that_goes_while_the_folder_is_listed_is_no_damage(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.commit(1)
    scene.commit(2)
    scene.relieve(3)
    scene.commit(4)
    assert not (scene.folder / scene.read().segments[0].merged).exists()
    missing, done = timelinefile._missing, []

    def while_listing(*arguments: object) -> str:
        if not done:
            done.append(1)
            scene.writer.merge()
            return "it was not there"
        return missing(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(timelinefile, "_missing", while_listing)
    assert scene.read().problems == ()
