# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``litekeep seal`` under the clock: beside the load, with hosts that send nothing, upon a long history."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from litekeep.timeline import SUFFIX
from litekeep.timelinefile import read_timeline

from . import push_history
from .measure import Usage
from .place import NAME, Place, WrongResultError
from .push_results import History, Look, Standing
from .push_server import Server
from .stats import percentile

IDLE_HOSTS = 50
NEW_HOSTS = 10  # of new timelines in one look: one alone is lost beside the start
REPEATS = 3
RESERVE, LIMIT = "0", "50GB"


def seal(place: Place, repository: Path) -> tuple[Look, list[str]]:
    """One run over a repository, and what it refused. WrongResultError when it fails."""
    config = place.folder / "server.json"
    config.write_text(json.dumps({"repository": str(repository), "host": "server", "databases": {}}), encoding="utf-8")
    folder = place.fresh("seal")
    words: list[str | Path] = [sys.executable, "-m", "litekeep", "--config", config, "seal"]
    usage: Usage = place.run([*words, "--reserve", RESERVE, "--limit", LIMIT, "--json"], folder)
    told = place.log(folder.name).read_text(errors="replace")
    try:
        found = json.loads(told)["databases"]
    except (ValueError, LookupError) as problem:
        raise WrongResultError(f"litekeep seal gave no answer (exit code {usage.exit_code}):\n{told}") from problem
    new = {each["host"] for each in found if each["changed"]}
    refused = [f"{each['host']}: {reason}" for each in found for reason in each["refused"]]
    return Look(usage.cpu, len(new), sum(each["segments"] for each in found)), refused


class Sealer:
    """Seals every ``every`` seconds in a thread, as the timer of a server does."""

    def __init__(self, place: Place, server: Server, every: float) -> None:
        self.looks: list[Look] = []
        self.refused: list[str] = []
        self.problem: WrongResultError | None = None
        self._place, self._server, self._every = place, server, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every):
                look, refused = seal(self._place, self._server.repository)
                self.looks.append(look)
                self.refused += refused
        except WrongResultError as problem:
            self.problem = problem

    def end(self) -> None:
        """No more. Raises what went wrong."""
        self._over.set()
        self._thread.join()
        if self.problem:
            raise self.problem


def rest(place: Place, server: Server) -> None:
    """Seal until nothing new is there."""
    while True:
        look, refused = seal(place, server.repository)
        if refused:
            raise WrongResultError(f"litekeep seal refused what was sent: {'; '.join(refused)}")
        if not look.hosts:
            return


def standing(folder: Path) -> Standing:
    """What a host has there."""
    timelines = sorted((folder / NAME / "archive").iterdir())
    files = [path for timeline in timelines for path in timeline.iterdir()]
    segments = [segment for timeline in timelines for segment in read_timeline(str(timeline)).segments]
    own = {segment.name for segment in segments}
    merged = {segment.merged for segment in segments} - own
    stored = [path for path in files if path.name.endswith(SUFFIX)]
    return Standing(
        rounds=sum(path.name in merged for path in stored),
        single=sum(path.name in own for path in stored),
        other=len(files) - len(stored),
        backup=sum(path.is_file() for path in (folder / NAME / "backups").rglob("*")),
        archive_bytes=sum(path.stat().st_size for path in files),
        wal=sum((s.last - s.first + 1) * (s.page_size + push_history.FRAME_HEADER) for s in segments),
        segments=len(segments),
        waiting=sum(path.is_file() for path in (folder / ".incoming").rglob("*")),
    )


def costs(place: Place, base: Path, host: Path) -> tuple[float, float]:
    """Processor seconds of a ``seal`` with no host, and what each host with nothing new adds. host: to copy."""
    empty, many = base / "empty", base / "many"
    empty.mkdir()
    for number in range(IDLE_HOSTS):
        shutil.copytree(host, many / f"host{number}", copy_function=os.link)
    start = _median(lambda: seal(place, empty)[0].cpu)
    full = _median(lambda: seal(place, many)[0].cpu)
    return start, max(0.0, full - start) / IDLE_HOSTS


def history(place: Place, base: Path, records: int, segments: int) -> History:
    """One look at a host that has so many records there, and so many segments more in ``.incoming``."""
    hosts, cpu = 1 if records else NEW_HOSTS, []
    for number in range(REPEATS):
        repository = base / f"history-{records}-{number}"
        for host in range(hosts):
            push_history.make(repository / f"host{host}", records, segments)
        # One right before the other: what else goes on here hits both.
        start = seal(place, base / "empty")[0].cpu
        look, refused = seal(place, repository)
        if refused or look.segments != segments * hosts:
            raise WrongResultError(f"litekeep seal took {look.segments} of {segments} segments: {'; '.join(refused)}")
        cpu.append((look.cpu - start) / hosts)
        shutil.rmtree(repository)
    return History(records, segments, percentile(cpu, 50))


def _median(measure: Callable[[], float]) -> float:
    measure()  # the first one gives what it finds to its group, and warms the cache
    return percentile([measure() for _number in range(REPEATS)], 50)
