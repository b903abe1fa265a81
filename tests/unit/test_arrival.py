"""What was pushed becomes, somewhere else, the timeline that it was; nothing else does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from offhost import folder_remote
from support import die_before_call
from unit.archives import Scene

from litekeep import arrival, timelinefile
from litekeep.errors import SpaceError, VerificationError
from litekeep.outbound import piece_name, piece_of
from litekeep.progress import Progress
from litekeep.push import Archive
from litekeep.remote import Store
from litekeep.store import packed
from litekeep.timeline import Timeline, seal, unseal

QUIET = Progress()


class Journey:
    """A timeline on its way: pushed into a folder, and taken over into another one."""

    def __init__(self, scene: Scene, place: Path) -> None:
        self.scene = scene
        self.inbox = place / "remote" / "events" / "archive" / scene.folder.name
        self.target = place / "there" / scene.folder.name
        remote = folder_remote(place / "remote", check="size")
        self.archive = Archive(scene.repository, "events", Store(remote), QUIET)

    def push(self) -> None:
        self.archive.run()

    def arrive(self, use: bool = False, need: Callable[[int], None] = lambda _size: None) -> arrival.Arrived:
        descriptor = os.open(self.inbox, os.O_RDONLY | os.O_DIRECTORY)
        try:
            done = arrival.take_over(descriptor, str(self.target), need)
        finally:
            os.close(descriptor)
        for name in done.used if use else []:
            (self.inbox / name).unlink()
        return done

    def there(self) -> Timeline:
        return timelinefile.read_timeline(str(self.target))

    def assert_the_same(self) -> None:
        here, there = self.scene.read(), self.there()
        assert there.problems == ()
        assert [(s.end, s.stored, s.marks_text) for s in there.segments] == [
            (s.end, s.stored, s.marks_text) for s in here.segments
        ]
        assert (self.target / "timeline.jsonl").read_bytes() == self.scene.records.read_bytes()


@pytest.fixture
def journey(scene: Scene, tmp_path: Path) -> Journey:
    scene.commit(1)
    scene.backup(2)
    return Journey(scene, tmp_path)


@pytest.mark.parametrize("use", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_timeline_arrives_as_it_is(journey: Journey, seed: int, use: bool) -> None:
    chance, scene = random.Random(seed), journey.scene
    for second in range(3, 40):
        scene.commit(second, count=chance.randint(1, 3))
        if chance.random() < 0.1:
            scene.relieve(second + 0.5)
        if chance.random() < 0.1:
            scene.writer.merge()
        if chance.random() < 0.4:
            journey.push()
        if chance.random() < 0.3:
            journey.archive.forget()
        if chance.random() < 0.3 and journey.inbox.exists():
            journey.arrive(use)
            if chance.random() < 0.5:
                arrival.merge_ended_rounds(str(journey.target))
    scene.heartbeat(50)
    journey.archive.memory.keep(heartbeat="")
    journey.push()
    journey.arrive(use)
    journey.assert_the_same()
    assert journey.there().until == scene.read().until
    assert journey.arrive(use).segments == 0
    if use:
        assert [name for name in os.listdir(journey.inbox) if name != "heartbeat.json"] == []


def pieces(journey: Journey) -> list[str]:
    return sorted(name for name in os.listdir(journey.inbox) if piece_of(name))


def forge(journey: Journey, change: Callable[[bytes], bytes], start: int = 0) -> None:
    """The one piece, with other records."""
    (name,) = pieces(journey)
    lines = change(journey.scene.records.read_bytes())
    (journey.inbox / name).unlink()
    (journey.inbox / piece_name(start, start + len(lines))).write_bytes(packed(lines))


def seals(lines: bytes, **changes: object) -> bytes:
    """The last record with other values, and a checksum that is right."""
    before, last = lines[: lines.rfind(b"\n", 0, -1) + 1], lines[lines.rfind(b"\n", 0, -1) + 1 :]
    values, _checksum = unseal(last)
    return before + seal({**values, **changes})[0]


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "a record is left out": lambda lines: lines.split(b"\n", 1)[1],
    "one in the middle is left out": lambda lines: b"".join(lines.splitlines(keepends=True)[::2]),
    "another content": lambda lines: seals(lines, stored_sha256="0" * 64),
    "another size": lambda lines: seals(lines, stored_size=1 << 50),
    "no size": lambda lines: seals(lines, stored_size=None),
    "a negative frame": lambda lines: seals(lines, first=-1),
    "frames without end": lambda lines: seals(lines, last=1 << 60),
    "another round": lambda lines: seals(lines, round=7),
    "no marks": lambda lines: seals(lines, marks=""),
    "a changed byte": lambda lines: lines.replace(b'"page_size": 4096', b'"page_size": 8192', 1),
    "a negative size": lambda lines: seals(lines, stored_size=-1),
    "a record that never ends": lambda lines: seals(lines, more="x" * (5 << 20)),
    "no records": lambda _lines: b"rubbish\n" * 10,
    "rubbish after the first": lambda lines: lines[: lines.find(b"\n") + 1] + b"rubbish\n" * 1000,
    "brackets": lambda lines: lines[: lines.find(b"\n") + 1] + brackets() * 101,
}


def brackets() -> bytes:
    """A record whose checksum is right, and which no parser of JSON gets through."""
    body = b'{"previous": ' + b"[" * 20_000
    return body + b', "checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize("name", FORGERIES)
def test_records_that_are_not_those_of_the_host_are_not_taken_over(journey: Journey, name: str) -> None:
    scene = journey.scene
    for second in range(3, 6):
        scene.commit(second)
    journey.push()
    forge(journey, FORGERIES[name])
    with contextlib.suppress(VerificationError):
        assert journey.arrive().waiting
    whole = scene.records.read_bytes()
    taken = (journey.target / "timeline.jsonl").read_bytes() if (journey.target / "timeline.jsonl").exists() else b""
    assert whole.startswith(taken)
    assert len(taken) < len(whole)
    assert not taken or journey.there().problems == ()
    assert not journey.target.exists() or not list(journey.target.glob(".partial-*"))


def test_a_segment_that_has_not_arrived_is_waited_for(journey: Journey) -> None:
    scene = journey.scene
    journey.push()
    scene.commit(3)
    scene.commit(4)
    journey.push()
    last = max(path for path in journey.inbox.glob("*.wal.zst"))
    aside = journey.inbox.parent / "aside"
    shutil.move(str(last), aside)
    done = journey.arrive()
    assert done.segments == 1
    assert "is not there yet" in done.waiting
    # Of a torn batch, what is whole is taken.
    last.write_bytes(aside.read_bytes()[:-1])
    done = journey.arrive()
    assert (done.segments, "is not there yet" in done.waiting) == (1, True)
    shutil.move(str(aside), last)
    assert journey.arrive().segments == 1
    journey.assert_the_same()


@pytest.mark.parametrize("how", ["bomb", "too long", "cut", "link", "folder"])
def test_a_piece_that_could_do_harm_is_refused(journey: Journey, tmp_path: Path, how: str) -> None:
    journey.push()
    (name,) = pieces(journey)
    path = journey.inbox / name
    stored = path.read_bytes()
    path.unlink()
    if how == "bomb":
        path.write_bytes(packed(b"\n" * 50_000_000))
    elif how == "too long":
        (journey.inbox / piece_name(0, 1 << 33)).write_bytes(stored)
    elif how == "cut":
        path.write_bytes(stored[:-2])
    elif how == "link":
        (tmp_path / "elsewhere").write_bytes(stored)
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
    if how in ("link", "folder"):
        assert journey.arrive().records == 0
    else:
        with pytest.raises(VerificationError, match="is not what was sent"):
            journey.arrive()
    assert not (journey.target / "timeline.jsonl").exists()


def test_a_heartbeat_that_is_none_is_passed_over(journey: Journey) -> None:
    journey.push()
    for content in (b"[" * 100_000, b"\xff", brackets()):
        (journey.inbox / "heartbeat.json").write_bytes(content)
        assert journey.arrive().waiting == ""
        assert not (journey.target / "heartbeat.json").exists()


def test_a_wait_leaves_nothing_behind_that_costs_the_next_look(journey: Journey) -> None:
    scene = journey.scene
    scene.commit(3)
    journey.push()
    batch = next(journey.inbox.glob("*.wal.zst"))
    content = batch.read_bytes()
    batch.write_bytes(bytes(len(content)))
    assert "is not there yet" in journey.arrive().waiting
    assert sorted(os.listdir(journey.target)) == ["timeline.jsonl"]
    batch.write_bytes(content)
    journey.arrive()
    journey.assert_the_same()


def test_what_has_no_room_waits_and_what_has_is_kept(journey: Journey) -> None:
    scene = journey.scene
    for second in range(3, 6):
        scene.commit(second)
    journey.push()
    asked: list[int] = []

    def need(size: int) -> None:
        asked.append(size)
        if len(asked) > 2:
            raise SpaceError("full")

    done = journey.arrive(need=need)
    assert (done.segments, done.waiting, str(done.full)) == (2, "", "full")
    assert journey.there().problems == ()
    assert journey.arrive().segments == 2
    journey.assert_the_same()


def test_a_look_has_an_end_and_the_next_one_goes_on(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in range(3, 9):
        journey.scene.commit(second)
        journey.push()
    monkeypatch.setattr(arrival, "_PIECES", 2)
    assert journey.arrive(use=True).segments == 3
    assert journey.arrive(use=True).segments == 2
    monkeypatch.setattr(arrival, "_PATIENCE", -1.0)
    assert journey.arrive(use=True).segments == 1
    monkeypatch.undo()
    journey.arrive(use=True)
    journey.assert_the_same()


def test_a_round_without_end_is_refused(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in range(3, 9):
        journey.scene.commit(second)
    journey.push()
    journey.arrive()
    monkeypatch.setattr(arrival, "_TAIL", 10)
    journey.arrive()
    monkeypatch.setattr(arrival, "_LONGEST_TAIL", 100)
    with pytest.raises(VerificationError, match="is not what was sent"):
        journey.arrive()


def test_segments_get_their_names_after_a_crash_however_many_there_are(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records are there, and longer than what is read of the records otherwise."""
    scene = journey.scene
    for second in range(3, 20):
        scene.commit(second)
    scene.relieve(20)
    scene.commit(21)
    scene.relieve(22)
    scene.commit(23)
    journey.push()
    with monkeypatch.context() as crash:
        crash.setattr(arrival, "_settle", lambda _segment: os.stat("/nowhere"))
        with pytest.raises(FileNotFoundError):
            journey.arrive()
    monkeypatch.setattr(arrival, "_TAIL", 256)
    assert journey.arrive().segments == 0
    journey.assert_the_same()


@pytest.mark.parametrize("tail", [256, 1 << 20])
def test_killed_before_every_file_system_call(journey: Journey, monkeypatch: pytest.MonkeyPatch, tail: int) -> None:
    """What is there then is a timeline without damage, and the next run brings the rest."""
    monkeypatch.setattr(arrival, "_TAIL", tail)
    scene = journey.scene
    for second in range(3, 6):
        scene.commit(second)
    scene.relieve(6)
    scene.commit(7)
    journey.push()

    def work() -> None:
        journey.arrive()
        arrival.merge_ended_rounds(str(journey.target))

    for number in range(1, 500):
        shutil.rmtree(journey.target, ignore_errors=True)
        if die_before_call(number, work) == 0:
            break
        if (journey.target / "timeline.jsonl").exists() and (journey.target / "timeline.jsonl").stat().st_size:
            assert journey.there().problems == (), number
        journey.arrive()
        journey.assert_the_same()
    assert 20 < number < 400
