from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchlib import cli, place, push, push_history, push_report, push_seal, push_server, table
from benchlib.place import BenchError
from benchlib.push_host import Host, Service
from benchlib.push_results import History, Look, Push, PushResults, Standing, kinds, published
from benchlib.push_server import Server

from litekeep.repository import Repository
from litekeep.seal import seal
from litekeep.timelinefile import read_timeline


def results() -> PushResults:
    """A push takes 0.2 s of the server and is 4 connections; figures as wide as they may get."""
    options = {"hosts": 2, "rate": 2.0, "seconds": 60.0, "interval": 2, "seal": 5.0, "relief": 10**6, "seed": 1}
    found = PushResults({"processor": "A very long name of a processor " * 4}, {**options, "no_pam": False}, 10**9)
    written: list[tuple[str, int]] = [
        ("00000001-0000000001-0000000004.wal.zst", 10**9),
        ("records-000-010.jsonl.zst", 9),
    ]
    found.pushes = [Push(1.0, wall, 10, written, [1.0] * 4, "") for wall in (0.5, 1234.5)]
    found.connections = 8
    found.server, found.senders, found.seconds, found.written_for = 0.4, 1.0, 60.0, 60.0
    found.start, found.idle, found.proven = 0.15, 0.01, 2
    found.looks = [Look(0.26, 1, 5), Look(0.35, 2, 10)]
    found.histories = [History(0, 15, 0.15), History(86400, 15, 7.35)]
    found.standing = [Standing(1, 7, 2, 2, 10**9, 64_000_000, 60, 1)] * 2
    return found


# --- words in


def test_what_is_asked_for_by_default_is_what_the_documentation_says() -> None:
    options = cli.make_parser().parse_args(["push"])
    assert (options.hosts, options.interval, options.seconds) == (4, 2, 60.0)


def test_somebody_else_than_root_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BenchError, match="run this as root"):
        push_server.require_root(tmp_path)


def test_a_place_that_no_chroot_may_be_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(push_server, "SSHD", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: name)
    tmp_path.chmod(0o777)
    with pytest.raises(BenchError, match="others may write to it"):
        push_server.require_root(tmp_path)
    with pytest.raises(BenchError, match="is no directory"):
        push_server.require_root(tmp_path / "absent")


# --- what was sent


def test_a_piece_that_covers_others_is_told_from_the_next_one() -> None:
    names = ["00000001-0000000001-0000000004.wal.zst", "records-000-010.jsonl.zst", "records-010-020.jsonl.zst"]
    written = [(name, 1) for name in (*names, "records-000-020.jsonl.zst", "heartbeat.json")]
    assert [kind for kind, _size in kinds(written)] == ["batch", "piece", "piece", "covering piece", "heartbeat"]


def test_hosts_of_a_core_are_what_is_left_of_a_second_over_what_each_takes() -> None:
    found = results()
    found.pushes.append(Push(1.0, 1.0, 0, [], [1.0] * 2, "gone"))
    # (1 - 0.15 / 15) / (0.2 / 10 + 0.15 / 15)
    assert found.hosts_per_core(found.server_cpu, 0.15) == pytest.approx(33.0)
    # (0.26 - 0.15 - one idle host) + (0.35 - 0.15), over three
    assert found.sealing == pytest.approx(0.1)
    assert found.rounds == pytest.approx(1440)
    assert found.arriving == pytest.approx(2 * 8640 + 1440)
    assert found.connection_cpu == pytest.approx(0.05)


# --- made histories


@pytest.mark.parametrize("records", [0, 7, push_history.ROUND - 5, 2 * push_history.ROUND, 2 * push_history.ROUND + 9])
def test_a_made_history_is_sealed_like_a_real_one(tmp_path: Path, records: int) -> None:
    push_history.make(tmp_path / "host1", records, 15)
    (done,) = seal(Repository(str(tmp_path), "host1"), 0)
    assert (done.refused, done.segments) == ([], 15)
    timeline = read_timeline(str(tmp_path / "host1" / "events" / "archive" / push_history.TIMELINE))
    assert (timeline.problems, len(timeline.segments), len(timeline.runs)) == ((), records + 15, 1)


# --- the report


def test_the_report_fits_into_100_columns_and_tells_all() -> None:
    report = push_report.lines(results())
    assert max(map(len, report)) <= table.WIDTH
    text = "\n".join(report)
    for words in ("hosts, 0 records       33 (20.0 ms + 10.0 ms a second each)", "All results were right."):
        assert words in text, words


def test_a_report_that_ended_early_says_what_was_wrong() -> None:
    found = results()
    found.histories, found.failures = [], ["the copy differs"]
    text = "\n".join(push_report.lines(found))
    assert "WRONG: the copy differs" in text
    assert "Arithmetic: one core" not in text
    assert "All results were right" not in text


def test_what_is_published_is_plain_json() -> None:
    found = json.loads(json.dumps(published(results())))
    assert (found["command"], found["format"]["name"]) == ("push", "litekeep-bench")
    assert found["derived"]["server_cpu"] == pytest.approx(0.2)


# --- with a real server


def test_time_of_what_outlives_its_parent_is_counted(tmp_path: Path) -> None:
    busy = "import time; [0 for _ in iter(lambda: time.process_time() < 0.5, False)]"
    script = f'{sys.executable} -c \'{busy}; open("done", "w")\' & exit'
    with place.workplace(tmp_path / "work", 0) as made:
        words = [sys.executable, "-m", "benchlib.push_keeper", "sh", "-c", f"({script}) & exec sleep 60"]
        service = Service(made, "keeper", words)
        try:
            until = time.monotonic() + 60
            while not (made.folder / "done").exists():
                assert time.monotonic() < until
                time.sleep(0.05)
            assert service.cpu() >= 0.5
            service.end()
        finally:
            service.kill()


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[argparse.Namespace]:
    if os.geteuid():
        pytest.skip("expected: only root can start an SSH server with a chroot")
    monkeypatch.setattr(push, "SETTLE", 0.1)
    monkeypatch.setattr(push_seal, "IDLE_HOSTS", 2)
    monkeypatch.setattr(push_seal, "REPEATS", 1)
    words = ["--hosts", "2", "--seconds", "4", "--interval", "1", "--seal", "1", "--size", "1MB", "--history", "0.01"]
    # Not below /tmp: others may write there, and sshd minds.
    with tempfile.TemporaryDirectory(prefix="litekeep-test-", dir="/srv") as server:
        Path(server).chmod(0o755)
        words += ["--server", server, "--json", str(tmp_path / "result.json")]
        yield cli.make_parser().parse_args(["push", "--no-pam", *words])


def test_a_whole_run_proves_every_host_and_writes_all_figures(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push.run(options) == 0
    assert "All results were right." in capsys.readouterr().out
    found = json.loads(options.json.read_text())
    assert found["proven"] == 2
    assert [each["records"] for each in found["histories"]] == [0, 36]
    assert all(one["segments"] for one in found["standing"])
    assert not list(options.server.iterdir())


def test_a_host_whose_last_commit_did_not_arrive_fails_the_run(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proven = Host.problem

    def late(host: Host, number: int) -> str | None:
        with contextlib.closing(sqlite3.connect(host.database, isolation_level=None)) as database:
            database.execute("INSERT INTO notes (event_id, author, note) VALUES (1, 'late', 'late')")
        return proven(host, number)

    monkeypatch.setattr(Host, "problem", late)
    assert push.run(options) == 1
    assert "WRONG: host1, restored out of the server: notes differs" in capsys.readouterr().out


def test_a_server_that_lets_nobody_in_ends_the_run(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Server, "_config", _closed(Server._config))
    monkeypatch.setattr(push, "READY_LIMIT", 4.0)
    assert push.run(options) == 1
    assert "WRONG: nothing of host1 has arrived" in capsys.readouterr().out


def _closed(config: object) -> object:
    return lambda server, pam: config(server, pam).replace("client.pub", "absent.pub")  # type: ignore[operator]
