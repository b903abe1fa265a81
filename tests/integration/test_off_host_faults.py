"""A place off the host that is full, slow, silent, gone, or breaks everything off costs nothing here, and gets it all
once it is in order again.

The faults last for a few seconds. LITEKEEP_OUTAGE_SECONDS=3600 makes it an hour.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import itertools
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from offhost import Host, Line, SftpServer, line_to, rows_of, sftp_server, wait_for

from litekeep import answers
from litekeep.config import load_config
from litekeep.remoteanswers import known_remotes

SECONDS = float(os.environ.get("LITEKEEP_OUTAGE_SECONDS", "3"))
# Bytes: what is committed while the faults last, and so waits for each of the places, twice: in a backup, and in the
# archive; and what all of them together may cost of memory and temporary files, a tenth of it.
WAITING = 14_000_000
COST = 14_000_000
LARGE = "INSERT INTO events(kind, payload) VALUES('large', randomblob(200000))"


class Place:
    """A server, and the line to it."""

    def __init__(self, server: SftpServer, line: Line) -> None:
        self.server, self.line = server, line

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Its disk is, which is a small one."""
        filler = self.server.incoming / "filler"
        with open(filler, "wb", buffering=0) as stream, contextlib.suppress(OSError):
            while stream.write(bytes(1 << 16)):
                pass
        yield
        filler.unlink()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """It knows our key no longer."""
        keys = self.server.authorized.read_text()
        self.server.authorized.write_text("")
        yield
        self.server.authorized.write_text(keys)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nobody listens."""
        self.server.stop()
        yield
        self.server.start()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It takes connections, and nothing comes back, in those that were there neither."""
        self.line.dead = True
        yield
        self.line.dead = False

    @contextlib.contextmanager
    def dying(self) -> Iterator[None]:
        """Each connection breaks, at another place."""
        self.line.cuts = itertools.cycle((700, 9_000, 70_000, 400_000, 3_000_000))
        yield
        self.line.cuts = None


FAULTS: dict[str, Callable[[Place], contextlib.AbstractContextManager[None]]] = {
    "full": Place.full,
    "refusing": Place.refusing,
    "unreachable": Place.unreachable,
    "silent": Place.silent,
    "dying": Place.dying,
}
DIRECT = ("full", "refusing", "unreachable", "well")


@contextlib.contextmanager
def small_disk(server: SftpServer) -> Iterator[None]:
    """Where the server takes files."""
    owner = server.incoming.stat()
    options = f"size=120m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "litekeep-test", str(server.incoming)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(server.incoming)], check=True)


@contextlib.contextmanager
def place(keys: Path, small: bool = False) -> Iterator[Place]:
    keys.mkdir(parents=True)
    with (
        sftp_server(keys) as server,
        small_disk(server) if small else contextlib.nullcontext(),
        line_to(server.port) as line,
    ):
        yield Place(server, line)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Place]]:
    """One for each fault, and one that has none."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(place(tmp_path / "keys" / name, name == "full")) for name in (*FAULTS, "well")}


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path / "keys") as found:
        yield found


@contextlib.contextmanager
def host_with(folder: Path, places: dict[str, Place], **settings: object) -> Iterator[Host]:
    given = {"interval": 1, "timeout": 2, "check": "size", **settings}
    # Only where it matters: the line is slower than the server.
    ports = {name: 0 if name in DIRECT else each.line.port for name, each in places.items()}
    remotes = [each.server.remote(name, ports[name], **given) for name, each in places.items()]
    host = Host(folder, *remotes)
    try:
        yield host
    finally:
        host.close()


def cost(host: Host) -> int:
    """Bytes that the service takes: memory of its own, temporary files, and what it keeps in the repository."""
    process = host.pushing()[0]
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    kept = [*host.temporary.rglob("*"), *(host.folder / "repository/host/events/remotes").iterdir()]
    files = sum(map(_size, (*kept, *(process / "fd").iterdir())))
    return 1024 * int(status["RssAnon"].split()[0]) + files


def _size(path: Path) -> int:
    """0 for what is gone meanwhile, and for what is no file, nor a temporary one without a name."""
    with contextlib.suppress(OSError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and (path.parent.name != "fd" or " (deleted)" in os.readlink(path)):
            return found.st_size
    return 0


def known(host: Host) -> list[dict[str, Any]]:
    """What the status says of each remote. Asked for often, so without a process of its own."""
    config = load_config(str(host.archive.config))
    database = config.databases["events"]
    found: Any = answers.status(host.archive.repository, database, known_remotes(config, database))["remotes"]
    return list(found)


def served(host: Host) -> list[str]:
    """The remotes that have all."""
    return [each["remote"] for each in known(host) if not (each["problem"] or each["missing"] or each["lag"])]


@pytest.mark.timeout(int(600 + 2 * SECONDS))
def test_nothing_waits_for_places_that_are_out_of_order_and_they_get_it_all_later(
    places: dict[str, Place], tmp_path: Path
) -> None:
    with host_with(tmp_path / "host", places) as host, contextlib.ExitStack() as faults:
        host.archive.start()
        host.insert("before", 20)
        host.follow()
        wait_for(lambda: len(served(host)) == len(places))
        for name, fault in FAULTS.items():
            faults.enter_context(fault(places[name]))
        cheap, costs = cost(host), [0]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            host.application.execute(LARGE)
            costs.append(cost(host))
            time.sleep(SECONDS * 200_000 / WAITING)
        # Backups and the archive go on, and so does the place that is well.
        backup = host.call("backup", "events")["backup"]
        assert backup["state"] == "verified"
        host.insert("last")
        host.archive.reaches(dt.datetime.now(dt.timezone.utc))
        wait_for(lambda: served(host) == ["well"])
        wait_for(
            lambda: (
                costs.append(cost(host)) or [bool(each["problem"]) for each in known(host)].count(True) == len(FAULTS)
            )
        )
        assert host.call("status", "events", code=3)["findings"]
        with concurrent.futures.ThreadPoolExecutor() as threads:
            answered = threads.map(lambda name: host.call("push", "events", "--remote", name, code=9), FAULTS)
            for name, failed in zip(FAULTS, answered):
                assert failed["error"]["kind"] == "remote"
                assert name in failed["error"]["message"]
        costs.append(cost(host))
        assert max(costs) - cheap < COST
        faults.close()
        wait_for(lambda: len(served(host)) == len(places), 120 + min(SECONDS, 300))
        host.insert("after", 5)
        host.archive.stop()
        assert host.archive.gaps() == []
        assert host.end() == 0
        rows = host.rows()
        host.lose_all()
        host.use(*(each.server.remote(name) for name, each in places.items()))
        for name in places:
            target = tmp_path / f"{name}.db"
            host.call("restore", "events", "--from", name, "--target", target)
            assert rows_of(target) == rows, name


def test_the_service_ends_when_it_is_told_to_whatever_it_waits_for(one: Place, tmp_path: Path) -> None:
    """Before systemd kills it after a minute. rclone alone would wait for longer."""
    with host_with(tmp_path / "host", {"vault": one}, timeout=300) as host:
        host.archive.start()
        one.line.dead = True
        host.follow()
        wait_for(lambda: len(host.pushing()) == 3)
        running = host.pushing()
        assert host.end() == 0
        assert [process for process in running if process.exists()] == []
        assert "stood still" in host.log.read_text()


def test_a_place_that_is_slow_gets_everything_without_being_cut_off(one: Place, tmp_path: Path) -> None:
    """A transfer lasts for longer than any standstill may."""
    with host_with(tmp_path / "host", {"vault": one}, timeout=1) as host:
        host.archive.start()
        host.application.execute(LARGE)
        host.application.execute(LARGE)
        host.call("backup", "events")
        host.archive.reaches(dt.datetime.now(dt.timezone.utc))
        one.line.rate = 80_000
        pushed = host.call("push", "events")["remotes"][0]
        assert pushed["error"] is None
        assert pushed["size"] > 9 * one.line.rate
        one.line.rate = 0
        host.archive.stop()
        host.call("push", "events")
        target = tmp_path / "there.db"
        host.call("restore", "events", "--from", "vault", "--target", target)
        assert rows_of(target) == host.rows()
