from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from benchlib import backup, cli, compare, machine, measure, place, stats, table
from benchlib.backup_report import attempts, lines, recipe_stages
from benchlib.load import Diary
from benchlib.measure import Usage
from benchlib.results import Attempt, Pair, Proof, Results, Run
from benchlib.stats import Spread
from hypothesis import given
from hypothesis import strategies as st
from sample_events import SCHEMA


def usage(
    *, wall: float = 2.0, anonymous: int = 30_000_000, read: int = 0, exit_code: int = 0, timed_out: bool = False
) -> Usage:
    return Usage(100.0, 0.5, wall, 1.0, anonymous, 90_000_000, 90_000_000, read, exit_code, timed_out)


def event_database(path: Path, *, notes: int = 3, payload: str = "same") -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(SCHEMA)
        for number in range(1, 4):
            database.execute("INSERT INTO events VALUES (?, 'now', 'live', ?, NULL)", (number, payload))
            if number <= notes:
                database.execute("INSERT INTO notes VALUES (?, ?, 'bench', 'note')", (number, number))
    return path


# --- words in


def test_without_words_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "backup" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["storm"], "storm"),
        (["backup", "--sise", "1GB"], "--sise"),
        (["backup", "--size", "many"], "is no size"),
        (["backup", "--size", "1KB"], "at least 1MB"),
        (["backup", "--runs", "0"], "more than 0"),
    ],
)
def test_words_that_it_does_not_know_are_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        cli.main(words)
    assert refusal.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_checkout_without_its_environment_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(place.BenchError, match="scripts/quickstart or scripts/test"):
        cli.use_checkout_python(tmp_path / ".venv", ["backup"])


def test_a_missing_command_is_named_with_its_package() -> None:
    with pytest.raises(place.BenchError, match="apt-get install no-such-command"):
        machine.require_commands(["sh", "no-such-command"])


def test_only_an_empty_directory_is_worked_in_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(place.BenchError, match="not an empty directory"), place.workplace(tmp_path, 1):
        pass
    assert os.listdir(tmp_path) == ["mine"]
    with place.workplace(tmp_path / "new", 1) as made:
        made.fresh("run")
        made.drop("run")
    assert (tmp_path / "new" / "run").is_dir()


def test_a_temporary_place_is_gone_afterwards_whatever_happened() -> None:
    with pytest.raises(RuntimeError, match="on the way"), place.workplace(None, 1) as made:
        raise RuntimeError("on the way")
    assert not made.folder.exists()


def test_too_little_room_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(place.BenchError, match="choose a smaller --size"), place.workplace(tmp_path / "new", 10**18):
        pass


def test_a_result_file_that_could_not_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    place.require_writable(tmp_path / "result.json")
    with pytest.raises(place.BenchError, match="cannot be written"):
        place.require_writable(tmp_path / "missing" / "result.json")
    assert os.listdir(tmp_path) == []


# --- figures


def test_ratios_are_taken_pair_by_pair() -> None:
    assert stats.ratios([1.0, 4.0], [2.0, 4.0]) == [0.5, 1.0]
    with pytest.raises(ValueError, match="no pairs"):
        stats.ratios([1.0], [])
    assert stats.spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = stats.percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= len(values) * percent
    assert sum(value < found for value in values) * 100 < len(values) * percent


def test_numbers_of_proc_files_are_bytes() -> None:
    assert measure.field("VmHWM:\t    12 kB\nRssAnon:\t 3 kB\n", "RssAnon") == 3072
    assert measure.field("rchar: 77\nwchar: 5\n", "rchar") == 77
    assert measure.field("Name:\tzombie\n", "RssAnon") == 0


def test_a_mount_is_found_by_its_device_number() -> None:
    info = "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n30 21 0:26 / /tmp rw - tmpfs none rw\n"
    assert machine.file_system(info, os.makedev(0, 26)) == ("tmpfs", "none")
    assert machine.file_system(info, os.makedev(9, 9)) == ("unknown", "unknown")


def measured(tmp_path: Path, *words: str, limit: float | None = None) -> Usage:
    return measure.run(
        list(words), folder=tmp_path, environment=place.environment(tmp_path), log=tmp_path / "log", limit=limit
    )


def test_a_command_is_measured_with_all_that_it_started(tmp_path: Path) -> None:
    found = measured(
        tmp_path, "sh", "-c", f"{sys.executable} -c 'import time; b = b\"x\" * (64 << 20); time.sleep(1)'; exit 3"
    )
    assert found.exit_code == 3
    assert 64 << 20 < found.anonymous <= found.resident + (8 << 20)
    assert found.cpu > 0
    assert not found.timed_out


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


def test_a_command_that_is_given_up_takes_its_children_along(tmp_path: Path) -> None:
    found = measured(tmp_path, "sh", "-c", "sleep 600 & echo $! >child; wait", limit=0.5)
    assert found.timed_out
    assert found.exit_code == -9
    assert ends(Path("/proc", (tmp_path / "child").read_text().strip(), "status"))


def test_what_failed_shows_its_own_words(tmp_path: Path) -> None:
    with (
        place.workplace(tmp_path / "new", 1) as made,
        pytest.raises(place.WrongResultError, match=r"code 4:\nno luck"),
    ):
        made.must_run(["sh", "-c", "echo no luck; exit 4"], made.fresh("run"))


def test_the_recipe_notes_how_long_each_step_took(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("start 10.00\ncopy 11.50\ncheck 15.50\n")
    assert backup.stages(tmp_path) == {"copy": 1.5, "check": 4.0}
    runs = [Run(usage(), 1, {"copy": 1.0, "check": 3.0}), Run(usage(), 1, {"copy": 2.0, "check": 5.0})]
    assert recipe_stages(runs) == ["the recipe's steps     copy 1.50 s, check 4.00 s"]
    assert recipe_stages([Run(usage())]) == []


# --- the application beside a backup


def test_a_stall_counts_for_every_commit_that_it_delayed() -> None:
    # Due every second; the third took three seconds, so the fourth and fifth began late.
    diary = Diary([(1, 1, 1.1), (2, 2, 2.1), (3, 3, 6), (4, 6, 6.1), (5, 6.1, 6.2)], [(3.5, "locked"), (9, "locked")])
    found = diary.service([(0.5, 6.5)])
    assert found.commits == 5
    assert found.worst == 3
    assert found.p50 == pytest.approx(1.2)
    assert found.commit_p50 == pytest.approx(0.1)
    assert found.errors == 1
    assert (diary.committed(5.0), diary.begun(5.0)) == (2, 3)


def test_a_span_in_which_nothing_was_committed_is_no_good_service() -> None:
    found = Diary([], []).service([(10.0, 12.0)])
    assert (found.commits, found.rate, found.p50, found.worst) == (0, 0.0, 2.0, 2.0)


# --- row for row


def test_a_copy_may_end_earlier_but_not_differ(tmp_path: Path) -> None:
    live = event_database(tmp_path / "live.db")
    earlier = event_database(tmp_path / "earlier.db")
    with contextlib.closing(sqlite3.connect(earlier, isolation_level=None)) as database:
        database.execute("DELETE FROM notes WHERE event_id = 3")
        database.execute("DELETE FROM events WHERE id = 3")
    assert compare.difference(earlier, live) is None
    assert "found (1, 'now', 'live', 'other', None), expected (1, 'now', 'live', 'same', None)" in str(
        compare.difference(event_database(tmp_path / "other.db", payload="other"), live)
    )
    assert "3 rows instead of 2" in str(compare.difference(live, earlier))


def test_a_row_missing_in_the_middle_is_a_difference(tmp_path: Path) -> None:
    live, copy = event_database(tmp_path / "live.db"), event_database(tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("DELETE FROM notes WHERE id = 2")
    assert "notes differs" in str(compare.difference(copy, live))


def test_a_torn_transaction_shows_in_its_two_counts(tmp_path: Path) -> None:
    assert compare.live_rows(event_database(tmp_path / "whole.db"), 1) == (2, 2)
    assert compare.live_rows(event_database(tmp_path / "torn.db", notes=2), 1) == (2, 1)


# --- the report


def test_the_fate_of_the_recipe_under_load_is_told_for_every_run() -> None:
    done = Attempt(usage(wall=3.0), 1.01, 1.0)
    given_up = Attempt(usage(wall=60.0, exit_code=-9, timed_out=True), 37.5, 0.12)
    failed = Attempt(usage(exit_code=1), None, 0.0)
    text = attempts([done, given_up, failed], 60.0)
    assert "done in 1 of 3 runs" in text
    assert "not done after 60 s in 1 of 3 runs" in text
    assert "12 % of the size" in text
    assert "failed in 1 of 3 runs" in text
    assert "(1.01 to 37.50) times the database" in text


def results() -> Results:
    """All sections, with figures as wide as they may get."""
    wide = Run(usage(wall=12345.67, anonymous=12_345_670_000), 12_345_670_000)
    found = Results(
        {"processor": "A very long name of a processor " * 4},
        {"seed": 1, "shape": "requests", "rate": 200.0, "limit": 60.0},
    )
    found.database = {"bytes": 10**9, "last_event": 10**6}
    found.idle = found.restore = [Pair(wide, Run(usage(), 1)), Pair(wide, wide)]
    found.loaded = [wide]
    found.attempts = [Attempt(usage(timed_out=True, exit_code=-9), 1234.5, 0.99)]
    found.proofs = [Proof(10, 5, None)]
    service = Diary([(1, 1, 2)], []).service([(0, 10)])
    found.writer = {"alone": service, "recipe": service, "litekeep": service}
    return found


def test_the_report_fits_into_100_columns_and_tells_all() -> None:
    report = lines(results())
    assert max(map(len, report)) <= table.WIDTH
    text = "\n".join(report)
    for words in ("0.50 (0.00 to 1.00)", "beside Litekeep", "1 of 1 equal", "All results were right."):
        assert words in text, words


def test_a_report_that_ended_early_says_what_was_wrong() -> None:
    found = Results({}, {"seed": 1, "shape": "requests"})
    found.failures = ["the copy differs"]
    text = "\n".join(lines(found))
    assert "WRONG: the copy differs" in text
    assert "All results were right" not in text


def test_what_is_published_is_plain_json() -> None:
    published = backup._published(results())
    assert published["format"] == {"name": "litekeep-bench", "version": 1}
    assert published["idle"][1]["litekeep"]["usage"]["wall"] == 12345.67


# --- all of it, on a database that is too small for figures


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    monkeypatch.setattr(backup, "ALONE", 0.2)
    monkeypatch.setattr(backup, "SETTLE", 0.1)
    return cli.make_parser().parse_args(
        ["backup", "--size", "1MB", "--runs", "1", "--limit", "0.5", "--json", str(tmp_path / "result.json")]
    )


def test_a_whole_run_proves_the_copies_and_writes_all_figures(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup.run(options) == 0
    assert "All results were right." in capsys.readouterr().out
    published = json.loads(options.json.read_text())
    assert [len(published[part]) for part in ("idle", "restore", "attempts", "loaded", "proofs")] == [1] * 5
    assert published["proofs"][0]["live"] > 0
    assert published["writer"]["litekeep"]["errors"] == 0


def test_a_restored_copy_that_differs_in_one_value_fails_the_run(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = backup.litekeep_restore

    def careless(where: place.Place, name: str, repository: Path) -> Run:
        done = real(where, name, repository)
        with contextlib.closing(sqlite3.connect(where.folder / name / "restored.db", isolation_level=None)) as database:
            database.execute("UPDATE events SET kind = 'other' WHERE id = 7")
        return done

    monkeypatch.setattr(backup, "litekeep_restore", careless)
    assert backup.run(options) == 1
    told = capsys.readouterr().out
    assert "WRONG: restored by Litekeep, idle: events differs: found (7," in told
    assert "WRONG: restored by Litekeep, copied under load: events differs: found (7," in told


def test_a_backup_that_fails_ends_the_run_with_its_own_words(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backup, "litekeep", lambda *_words: ["sh", "-c", "echo out of luck; exit 3"])
    assert backup.run(options) == 1
    assert "WRONG: backup-litekeep ended with exit code 3:\nout of luck" in capsys.readouterr().out
    assert json.loads(options.json.read_text())["failures"]
