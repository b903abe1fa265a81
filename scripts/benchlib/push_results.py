# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was measured with a backup server, and the arithmetic upon it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from .stats import percentile

# What a server has by default: seconds between two pushes of a host, and between two looks of ``seal``.
PUSH_EVERY, SEAL_EVERY = 10, 15
DAY = 86400
# Connections of a push that sends one batch and one piece, each written and read: and of every 32nd piece another one,
# of every minute a heartbeat.
LEAST = 2 * (2 + 1 / 32 + PUSH_EVERY / 60)
RELIEF = 64_000_000  # bytes of WAL in a round, by default

_PIECE = re.compile(r"records-(\d+)-(\d+)")


@dataclasses.dataclass(frozen=True)
class Push:
    """One pass over the archive in which rclone was called.

    begun: monotonic clock. wall: seconds. segments: how many were sent. written: names and sizes of the files, as they
    were written. calls: of rclone, each of which is a connection, by the same clock. failed: the error, or nothing.
    """

    begun: float
    wall: float
    segments: int
    written: list[tuple[str, int]]
    calls: list[float]
    failed: str


@dataclasses.dataclass(frozen=True)
class Look:
    """One run of ``seal``. cpu: user and system seconds. hosts: how many had something new. segments: taken over."""

    cpu: float
    hosts: int
    segments: int


@dataclasses.dataclass(frozen=True)
class History:
    """One look of ``seal`` at a single host that has sent ``segments`` more upon ``records`` that stand there."""

    records: int
    segments: int
    cpu: float


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a host has on the server in the end, all sealed: numbers of files, and bytes.

    rounds: that are over, each a merged file. single: segments in files of their own. other: of timelines. backup: of
    backups. wal: bytes of WAL in all segments. segments: how many. waiting: files that still lie in ``.incoming``.
    """

    rounds: int
    single: int
    other: int
    backup: int
    archive_bytes: int
    wal: int
    segments: int
    waiting: int


@dataclasses.dataclass
class PushResults:
    """All figures, as far as it came.

    seconds: length of the span in which everything else was measured; pushes: those that began in it. connections, and
    server and senders in processor seconds: what was in the span, whenever its push began. start: seconds
    of one ``seal`` with no host at all. idle: of one for a host that has sent nothing new.
    """

    machine: dict[str, str]
    options: dict[str, Any]
    database: int = 0
    seconds: float = 0.0
    pushes: list[Push] = dataclasses.field(default_factory=list)
    connections: int = 0
    server: float = 0.0
    senders: float = 0.0
    looks: list[Look] = dataclasses.field(default_factory=list)
    start: float = 0.0
    idle: float = 0.0
    histories: list[History] = dataclasses.field(default_factory=list)
    standing: list[Standing] = dataclasses.field(default_factory=list)
    proven: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there is something to sum up."""
        return bool(self.done and self.connections and self.looks and self.histories and self.standing)

    @property
    def done(self) -> list[Push]:
        """Pushes that sent something, and did not fail."""
        return [push for push in self.pushes if push.segments and not push.failed]

    @property
    def failed(self) -> list[str]:
        """Why pushes failed. What they had to send is sent again, so they cost, and the figures hold."""
        return [push.failed for push in self.pushes if push.failed]

    @property
    def wall(self) -> float:
        """Seconds of a push, median."""
        return percentile([push.wall for push in self.done], 50)

    @property
    def server_cpu(self) -> float:
        """Processor seconds of sshd for a push."""
        return self.connection_cpu * self.calls

    @property
    def sender_cpu(self) -> float:
        """Processor seconds of ``litekeep push`` and rclone for a push."""
        return self.senders / self.connections * self.calls

    @property
    def calls(self) -> float:
        """Connections of a push."""
        return sum(len(push.calls) for push in self.done) / len(self.done)

    @property
    def connection_cpu(self) -> float:
        """Processor seconds of sshd for a connection."""
        return self.server / self.connections

    def files(self) -> dict[str, tuple[float, float]]:
        """Of each kind of file: how many a push sends, and how many bytes one has."""
        found: dict[str, list[int]] = {"batch": [], "piece": [], "covering piece": [], "heartbeat": []}
        for push in self.done:
            for kind, size in kinds(push.written):
                found[kind].append(size)
        return {
            kind: (len(sizes) / len(self.done), sum(sizes) / len(sizes) if sizes else 0.0)
            for kind, sizes in found.items()
        }

    @property
    def sealing(self) -> float:
        """Processor seconds of one ``seal`` for a host with something new, in the looks beside the load."""
        hosts = self.options["hosts"]
        busy = sum(look.hosts for look in self.looks)
        rest = sum(look.cpu - self.start - (hosts - look.hosts) * self.idle for look in self.looks)
        return rest / busy if busy else 0.0

    @property
    def least_cpu(self) -> float:
        """Processor seconds of sshd for a push of LEAST connections."""
        return LEAST * self.connection_cpu

    def hosts_per_core(self, pushing: float, sealing: float) -> float:
        """Hosts for which one core is enough, every one of them always with something new. Both in seconds of one."""
        return (1 - self.start / SEAL_EVERY) / (pushing / PUSH_EVERY + sealing / SEAL_EVERY)

    @property
    def arriving(self) -> float:
        """Files that a host sends in a day: at PUSH_EVERY, a heartbeat a minute."""
        files = self.files()
        return DAY / PUSH_EVERY * sum(files[kind][0] for kind in ("batch", "piece", "covering piece")) + DAY / 60

    @property
    def rounds(self) -> float:
        """Rounds, and merged files, of a host in a day: its WAL, in rounds of RELIEF."""
        wal = sum(one.wal for one in self.standing) / len(self.standing)
        return wal / self.written_for * DAY / RELIEF

    @property
    def daily_bytes(self) -> float:
        """That the archive of a host grows in a day, sealed."""
        return sum(one.archive_bytes for one in self.standing) / len(self.standing) / self.written_for * DAY

    written_for: float = 0.0  # seconds for which the applications wrote


def kinds(written: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    """Of the files of one push in their order: what each is, and its size."""
    found, last = [], -1
    for name, size in written:
        piece = _PIECE.match(name)
        if piece:
            # A piece goes on where the last one ended; one that covers others begins before.
            start, end = int(piece[1]), int(piece[2])
            kind, last = ("covering piece" if start < last else "piece"), end
        else:
            kind = "heartbeat" if name.startswith("heartbeat") else "batch"
        found.append((kind, size))
    return found


def published(results: PushResults) -> dict[str, Any]:
    """Everything, unrounded, as plain values; what follows from it beside it."""
    found: dict[str, Any] = {
        "format": {"name": "litekeep-bench", "version": 1},
        "command": "push",
        **dataclasses.asdict(results),
    }
    if results.complete:
        found["derived"] = {
            "wall": results.wall,
            "server_cpu": results.server_cpu,
            "sender_cpu": results.sender_cpu,
            "calls": results.calls,
            "sealing": results.sealing,
            "connection_cpu": results.connection_cpu,
            "hosts_per_core": [
                {
                    "records": each.records,
                    "measured": results.hosts_per_core(results.server_cpu, each.cpu),
                    "least": results.hosts_per_core(results.least_cpu, each.cpu),
                }
                for each in results.histories
            ],
            "arriving_files": results.arriving,
            "rounds": results.rounds,
            "daily_bytes": results.daily_bytes,
        }
    return found
