"""What can go wrong while a database is archived: each is noticed, said, recorded, and recovered from."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archiving import Archive, application, archived, dump, dump_of, moment
from faults.test_bad_input import small_disk
from support import ROOT, litekeep, make_database

from litekeep import restore
from litekeep.errors import NoRestorePointError, VerificationError
from litekeep.progress import Progress

INSERT = "INSERT INTO events(kind, payload) VALUES('new', hex(randomblob(300)))"

# The archiver with a clock that a file sets ahead or back, in seconds.
OTHER_CLOCK = """
import datetime, sys
sys.path.insert(0, sys.argv.pop(1))
offset = sys.argv.pop(1)
from litekeep import archive, capture, backup, cli, follow, timefmt
real = timefmt.now
def now():
    with open(offset) as stream:
        return real() + datetime.timedelta(seconds=float(stream.read() or 0))
for room in (archive, follow):
    room.now = now
sys.argv[0] = "litekeep"
sys.exit(cli.main())
"""


def content(path: Path) -> str:
    """The content of a live database."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return dump_of(db)


def looked_at(archive: Archive) -> tuple[dt.datetime, str]:
    """The content now, and a moment for which the archive knows that it stands."""
    for _attempt in range(50):
        found = content(archive.path)
        when = moment()
        archive.reaches(when)
        # On a busy machine the archiver may not have had its turn: then a commit is seen after that moment.
        if archive.proves(when):
            return when, found
    raise AssertionError(f"the archiver never looks in time: {archive.said()}")


@pytest.fixture
def archive(in_memory: Path) -> Archive:
    """The archive of a small database in WAL mode; nothing runs yet."""
    return Archive(in_memory, make_database(in_memory / "data" / "events.db"))


def test_what_was_committed_just_before_the_end_is_kept(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        last = content(archive.path)
        archive.stop()
        assert archive.content_at() == last
        point = archive.point()
        assert point.recovered >= point.observed  # type: ignore[operator]
        assert point.next is None


def test_after_a_restart_within_the_same_wal_the_timeline_goes_on(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        first = looked_at(archive)
        archive.stop()
        stopped = dt.datetime.now(dt.timezone.utc)
        time.sleep(2.2)
        app.do(INSERT)
        time.sleep(0.2)
        archive.start()
        second = looked_at(archive)
        archive.stop()
        assert len(archive.timelines()) == 1
        assert archive.content_at(first[0]) == first[1]
        assert archive.content_at(second[0]) == second[1]
        # Nobody can say when in that time the commit came.
        unwatched = stopped + dt.timedelta(seconds=1)
        with pytest.raises(NoRestorePointError) as refused:
            archive.point(unwatched)
        assert "nobody watched" in refused.value.what
        assert archive.content_at(unwatched, nearest=True) == first[1]


def test_a_wal_that_began_anew_while_nobody_watched_is_a_gap(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        before = looked_at(archive)
        archive.kill()
        app.do("PRAGMA wal_checkpoint(TRUNCATE)", INSERT)
        lost = moment()
        archive.start()
        after = looked_at(archive)
        archive.stop()
    (gap,) = archive.gaps()
    assert gap.reason == "the WAL began anew while no archiver ran"
    assert gap.start < lost < gap.end
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after[0]) == after[1]
    with pytest.raises(NoRestorePointError, match="it lies in a gap"):
        archive.point(lost)


def test_a_database_that_was_replaced_begins_a_new_timeline(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        before = looked_at(archive)
        app.end()
        other = make_database(archive.folder / "other" / "events.db", rows=7, marker="other")
        os.rename(other, archive.path)
        for suffix in ("-wal", "-shm"):
            os.unlink(f"{archive.path}{suffix}")
        archive.wait_for(lambda: len(archive.timelines()) == 2 and archive.hangs())
        app.restart()
        app.do(INSERT)
        after = looked_at(archive)
        archive.stop()
    assert "was replaced by another file" in archive.gaps()[0].reason
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after[0]) == after[1]


def test_a_deleted_database_is_waited_for(archive: Archive) -> None:
    with archived(archive):
        before = looked_at(archive)
        for suffix in ("", "-wal", "-shm"):
            os.unlink(f"{archive.path}{suffix}")
        archive.wait_for(lambda: "waiting for" in archive.said())
        assert "was deleted" in archive.said()
        make_database(archive.path, rows=3)
        archive.wait_for(lambda: len(archive.timelines()) == 2 and archive.hangs())
        after = looked_at(archive)
        archive.stop()
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after[0]) == after[1]


def test_a_database_that_is_not_there_yet_is_waited_for(in_memory: Path) -> None:
    archive = Archive(in_memory, in_memory / "data" / "events.db")
    with archived(archive, base=False):
        archive.wait_for(lambda: "it is not there yet" in archive.said())
        make_database(archive.path)
        archive.wait_for(archive.hangs)
        archive.stop()
    assert archive.content_at() == dump(archive.path)


def test_a_deleted_wal_is_noticed_and_recovered_from(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        before = looked_at(archive)
        os.unlink(f"{archive.path}-wal")
        archive.wait_for(lambda: "-wal was deleted" in archive.said())
        app.end()
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{archive.path}{suffix}")
        app.restart()
        app.do(INSERT)
        archive.wait_for(lambda: len(archive.timelines()) >= 2 and archive.hangs(), seconds=60)
        after = looked_at(archive)
        archive.stop()
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after[0]) == after[1]
    assert any("-wal was deleted" in gap.reason for gap in archive.gaps())


def test_a_database_in_another_journal_mode_is_refused_with_what_is_left(archive: Archive) -> None:
    with archived(archive):
        before = looked_at(archive)
        with application(archive.path) as app:
            assert "locked" in str(app.do("PRAGMA busy_timeout=100", "PRAGMA journal_mode=delete"))
        archive.stop()
    with contextlib.closing(sqlite3.connect(archive.path)) as db:
        assert db.execute("PRAGMA journal_mode=delete").fetchone() == ("delete",)
    refused = litekeep("--config", archive.config, "archive", "events")
    assert refused.returncode == 8
    assert "not in WAL mode" in refused.stderr
    assert "backups go on" in refused.stderr
    assert "does not run" in litekeep("--config", archive.config, "status", "events").stdout
    with contextlib.closing(sqlite3.connect(archive.path)) as db:
        db.execute("PRAGMA journal_mode=wal")
        db.execute("DELETE FROM events")
        db.commit()
    with archived(archive):
        after = looked_at(archive)
        archive.stop()
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after[0]) == after[1]
    assert len(archive.gaps()) == 1


def test_a_full_archive_disk_is_said_and_costs_nothing_once_there_is_room(in_memory: Path) -> None:
    with small_disk(in_memory / "small", "40m") as disk:
        archive = Archive(disk, make_database(in_memory / "data" / "events.db"))
        with application(archive.path) as app, archived(archive):
            app.do(INSERT)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as stream:
                while stream.write(bytes(4096)) == 4096:
                    pass
            for _number in range(200):
                app.do(INSERT)
            archive.wait_for(lambda: "the archive cannot be written" in archive.said())
            during = moment()
            assert app.do(INSERT) is None, "the application goes on"
            ballast.unlink()
            archive.wait_for(lambda: "goes on as it should" in archive.said())
            after = looked_at(archive)
            archive.stop()
            assert not archive.gaps()
            assert len(archive.timelines()) == 1
            assert archive.content_at(after[0]) == after[1]
            # What came while nothing could be stored is there, but not when it came.
            with pytest.raises(NoRestorePointError, match="nobody watched"):
                archive.point(during)


def test_a_wal_that_cannot_be_stored_is_given_up_before_it_fills_the_disk(in_memory: Path) -> None:
    with small_disk(in_memory / "small", "40m") as disk:
        database = make_database(in_memory / "data" / "events.db")
        archive = Archive(disk, database, relief=1_000_000, max_wal=3_000_000)
        with application(database) as app, archived(archive):
            before = looked_at(archive)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as stream:
                while stream.write(bytes(4096)) == 4096:
                    pass
            give_up_at = time.monotonic() + 60
            while "continuity was given up" not in archive.said() and time.monotonic() < give_up_at:
                app.do(INSERT)
            assert "continuity was given up" in archive.said()
            app.do(INSERT, "PRAGMA wal_checkpoint(TRUNCATE)")
            ballast.unlink()
            app.do(INSERT)
            archive.wait_for(lambda: len(archive.timelines()) == 2 and archive.hangs(), seconds=90)
            after = looked_at(archive)
            archive.stop()
            assert "continuity was given up" in archive.gaps()[0].reason
            assert archive.content_at(before[0]) == before[1]
            assert archive.content_at(after[0]) == after[1]


def test_a_clock_that_is_set_back_begins_a_new_timeline(archive: Archive) -> None:
    offset = archive.folder / "offset"
    offset.write_text("0")
    with application(archive.path) as app, other_clock(archive, offset):
        app.do(INSERT)
        before = looked_at(archive)
        offset.write_text("-3600")
        archive.wait_for(lambda: len(archive.timelines()) == 2 and archive.hangs())
        app.do(INSERT)
        after = moment() - dt.timedelta(hours=1)
        archive.reaches(after)
        last = content(archive.path)
        archive.stop()
    (gap,) = archive.gaps()
    assert gap.reason.startswith("the clock was set back by 1 h")
    assert archive.content_at(before[0]) == before[1]
    assert archive.content_at(after) == last


@contextlib.contextmanager
def other_clock(archive: Archive, offset: Path) -> Iterator[None]:
    """The archiver under that clock."""
    driver = archive.folder / "driver.py"
    driver.write_text(OTHER_CLOCK)
    archive.run(str(driver), ROOT / "scripts", offset, "--config", archive.config, "archive", "events")
    try:
        archive.wait_for(archive.hangs)
        yield
    finally:
        if archive.process is not None:
            archive.kill()


def test_a_second_archiver_is_refused(archive: Archive) -> None:
    with archived(archive):
        second = litekeep("--config", archive.config, "archive", "events")
        assert second.returncode == 5
        assert "archive of events, process" in second.stderr


def test_a_restore_in_place_names_the_archiver_that_must_be_stopped(archive: Archive) -> None:
    with archived(archive):
        before = archive.path.read_bytes()
        refused = litekeep("--config", archive.config, "restore", "events")
        assert refused.returncode == 6
        assert "systemctl stop litekeep-archive@events.service" in refused.stderr
        assert archive.path.read_bytes() == before


def test_after_a_restore_in_place_the_archive_goes_on_with_a_timeline_of_its_own(archive: Archive) -> None:
    with archived(archive):
        with application(archive.path) as app:
            app.do(INSERT)
            good = looked_at(archive)
            app.do("DELETE FROM events")
            bad = looked_at(archive)
            app.end()
        archive.stop()
        done = litekeep("--config", archive.config, "restore", "events", "--to", good[0].isoformat(), check=0)
        assert "recovered the state of" in done.stdout
        assert content(archive.path) == good[1]
        archive.start()
        after = looked_at(archive)
        archive.stop()
    assert len(archive.timelines()) == 2
    for when, what in (good, bad, after):
        assert archive.content_at(when) == what


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("{gap}", 4, "it lies in a gap"),
        ("2099-01-01T00:00:00Z", 4, "it lies in the future"),
        ("2001-01-01T00:00:00Z", 4, "before the first restore point"),
        ("2026-11-22T02:00:00", 2, "no offset"),
        ("2026-13-77T02:00:00Z", 4, "that is no time"),
        ("20200101T000000.000Z@1.5", 4, "no restore point"),
    ],
)
def test_a_moment_that_cannot_be_is_refused_with_its_neighbours(
    archive_with_a_gap: tuple[Archive, dt.datetime], to: str, code: int, words: str
) -> None:
    archive, gap = archive_with_a_gap
    before = {p: p.stat().st_mtime_ns for p in archive.path.parent.iterdir()}
    wish = to.format(gap=gap.isoformat())
    refused = litekeep("--config", archive.config, "restore", "events", "--to", wish)
    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr
    if code == 4 and "@" not in to and "13-77" not in to:
        assert "before it: " in refused.stderr
        assert "after it: " in refused.stderr
    assert {p: p.stat().st_mtime_ns for p in archive.path.parent.iterdir()} == before


@pytest.fixture(scope="module")
def archive_with_a_gap(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, dt.datetime]:
    """Two timelines, and a moment between them."""
    folder = tmp_path_factory.mktemp("gap")
    archive = Archive(folder, make_database(folder / "data" / "events.db"))
    with application(archive.path) as app, archived(archive):
        app.do(INSERT)
        moment()
        archive.kill()
        app.do("PRAGMA wal_checkpoint(TRUNCATE)", INSERT)
        gap = moment()
        archive.start()
        app.do(INSERT)
        moment()
        app.end()
        archive.stop()
    return archive, gap


def test_nothing_of_the_users_database_is_changed(archive: Archive) -> None:
    os.chmod(archive.path, 0o640)
    pragmas = (
        "journal_mode",
        "page_size",
        "auto_vacuum",
        "user_version",
        "application_id",
        "encoding",
        "schema_version",
    )

    def looks() -> list[object]:
        with contextlib.closing(sqlite3.connect(f"file:{archive.path}?mode=ro", uri=True)) as db:
            settings: list[object] = [db.execute(f"PRAGMA {name}").fetchall() for name in pragmas]
            schema = db.execute("SELECT * FROM sqlite_master").fetchall()
        files = {s: (os.stat(f"{archive.path}{s}").st_mode, os.stat(f"{archive.path}{s}").st_uid) for s in ("", "-wal")}
        return [settings, schema, files]

    with application(archive.path) as app:
        app.do(INSERT)
        before = looks()
        with archived(archive):

            def began_anew() -> bool:
                app.do(INSERT)
                return any(segment.round > 1 for line in archive.timelines() for segment in line.segments)

            archive.wait_for(began_anew)
            assert looks() == before
            archive.stop()
        assert looks() == before
        assert sorted(p.name for p in archive.path.parent.iterdir()) == ["events.db", "events.db-shm", "events.db-wal"]


def test_every_damage_to_segments_records_or_base_is_found_before_the_swap(archive: Archive) -> None:
    with archived(archive):
        with application(archive.path) as app:
            for _number in range(3):
                for _row in range(120):
                    app.do(INSERT)
                time.sleep(1.1)
        archive.stop()
    truth = archive.content_at()
    timeline = Path(archive.timelines()[0].folder)
    base = Path(archive.point().backup.folder)
    files = [*timeline.glob("*.wal.zst"), timeline / "timeline.jsonl", timeline / "heartbeat.json"]
    files += [base / "database.db.zst", base / "manifest.json"]
    assert len(files) >= 6
    before = archive.path.read_bytes()

    def restored() -> bool:
        try:
            chosen = restore.plan(archive.repository, archive.database)
            restore.restore(archive.repository, archive.database, chosen, Progress())
        except (VerificationError, NoRestorePointError):
            assert archive.path.read_bytes() == before
            return False
        assert content(archive.path) == truth
        restore.rollback(archive.database, Progress())
        return True

    assert restored()
    before = archive.path.read_bytes()
    for file in files:
        whole = file.read_bytes()
        step = max(1, len(whole) // 12)
        damages = [whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :] for at in range(0, len(whole), step)]
        damages += [whole[: len(whole) // 2], b""]
        # What a crash leaves behind the last line, and the missing end of a text that is whole, change nothing.
        harmless = {"timeline.jsonl": [whole + b"more"], "heartbeat.json": [whole[:-1]], "manifest.json": [whole[:-1]]}
        extra = harmless.get(file.name, [])
        damages += [damage for damage in (whole[:-1], whole + b"more") if damage not in extra]
        for damage in damages:
            file.write_bytes(damage)
            assert not restored(), (file.name, damage[:200])
        for damage in extra:
            file.write_bytes(damage)
            assert restored()
        file.unlink()
        # Without a heartbeat the records alone say how far it went.
        assert restored() == (file.name == "heartbeat.json"), file.name
        file.write_bytes(whole)
    assert restored()


def test_a_restore_beside_a_running_archiver_follows_a_round_into_its_merged_file(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        for _part in range(2):
            app.do(INSERT)
            archive.reaches(moment())
        truth, target = content(archive.path), archive.folder / "beside.db"
        chosen = restore.plan(archive.repository, archive.database, "latest", str(target))
        parts = {segment.name for segment in chosen.point.segments}
        assert len(parts) == 2
        app.do(INSERT, "PRAGMA wal_checkpoint(TRUNCATE)", INSERT)
        archive.wait_for(lambda: not parts & set(os.listdir(archive.timelines()[0].folder)))
        restore.restore(archive.repository, archive.database, chosen, Progress())
        assert dump(target) == truth


def test_the_application_goes_on_when_it_empties_the_wal_itself(archive: Archive) -> None:
    with application(archive.path) as app, archived(archive):
        seen = []
        for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE") * 3:
            app.do(INSERT)
            answer = app.do("PRAGMA busy_timeout=2000", f"PRAGMA wal_checkpoint({mode})")
            assert answer[0] == 0, (mode, answer)
            seen.append(looked_at(archive))
        archive.stop()
        assert not archive.gaps()
        assert len({segment.round for segment in archive.timelines()[0].segments}) >= 3
        for when, what in seen:
            assert archive.content_at(when) == what
