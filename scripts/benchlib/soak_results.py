# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a soak saw, and the arithmetic of its judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .load import Service
from .stats import Spread, spread

MEGABYTE = 10**6


@dataclasses.dataclass(frozen=True)
class Sample:
    """At one moment, all sizes in bytes.

    at: seconds since the load began. frames: in use in the WAL, and waiting: those of them that are not back in the
    database yet; None when that could not be told. wal: size of its file. own: RssAnon of the archiver, everyone: with
    its children. cpu: user and system seconds of its life so far. stored: what its repository takes. gaps: that
    Litekeep reports. lag: seconds since the last moment that is proven; None when there is none. problem: in
    Litekeep's words, None when there is none.
    """

    at: float
    frames: int | None
    waiting: int | None
    wal: int
    own: int
    everyone: int
    cpu: float
    stored: int
    gaps: int
    lag: float | None
    problem: str | None


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The application's own checkpoints of one kind: how many, how many were not complete, and their seconds."""

    kind: str
    count: int
    busy: int
    took: Spread


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One thing that has to hold, whether it does, and by which figures."""

    what: str
    holds: bool
    told: str


@dataclasses.dataclass
class SoakResults:
    """All figures, as far as it came. relief: bytes of WAL at which the archiver lets it start again.

    largest_wal: seen in looks ten times a second. life: the archiver's processor seconds.
    """

    machine: dict[str, str]
    options: dict[str, Any]
    relief: int
    page_size: int = 4096
    service: Service | None = None
    events: int = 0
    samples: list[Sample] = dataclasses.field(default_factory=list)
    checkpoints: list[Checkpoints] = dataclasses.field(default_factory=list)
    largest_wal: int = 0
    life: float = 0.0
    ending: float = 0.0
    restore: float | None = None
    segments: int = 0
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


def summed_up(checkpoints: Sequence[Sequence[Any]]) -> list[Checkpoints]:
    """[begun, seconds, kind, busy] of each, by kind."""
    kinds = sorted({kind for _begun, _seconds, kind, _busy in checkpoints})
    found = []
    for kind in kinds:
        mine = [(seconds, busy) for _begun, seconds, name, busy in checkpoints if name == kind]
        found.append(
            Checkpoints(
                kind, len(mine), sum(bool(busy) for _s, busy in mine), spread([seconds for seconds, _b in mine])
            )
        )
    return found


@dataclasses.dataclass(frozen=True)
class Growth:
    """Memory, bytes: median of the second quarter of the time, and of the last; the first quarter is for warming up."""

    before: float
    after: float

    @property
    def allowed(self) -> float:
        """A twentieth, or 2 MB when that is more: what allocators and caches need to settle."""
        return max(self.before / 20, 2 * MEGABYTE)

    @property
    def flat(self) -> bool:
        """Whether it did not grow, but for that."""
        return self.after - self.before <= self.allowed


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Of the archiver's own RssAnon; None when a quarter has less than two samples."""
    quarter = len(samples) // 4
    if quarter < 2:
        return None
    values = [sample.own for sample in samples]
    return Growth(spread(values[quarter : 2 * quarter]).median, spread(values[-quarter:]).median)


def judge(results: SoakResults, difference: str | None, history: str | None, exit_code: int) -> list[Verdict]:
    """Everything that has to hold. difference: of the final restore. history: what the catalogue says against it."""
    samples, service, options = results.samples, results.service, results.options
    if service is None or not samples:
        return [Verdict("the soak", False, "it did not come to its end")]
    return [
        _application(service, options["rate"]),
        _gaps(samples, history),
        _wal(results),
        _memory(samples),
        Verdict("ended on SIGTERM", exit_code == 0, f"exit code {exit_code} after {results.ending:.2f} s"),
        Verdict("final restore", difference is None, difference or "equals the live database, row for row"),
    ]


def _application(service: Service, rate: float) -> Verdict:
    told = f"{service.rate:.1f} commits/s, {service.errors} errors, late by p99 {service.p99 * 1000:.1f} ms"
    return Verdict("application", service.errors == 0 and service.rate >= 0.98 * rate, told)


def _gaps(samples: Sequence[Sample], history: str | None) -> Verdict:
    gaps = max(sample.gaps for sample in samples)
    trouble = [f"{sample.problem} after {sample.at:.0f} s" for sample in samples if sample.problem]
    lags = [sample.lag for sample in samples if sample.lag is not None]
    told = f"{gaps} in {len(samples)} samples"
    told += f", last proven moment at most {max(lags):.1f} s ago" if lags else ", no moment was ever proven"
    told += "".join(f"; {text}" for text in trouble[:1] + [history or ""] if text)
    return Verdict("zero gaps", not gaps and not trouble and history is None and bool(lags), told)


def _wal(results: SoakResults) -> Verdict:
    # Relief may miss some turns beside busy writers or another reader; as much again without any is no bound.
    limit = 2 * results.relief
    told = f"{results.largest_wal / MEGABYTE:.1f} MB at most, allowed {limit / MEGABYTE:.0f} MB (twice relief)"
    return Verdict("WAL bounded", results.largest_wal <= limit, told)


def _memory(samples: Sequence[Sample]) -> Verdict:
    found = growth(samples)
    if found is None:
        return Verdict("memory flat", False, f"{len(samples)} samples are too few: let it run longer")
    return Verdict(
        "memory flat",
        found.flat,
        f"RssAnon, median of the second quarter {found.before / MEGABYTE:.2f} MB, of the last "
        f"{found.after / MEGABYTE:.2f} MB, allowed more {found.allowed / MEGABYTE:.1f} MB",
    )


def published(results: SoakResults) -> dict[str, Any]:
    """Everything, unrounded, as plain values."""
    return {
        "format": {"name": "litekeep-bench", "version": 1},
        "command": "soak",
        **dataclasses.asdict(results),
    }
