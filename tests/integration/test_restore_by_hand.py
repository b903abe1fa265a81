"""docs/restore_by_hand.md, followed to the letter: its commands run here, on what a real archiver left."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from archiving import TWO_LOOKS, Archive, archived, dump, dump_of
from support import ROOT, content, flip, leave_wal, litekeep, make_database, protect, writing

from litekeep import backup
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup
from litekeep.timefmt import from_text, now, to_text
from litekeep.timeline import HEARTBEAT, RECORDS, partial_name, unseal
from litekeep.timelinefile import read_timeline

PAGE = (ROOT / "docs" / "restore_by_hand.md").read_text()
FULL = ("Unpack the backup", "Check it")
LATEST = ("Unpack the backup", "Read the records", "The latest state", "Round by round", "Check it")
MOMENT = ("Unpack the backup", "Read the records", "A moment", "Round by round", "Check it")


def block(heading: str) -> str:
    """The one block of commands below a heading of the page."""
    section = re.split(rf"^## {heading}\n", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return str(commands)


def by_hand(steps: tuple[str, ...], **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the page's blocks in one shell, with other settings than the page's examples."""
    names = re.findall(r"^(\w+)=", block("Settings"), re.MULTILINE)
    values = [f"{name}='{settings[name]}'" for name in names if name in settings]
    assert set(settings) <= set(names)
    script = "\n".join(["set -eu", *values, *map(block, steps)])
    work = Path(str(settings["target"])).parent
    return subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(work)},
    )


@dataclass
class History:
    """What an application did and an archiver kept. truth: the content, as a hash, at moments; last: at the end."""

    archive: Archive
    folder: Path
    truth: dict[str, str] = field(default_factory=dict)
    last: str = ""

    @property
    def timeline(self) -> Path:
        """The folder of the only one."""
        (timeline,) = self.archive.timelines()
        return Path(timeline.folder)

    def settings(self, base: int, **others: object) -> dict[str, object]:
        """For the page."""
        backups = self.archive.repository.catalogue("events").backups
        return {"backup": backups[base].folder, "timeline": self.timeline, **others}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Five rounds and more: growth, a schema change, a mass deletion with VACUUM, a busy writer; two bases."""
    place = tmp_path_factory.mktemp("history")
    archive = Archive(place, make_database(place / "data" / "events.db"))
    made = History(archive, Path(archive.repository.folder("events")))

    def remember() -> None:
        archive.reaches(now())
        made.truth[to_text(now())] = dump_of(db)
        time.sleep(TWO_LOOKS)

    def insert(count: int, marker: str) -> None:
        for number in range(count):
            db.execute("INSERT INTO events(timestamp, kind, payload) VALUES('now', ?, ?)", (marker, f"{number} " * 99))

    application = contextlib.closing(sqlite3.connect(archive.path, isolation_level=None, timeout=30))
    with archived(archive), application as db:
        insert(50, "first")
        remember()
        insert(50, "more")
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        db.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, text)")
        db.execute("INSERT INTO notes(text) VALUES(?)", ("note" * 20000,))
        remember()
        litekeep("--config", archive.config, "backup", "events", check=0)
        insert(30, "after the second base")
        remember()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("DELETE FROM events WHERE id % 3")
        db.execute("VACUUM")
        remember()
        with writing(archive.path):
            db.execute("PRAGMA wal_checkpoint(RESTART)")
            time.sleep(2)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(3):
            insert(5, f"the end {number}")
            remember()
        archive.stop()
        made.last = dump_of(db)
    assert archive.gaps() == []
    segments = archive.timelines()[-1].segments
    assert segments[-1].round >= 4
    assert segments[-1].first > 1, "the last round has several segments"
    assert any(Path(segment.folder, segment.merged).exists() for segment in segments), "rounds that are over are merged"
    return made


def by_litekeep(history: History, to: str, target: Path) -> str:
    """The same restore by the engine."""
    litekeep("--config", history.archive.config, "restore", "events", "--to", to, "--target", target, check=0)
    return dump(target)


def test_the_page_has_one_block_for_each_step_and_no_other() -> None:
    assert PAGE.count("```sh\n") == 1 + len(set(LATEST + MOMENT))
    assert re.findall(r"^(\w+)=", block("Settings"), re.MULTILINE) == [
        "folder", "backup", "timeline", "moment", "target"
    ]  # fmt: skip


@pytest.mark.parametrize("index", range(7))
def test_a_moment_restored_by_hand_is_what_the_application_saw(history: History, tmp_path: Path, index: int) -> None:
    moment, truth = list(history.truth.items())[index]
    done = by_hand(MOMENT, **history.settings(0, moment=moment, target=tmp_path / "hand.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert dump(tmp_path / "hand.db") == truth == by_litekeep(history, moment, tmp_path / "litekeep.db")


def test_a_later_base_leads_to_the_same_state(history: History, tmp_path: Path) -> None:
    for number, (moment, truth) in enumerate(list(history.truth.items())[2:]):
        done = by_hand(MOMENT, **history.settings(1, moment=moment, target=tmp_path / f"{number}.db"))
        assert (done.returncode, done.stderr) == (0, "")
        assert dump(tmp_path / f"{number}.db") == truth


def test_moments_in_the_middle_of_a_burst_are_those_of_the_engine(history: History, tmp_path: Path) -> None:
    segments = read_timeline(str(history.timeline)).segments
    marks = [mark for segment in segments for mark in segment.marks()]
    for number, mark in enumerate(random.Random(3).sample(marks, 5)):
        moment = to_text(mark.observed)
        done = by_hand(MOMENT, **history.settings(0, moment=moment, target=tmp_path / f"hand{number}.db"))
        assert (done.returncode, done.stderr) == (0, "")
        found = dump(tmp_path / f"hand{number}.db")
        assert found == by_litekeep(history, moment, tmp_path / f"litekeep{number}.db")


@pytest.mark.parametrize("base", [0, 1])
def test_the_latest_state_by_hand(history: History, tmp_path: Path, base: int) -> None:
    done = by_hand(LATEST, **history.settings(base, target=tmp_path / "hand.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert dump(tmp_path / "hand.db") == history.last == by_litekeep(history, "latest", tmp_path / "litekeep.db")


def test_any_offset_from_utc_names_the_same_moment(history: History, tmp_path: Path) -> None:
    moment, truth = list(history.truth.items())[1]
    local = from_text(moment).isoformat(timespec="milliseconds").replace("+00:00", "")
    assert by_hand(MOMENT, **history.settings(0, moment=f"{local}+00:00", target=tmp_path / "x.db")).returncode == 0
    assert dump(tmp_path / "x.db") == truth


def test_outside_of_what_is_known_nothing_is_restored(history: History, tmp_path: Path) -> None:
    first = next(iter(history.truth))
    for number, (base, moment) in enumerate(
        [(0, "2026-01-01T00:00:00Z"), (0, "2099-01-01T00:00:00Z"), (1, first)],
    ):
        target = tmp_path / f"{number}.db"
        done = by_hand(MOMENT, **history.settings(base, moment=moment, target=target))
        assert done.returncode != 0
        assert not Path(f"{target}-wal").exists()


def test_the_records_shown_in_the_formats_are_whole_and_have_the_keys_that_are_written(history: History) -> None:
    page = (ROOT / "docs" / "formats.md").read_text().split("### timeline.jsonl\n")[1].split("### Order of writing")[0]
    records, heartbeat = page.split("### heartbeat.json\n")
    start, segment = [unseal(line.encode()) for line in re.findall(r"^{.*}$", records, re.MULTILINE)]
    assert segment[0]["previous"] == start[1]
    written = [unseal(line)[0] for line in (history.timeline / RECORDS).read_bytes().splitlines()[:2]]
    for number, kind in enumerate(("start", "segment")):
        rows = re.findall(rf"^\| ([^|]*) \| (?:both|{kind}) \|(.*)$", records, re.MULTILINE)
        told = {key for cell, rest in rows if "| only where " not in rest for key in re.findall(r"`(\w+)`", cell)} - {
            "checksum"
        }
        assert told == set(written[number]) == set((start, segment)[number][0])
    beat = unseal((history.timeline / HEARTBEAT).read_bytes())[0]
    assert set(re.findall(r"^\| `(\w+)` \|", heartbeat, re.MULTILINE)) == {*beat, "checksum"}


@pytest.fixture
def damaged(history: History, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    """A copy of the timeline to change, and the settings for it."""
    copy = tmp_path / history.timeline.name
    shutil.copytree(history.timeline, copy)
    return copy, {**history.settings(0, target=tmp_path / "hand.db"), "timeline": copy}


def test_what_a_killed_archiver_leaves_is_no_obstacle(
    history: History, damaged: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    """A merge that was cut short, a segment that had not got its name yet, a torn line, a segment without a record."""
    copy, settings = damaged
    segments = read_timeline(str(copy)).segments
    for segment in segments[2:]:
        whole = copy / segment.merged
        if whole.exists():
            part = whole.read_bytes()[segment.offset :][: segment.stored.stored_size]
            (copy / segment.name).write_bytes(part)
    last = segments[-1]
    (copy / last.name).rename(copy / partial_name(last.round, last.first))
    (copy / partial_name(last.round, last.last + 1)).write_bytes(b"half a segment")
    with open(copy / RECORDS, "ab") as stream:
        stream.write(b'{"kind": "segment", "sequ')
    done = by_hand(LATEST, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert dump(tmp_path / "hand.db") == history.last


def test_a_changed_segment_is_noticed(damaged: tuple[Path, dict[str, object]]) -> None:
    copy, settings = damaged
    flip(max(copy.glob("*.wal.zst")), 60)
    done = by_hand(LATEST, **settings)
    assert done.returncode != 0
    assert "checksum did NOT match" in done.stderr


def test_a_missing_or_changed_record_is_noticed(damaged: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    copy, settings = damaged
    lines = (copy / RECORDS).read_bytes().splitlines(keepends=True)
    changed = lines[2].replace(b'"kind"', b'"kinD"')
    for number, kept in enumerate(([*lines[:2], *lines[3:]], [*lines[:2], changed, *lines[3:]], lines[:-1])):
        (copy / RECORDS).write_bytes(b"".join(kept))
        done = by_hand(LATEST, **{**settings, "target": tmp_path / f"{number}.db"})
        assert done.returncode != 0
        assert ("records are missing" in done.stdout) == (number < 2), "the last one is missed by the heartbeat"
        assert "the state after" not in done.stdout


def test_what_stands_before_a_lost_record_can_be_had(
    history: History, damaged: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    """As the page advises: the copy's records are cut, in the middle of a round that became one file."""
    copy, settings = damaged
    lines = (copy / RECORDS).read_bytes().splitlines(keepends=True)
    segments = read_timeline(str(copy)).segments
    number = next(n for n, s in enumerate(segments) if not (copy / s.name).exists() and s.first == 1)
    (copy / RECORDS).write_bytes(b"".join(lines[: number + 2]))
    (copy / "heartbeat.json").unlink()
    done = by_hand(LATEST, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert dump(tmp_path / "hand.db") == by_litekeep(history, to_text(segments[number].observed), tmp_path / "x.db")


def test_a_backup_of_another_timeline_is_refused(history: History, tmp_path: Path) -> None:
    repository, database = protect(tmp_path, make_database(tmp_path / "other" / "events.db"))
    leave_wal(Path(database.path))
    other = backup.take(repository, database, Progress())
    settings = {**history.settings(0, target=tmp_path / "hand.db"), "backup": other.folder}
    assert by_hand(LATEST, **settings).returncode != 0


@pytest.fixture
def saved(tmp_path: Path) -> Backup:
    """A backup alone, without an archive, of a database whose last commits stand in its WAL."""
    path = make_database(tmp_path / "data" / "events.db")
    leave_wal(path)
    return backup.take(*protect(tmp_path, path), Progress())


def test_a_backup_restored_by_hand_is_the_database(saved: Backup, tmp_path: Path) -> None:
    done = by_hand(FULL, backup=saved.folder, target=tmp_path / "restored.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert content(tmp_path / "restored.db") == content(tmp_path / "data" / "events.db")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_nothing_may_stand_in_the_way(saved: Backup, tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"restored.db{suffix}").write_bytes(b"precious")
    assert by_hand(FULL, backup=saved.folder, target=tmp_path / "restored.db").returncode != 0
    assert (tmp_path / f"restored.db{suffix}").read_bytes() == b"precious"


def test_a_changed_stored_file_is_noticed(saved: Backup, tmp_path: Path) -> None:
    flip(Path(saved.folder, "database.db.zst"), 40)
    assert by_hand(FULL, backup=saved.folder, target=tmp_path / "restored.db").returncode != 0
    assert not (tmp_path / "restored.db").exists()


def test_a_bad_source_is_no_restore_point(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path)
    flip(path, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(repository, database, Progress())
    (bad,) = repository.catalogue("events").backups
    assert by_hand(FULL, backup=bad.folder, target=tmp_path / "restored.db").returncode != 0
    assert not (tmp_path / "restored.db").exists()
