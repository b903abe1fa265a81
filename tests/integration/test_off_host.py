"""Off the host by the command line, over real SFTP: away, sealed, found again, restored where nothing is left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archiving import ENVIRONMENT
from offhost import Host, SftpServer, rows_of, sftp_server, wait_for

from litekeep.repository import Repository
from litekeep.seal import seal


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    (tmp_path / "keys").mkdir()
    with sftp_server(tmp_path / "keys") as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, server: SftpServer) -> Iterator[Host]:
    host = Host(tmp_path / "host", server.remote(interval=1))
    try:
        yield host
    finally:
        host.close()


def take_over(server: SftpServer) -> None:
    for each in seal(Repository(str(server.base), "host"), 0):
        assert each.refused == []


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_host_that_has_lost_everything_gets_it_back(
    host: Host, server: SftpServer, tmp_path: Path, is_sealed: bool
) -> None:
    host.archive.start()
    host.insert("early", 20)
    time.sleep(2.5)
    pushed = host.call("push", "events")
    assert pushed["remotes"][0]["backups"]
    assert pushed["remotes"][0]["segments"]
    host.insert("late", 20)
    host.archive.stop()
    host.call("push", "events")
    if is_sealed:
        take_over(server)
        assert not list(server.incoming.rglob("*.zst"))
    rows = host.rows()
    host.lose_all()
    listed = host.call("list", "events", "--from", "vault")
    assert listed["restore_points"] == 1
    plan = host.call("restore", "events", "--from", "any", "--plan")
    assert (plan["result"], plan["remote"]) == (None, "vault")
    restored = host.call("restore", "events", "--from", "any")
    assert restored["result"]["swapped"]
    assert rows_of(host.archive.path) == rows
    into = tmp_path / "pulled"
    pulled = host.call("pull", "events", "--into", into)
    words = ["--database", str(tmp_path / "again.db"), "--repository", str(into), "--host", "host"]
    command = [sys.executable, "-m", "litekeep", *words, "restore", "events", "--to", pulled["point"]["id"]]
    subprocess.run(command, env=ENVIRONMENT, check=True)
    assert rows_of(tmp_path / "again.db") == rows
    left = [path.name for path in (host.folder / "repository").rglob("*") if "scratch" in path.name]
    assert left == []


def test_the_service_sends_what_comes_and_its_end_takes_the_last_along(
    host: Host, server: SftpServer, tmp_path: Path
) -> None:
    host.archive.start()
    host.follow()
    host.insert("one", 5)
    wait_for(lambda: list(server.incoming.rglob("records-*")) and list(server.incoming.rglob("manifest.json")))
    host.insert("two", 5)
    host.archive.stop()
    assert host.end() == 0
    assert host.call("push", "events")["changed"] is False
    take_over(server)
    assert host.call("push", "events")["changed"] is False
    target = tmp_path / "there.db"
    host.call("restore", "events", "--from", "vault", "--target", target)
    assert rows_of(target) == host.rows()


def test_a_server_that_is_gone_for_a_while_costs_nothing_here(host: Host, server: SftpServer, tmp_path: Path) -> None:
    host.archive.start()
    host.follow()
    wait_for(lambda: list(server.incoming.rglob("manifest.json")))
    server.stop()
    host.insert("meanwhile", 30)
    wait_for(lambda: "refused" in host.log.read_text())
    failed = host.call("push", "events", code=9)
    assert failed["error"]["kind"] == "remote"
    assert "vault" in failed["error"]["message"]
    assert host.call("status", "events", code=3)["findings"]
    host.insert("still", 10)
    server.start()
    wait_for(lambda: "archive: all that waited has arrived" in host.log.read_text(), 120)
    host.archive.stop()
    assert host.end() == 0
    take_over(server)
    target = tmp_path / "there.db"
    host.call("restore", "events", "--from", "vault", "--target", target)
    assert rows_of(target) == host.rows()
    assert not list(server.incoming.rglob("*.zst"))
