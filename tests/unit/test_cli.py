from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import ROOT, content, flip, holding_open, make_database
from unit.crashes import leave_wal
from unit.places import as_nobody, open_to_all

import litekeep
from litekeep import cli
from litekeep import run as run_module
from litekeep import words as all_words
from litekeep.repository import Repository

Run = Callable[..., "Done"]
COMMAND = [sys.executable, "-m", "litekeep"]


def environment() -> dict[str, str]:
    """As a user has it: standard output is buffered."""
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**rest, "PYTHONPATH": str(ROOT / "scripts")}


class Done:
    """What a run of the command left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def site(tmp_path: Path, events: Path) -> Path:
    """A configuration of two databases, ``events`` and ``small``."""
    make_database(tmp_path / "data" / "small.db", rows=3, mode="delete")
    place = tmp_path / "litekeep.json"
    place.write_text(
        json.dumps(
            {
                "repository": str(tmp_path / "repository"),
                "host": "host",
                "databases": {
                    "events": {"path": str(events), "services": ["app.service"]},
                    "small": {"path": str(tmp_path / "data" / "small.db"), "deadline": "20s"},
                },
            }
        )
    )
    return place


@pytest.fixture
def run(site: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, with the configuration of ``site``."""

    def call(*words: object, config: bool = True) -> Done:
        before = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            code = cli.main([*(["--config", str(site)] if config else []), *map(str, words)])
        finally:
            signal.signal(signal.SIGTERM, before)
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def process(site: Path, answer_schema: jsonschema.Draft202012Validator) -> Run:
    """The command as a process of its own with --json; every answer is checked against the published schema."""

    def call(*words: object) -> Done:
        done = subprocess.run(
            [*COMMAND, "--config", str(site), *map(str, words), "--json"],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        assert done.stderr == ""
        answer = json.loads(done.stdout)
        answer_schema.validate(answer)
        assert answer["exit_code"] == done.returncode
        return Done(done.returncode, done.stdout, done.stderr)

    return call


def repository(site: Path) -> Repository:
    return Repository(str(site.parent / "repository"), "host")


# -- answers of the real process, against the schema


def test_all_commands_answer_in_the_published_form(process: Run, events: Path, tmp_path: Path) -> None:
    assert process("list").json["databases"][0]["backups"] == []
    taken = process("backup").json
    assert [part["database"] for part in taken["databases"]] == ["events", "small"]
    assert (taken["error"], taken["exit_code"], taken["command"]) == (None, 0, "backup")
    assert process("backup", "events", "--max-age", "1h").json["databases"][0]["changed"] is False
    assert len(process("list").json["databases"]) == 2
    assert process("status").code == 0
    assert process("verify").code == 0
    assert process("verify", "events", "--all").code == 0
    assert process("verify", "--live").json["databases"][1]["rows"] == {"events": 3}
    leave_wal(events)
    before = content(events)
    assert process("restore", "events", "--plan").json["databases"][0]["result"] is None
    assert process("restore", "events", "--discard").json["databases"][0]["changed"] is False
    assert process("restore", "events", "--prepare").json["databases"][0]["result"]["swapped"] is False
    assert process("restore", "events", "--discard").json["databases"][0]["changed"] is True
    assert process("restore", "events", "--prepare").json["databases"][0]["plan"]["prepared"] is False
    assert process("restore", "events").json["databases"][0]["result"]["swapped"] is True
    assert process("restore", "events", "--rollback", "--plan").json["databases"][0]["action"] == "rollback"
    assert process("restore", "events", "--rollback").code == 0
    assert content(events) == before
    assert process("restore", "events", "--target", tmp_path / "copy.db").code == 0


def test_errors_answer_in_the_published_form(process: Run, events: Path, tmp_path: Path) -> None:
    assert process("status").code == 4
    assert process("verify").code == 4
    assert process("restore", "events").code == 4
    assert process("restore", "events", "--rollback").code == 4
    assert process("frobnicate").code == 2
    assert process("backup", "nobody").code == 2
    assert process("backup", "--max-age", "soon").code == 2
    assert process("restore").code == 2
    assert process("archive").code == 2
    assert process("archive", "small").code == 8
    assert process("restore", "events", "--to", "2026-11-22T02:00:00").code == 2
    assert process("restore", "events", "--to", "2026-11-22T02:00:00Z").code == 4
    assert process("restore", "events", "--timeline", "20261122T020000.000Z").code == 2
    assert process("backup").code == 0
    (tmp_path / "taken.db").write_bytes(b"precious")
    assert process("restore", "events", "--target", tmp_path / "taken.db").code == 2
    with holding_open(events):
        assert process("restore", "events").code == 6
        assert process("restore", "events", "--plan").json["databases"][0]["plan"]["in_use_by"]
    flip(events, 4096 * 3, 300)
    assert process("backup", "events").code == 3
    assert process("verify", "events", "--live").code == 3
    flip(events, 16, 80)
    assert process("backup", "events").code == 3
    assert process("verify", "events", "--live").code == 3
    assert process("status", "events").code == 3
    assert [b["state"] for b in process("list", "events").json["databases"][0]["backups"]][1:] == ["bad source"] * 2
    events.unlink()
    missing = process("backup").json
    assert missing["exit_code"] == 8
    assert missing["error"] == missing["databases"][0]["error"]
    assert missing["databases"][1]["changed"] is True
    assert process("status").code == 8


def test_damaged_backups_answer_in_the_published_form(process: Run, site: Path) -> None:
    process("backup")
    found = repository(site).catalogue("events").newest
    assert found is not None
    flip(Path(found.folder, "database.db.zst"), 40)
    assert process("restore", "events").code == 3
    verified = process("verify")
    assert (verified.code, [part["passed"] for part in verified.json["databases"]]) == (3, [False, True])
    Path(found.folder, "manifest.json").write_text("{")
    assert process("list").json["databases"][0]["backups"][0]["state"] == "unreadable"
    assert process("restore", "events", "--to", found.id).code == 3


def test_a_busy_database_answers_in_the_published_form(process: Run, site: Path) -> None:
    policy = json.loads(site.read_text())
    policy["databases"]["events"]["deadline"] = "1s"
    site.write_text(json.dumps(policy))
    with repository(site).writing("events"):
        done = process("backup", "events")
    assert (done.code, done.json["error"]["kind"]) == (5, "busy")


def test_the_configuration_is_answered_in_the_published_form_when_it_is_wrong(process: Run, site: Path) -> None:
    site.write_text("{")
    assert process("list").code == 2
    site.unlink()
    assert process("list").json["error"]["next"]


# -- words in, exit code out


def test_restore_without_a_name_replaces_nothing(run: Run, events: Path, site: Path) -> None:
    run("backup")
    leave_wal(events)
    before = content(events)
    done = run("restore")
    assert done.code == 2
    assert "events, small" in done.err
    assert content(events) == before
    assert run("restore", "--rollback").code == 2


def test_one_failure_stops_no_other_database_and_its_code_is_the_exit_code(run: Run, events: Path, site: Path) -> None:
    events.unlink()
    done = run("backup")
    assert done.code == 8
    assert "events.db does not exist" in done.err
    assert "small: verified backup" in done.out
    assert repository(site).databases() == ["small"]


def test_people_get_words_and_errors_go_to_standard_error(run: Run) -> None:
    done = run("backup", "events")
    assert done.out.startswith("events: verified backup ")
    done = run("restore", "events", "--to", "nothing")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("litekeep: events has no backup 'nothing', and that is no time\n  expected: ")
    assert "  next:     litekeep list events" in done.err


def test_every_command_speaks_to_people(run: Run, events: Path, tmp_path: Path) -> None:
    run("backup")
    assert "1 restore points in 1 backups" in run("list", "events").out
    assert run("status").out.count(": protected") == 2
    assert run("verify", "--all").out.count(" verified (") == 2
    assert "the live database is sound" in run("verify", "--live", "events").out
    assert "would be restored" in run("restore", "events", "--plan").out
    assert "nothing is replaced yet" in run("restore", "events", "--prepare").out
    assert "is restored from" in run("restore", "events").out
    assert "again what it was" in run("restore", "events", "--rollback").out


def test_a_backup_by_its_id_is_verified_and_restored(run: Run, site: Path) -> None:
    run("backup", "events")
    run("backup", "events")
    first = repository(site).catalogue("events").backups[0].id
    assert first in run("verify", "events", "--backup", first).out
    assert run("restore", "events", "--to", first).out.splitlines()[0].endswith(first)


def test_a_young_backup_is_not_taken_again(run: Run, site: Path) -> None:
    run("backup", "events", "--max-age", "1h")
    assert "no backup needed" in run("backup", "events", "--max-age", "1h").out
    assert len(repository(site).catalogue("events").backups) == 1
    run("backup", "events", "--max-age", "0")
    assert len(repository(site).catalogue("events").backups) == 2


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["backup", "--max-age"],
        ["backup", "--max-age", "soon"],
        ["backup", "--type", "diff"],
        ["backup", "events", "small"],
        ["backup", "nobody"],
        ["verify", "--all", "--live"],
        ["restore", "events", "--prepare", "--rollback"],
        ["restore", "events", "--prepare", "--discard"],
        ["restore", "events", "--rollback", "--discard"],
        ["archive"],
        ["archive", "nobody"],
        ["--host", "a/b", "list"],
        ["list", "--nonsense"],
    ],
)
def test_wrong_words_are_a_usage_error(run: Run, words: list[str], tmp_path: Path) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("litekeep: ")
    assert not (tmp_path / "repository").exists()


def test_a_database_needs_no_configuration(run: Run, events: Path, tmp_path: Path) -> None:
    words = ["--database", events, "--repository", tmp_path / "elsewhere", "--host", "me"]
    assert run(*words, "backup", config=False).out.startswith("events: verified")
    assert (tmp_path / "elsewhere" / "me" / "events" / "backups").is_dir()
    assert run(*words, "backup", "other-name", config=False).out.startswith("other-name: verified")
    assert run(*words, "restore", config=False).code == 0


def test_relative_paths_count_from_the_working_directory(
    run: Run, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--database", "data/events.db", "--repository", "elsewhere", "--host", "me"]
    assert run(*words, "backup", config=False).code == 0
    assert run(*words, "restore", "--target", "copy.db", config=False).code == 0
    assert content(tmp_path / "copy.db") == content(events)


def test_without_a_host_it_is_this_machines_name(run: Run, events: Path, tmp_path: Path) -> None:
    run("--database", events, "--repository", tmp_path / "elsewhere", "backup", config=False)
    assert os.listdir(tmp_path / "elsewhere") == [os.uname().nodename.split(".")[0]]


@pytest.mark.parametrize(
    "words",
    [["--database", "/x.db"], ["--repository", "/r"], ["--config", "/c", "--database", "/x", "--repository", "/r"]],
)
def test_a_database_and_its_repository_go_together(run: Run, words: list[str]) -> None:
    done = run(*words, "list", config=False)
    assert done.code == 2
    assert "go together" in done.err


def test_a_file_name_that_is_no_database_name_asks_for_one(run: Run, events: Path, tmp_path: Path) -> None:
    odd = events.rename(events.parent / ".my events.db")
    words = ["--database", odd, "--repository", tmp_path / "elsewhere", "--host", "me", "backup"]
    done = run(*words, config=False)
    assert done.code == 2
    assert "'my-events'" in done.err
    assert run(*words, "my-events", config=False).code == 0


def test_another_hosts_backups_can_be_looked_at(run: Run) -> None:
    run("backup", "events")
    assert "0 restore points" in run("--host", "other", "list", "events").out
    assert "1 restore points" in run("--host", "host", "list", "events").out


def test_the_hosts_own_configuration_is_used_when_nothing_is_said(
    run: Run, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "DEFAULT_PATH", str(site))
    assert run("list", config=False).out.count("restore points") == 2


def test_a_missing_configuration_says_what_to_do(run: Run, tmp_path: Path) -> None:
    done = run("--config", tmp_path / "none.json", "list", config=False)
    assert done.code == 2
    assert "--database PATH --repository DIR" in done.err


def test_the_configuration_can_be_shown_as_it_is_understood(run: Run, site: Path) -> None:
    shown = run("config").json
    assert shown["host"] == "host"
    assert shown["databases"]["small"]["deadline"] == 20
    assert shown["databases"]["events"]["services"] == ["app.service"]


@pytest.mark.parametrize("command", ["status", "backup", "verify", "list"])
def test_a_configuration_without_databases_is_said_out_loud(run: Run, site: Path, command: str) -> None:
    """Nothing is green because it was silent."""
    site.write_text(json.dumps({"repository": "/r", "host": "h", "databases": {}}))
    done = run(command)
    assert done.out + done.err


@pytest.mark.parametrize("words", [["--help"], ["restore", "--help"], ["--version"]])
def test_help_and_version_end_well(run: Run, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words, config=False)
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "litekeep" in said
    assert ("exit codes: 0 done" in said) is (words == ["--help"])
    assert (litekeep.__version__ in said) is (words == ["--version"])


# -- the process and its surroundings


def test_a_reader_who_goes_away_is_no_crash(site: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, "--config", str(site), "list"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_wait_for_a_lock_at_once(site: Path, number: signal.Signals, code: int) -> None:
    with contextlib.closing(sqlite3.connect(site.parent / "data" / "small.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with subprocess.Popen(
            [*COMMAND, "--config", str(site), "backup", "small"], stderr=subprocess.PIPE, text=True, env=environment()
        ) as process:
            backups = site.parent / "repository" / "host" / "small" / "backups"
            while not (backups.is_dir() and os.listdir(backups)):
                assert process.poll() is None
                time.sleep(0.02)
            begun = time.monotonic()
            process.send_signal(number)
            assert process.wait(30) == code
            assert time.monotonic() - begun < 3
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        assert os.listdir(backups) == []


def test_a_repository_that_this_user_may_not_write_to_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "mine").mkdir(0o555)

    def work() -> None:
        words = ["--database", tmp_path / "data" / "small.db", "--repository", tmp_path / "mine", "backup"]
        done = run(*words, config=False)
        assert done.code == 2, done.err
        assert "cannot be written" in done.err

    as_nobody(work)


def test_one_error_class_one_exit_code_and_the_help_names_them_all() -> None:
    for code in range(10):
        assert f"{code} " in all_words.EXIT_CODES


# -- the archiver as a process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_archiver_ends_well_by_a_signal_and_what_was_committed_can_be_restored(
    site: Path, events: Path, run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    policy = json.loads(site.read_text())
    policy["databases"]["events"]["archive"] = True
    policy["databases"]["events"]["archive_settings"] = {"reserve": 0}
    site.write_text(json.dumps(policy))
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("INSERT INTO events(kind) VALUES('before')")
        with subprocess.Popen(
            [*COMMAND, "--config", str(site), "archive", "events"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                assert line.startswith("events: ")
                if "has its base backup" in line:
                    break
            assert "archive   running" in run("status", "events").out
            assert run("archive", "events").code == 5
            db.execute("INSERT INTO events(kind) VALUES('the last')")
            process.send_signal(number)
            out, err = process.communicate()
        assert (process.returncode, out) == (0, ""), err
    listed = run("list", "events", "--json").json["databases"][0]
    assert [timeline["state"] for timeline in listed["timelines"]] == ["stopped"]
    (window,) = listed["windows"]
    assert run("restore", "events", "--target", tmp_path / "copy.db").code == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT kind FROM events ORDER BY id DESC").fetchone() == ("the last",)
    first = ["restore", "events", "--to", window["from"], "--timeline", window["timeline"], "--plan"]
    assert f"recovered the state of {window['from']}" in run(*first).out
    assert run("restore", "events", "--to", "2099-01-01T00:00:00Z").code == 4
    assert "the archive does not run" in run("status", "events").out


def test_the_base_backup_of_an_archiver_speaks_of_the_same_database(tmp_path: Path) -> None:
    parse = all_words.parser().parse_args
    assert run_module.context_words(parse(["archive", "x"])) == []
    assert run_module.context_words(parse(["--config", "c.json", "--host", "h", "archive", "x"])) == [
        "--config", "c.json", "--host", "h",
    ]  # fmt: skip
    words = run_module.context_words(parse(["--database", "x.db", "--repository", "r", "archive", "x"]))
    assert words == ["--database", os.path.abspath("x.db"), "--repository", os.path.abspath("r")]


# -- retention


def test_what_stays_and_goes_is_answered_in_the_published_form(process: Run, site: Path) -> None:
    policy = json.loads(site.read_text())
    policy["databases"]["events"]["retention"] = {"keep_last": 1, "min_verified": 1, "keep_within": "0s"}
    site.write_text(json.dumps(policy))
    for _n in range(3):
        assert process("backup").code == 0
    oldest = repository(site).catalogue("events").backups[0].id
    assert process("pin", "events", oldest, "--reason", "as evidence").json["databases"][0]["changed"] is True
    assert process("pin", "events", "nothing").code == 4
    assert process("hold", "events", "case", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z").code == 0
    assert process("hold", "events", "case", "--from", "yesterday").code == 2
    planned = process("prune", "--dry-run").json["databases"]
    assert [each["action"] for each in planned] == ["plan", "none"]
    assert [item["keep"] for item in planned[0]["items"]] == [True, False, True]
    assert process("prune", "events", "--plan", "0" * 16).code == 2
    assert process("prune", "--plan", "0" * 16).code == 2
    assert len(process("prune", "--simulate", "3d", "--every", "12h").json["databases"][0]["days"]) == 3
    done = process("prune", "events", "--plan", planned[0]["plan"])
    assert (done.code, done.json["databases"][0]["changed"]) == (0, True)
    assert process("release", "events", "case").json["databases"][0]["changed"] is True
    assert process("unpin", "events", oldest).json["databases"][0]["changed"] is True
    assert process("prune", "events").json["databases"][0]["freed"] > 0
    assert len(repository(site).catalogue("events").backups) == 1


def test_what_stays_and_goes_is_said_with_its_reasons(run: Run, site: Path) -> None:
    policy = json.loads(site.read_text())
    policy["databases"]["events"]["retention"] = {"keep_last": 1, "min_verified": 1}
    site.write_text(json.dumps(policy))
    run("backup")
    run("backup")
    said = run("prune", "--dry-run").out
    assert "events: 1 would be removed" in said
    assert "no rule keeps it" in said
    assert "to do exactly this: litekeep prune events --plan" in said
    assert "small: no retention, so everything stays" in said
    assert "with a backup every" in run("prune", "events", "--simulate", "5d").out
    assert "held as case" in run("hold", "events", "case").out
    assert "the hold case is released" in run("release", "events", "case").out
    assert "was not there" in run("release", "events", "case").out
    assert "was not pinned" in run("unpin", "events", "one").out


def test_drills_are_answered_in_the_published_form(process: Run, site: Path) -> None:
    policy = json.loads(site.read_text())
    policy["databases"]["events"]["assertions"] = ["SELECT count(*) > 0 FROM events"]
    policy["databases"]["events"]["objectives"] = {"rto": "30m", "drill_every": "7d"}
    site.write_text(json.dumps(policy))
    assert process("drill").code == 4
    process("backup")
    assert process("drill", "--dry-run").json["databases"][0]["drills"] == []
    done = process("drill").json["databases"][0]
    assert (done["passed"], done["drills"][0]["in_time"], len(done["drills"][0]["assertions"])) == (True, True, 1)
    found = repository(site).catalogue("events").newest
    assert found is not None
    flip(Path(found.folder, "database.db.zst"), 40)
    assert process("drill", "events", "--to", found.id).code == 3
    assert process("drill", "events", "--all").code == 4
    assert process("drill", "small", "--random").code == 0
