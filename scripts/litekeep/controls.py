# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked about each host and database, under ids that stay, and what a finding is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Data would be lost, or a promise is not true now. An objective is missed. It could be better.
CRITICAL, WARNING, NOTICE = SEVERITIES = ("critical", "warning", "notice")
NEVER = "never"
FAIL_ON = (*SEVERITIES, NEVER)
OK = "ok"
UNKNOWN = "unknown"
STATES = (*SEVERITIES, UNKNOWN, OK)


@dataclass(frozen=True)
class Control:
    """A question. id: never given to another one. title: what holds when all is well."""

    id: str
    name: str
    title: str


REACHABLE = Control("LK01", "reachable", "The host answers, and Litekeep has run on it")
COVERAGE = Control("LK02", "coverage", "Every SQLite file on the host is protected or exempt")
FRESHNESS = Control("LK03", "freshness", "The newest verified backup is within the objective")
VERIFICATION = Control("LK04", "verification", "What is stored was read lately and is what was stored")
RETENTION = Control("LK05", "retention", "What the policy keeps stands, and what it does not keep has gone")
ARCHIVE = Control("LK06", "archive", "The archive runs and has no new gap")
OFF_HOST = Control("LK07", "off-host", "Everything has arrived off the host")
SEALED = Control("LK08", "sealed", "The copies off the host cannot be changed by the host")
ENCRYPTION = Control("LK09", "encryption", "The copies off the host can be read with the user's key only")
DRILLS = Control("LK10", "drills", "Restores were tried, all of them succeeded, and within the objective")
SPACE = Control("LK11", "space", "There is room for the backups to come")
SQLITE = Control("LK12", "sqlite", "The SQLite library has no known fault that loses data")
VERSION = Control("LK13", "version", "The host runs what the inventory says")
SERVICES = Control("LK14", "services", "Timers and services are on, and their last run succeeded")
SOURCE = Control("LK15", "source", "The database is there and is one")

CONTROLS = (
    REACHABLE,
    COVERAGE,
    FRESHNESS,
    VERIFICATION,
    RETENTION,
    ARCHIVE,
    OFF_HOST,
    SEALED,
    ENCRYPTION,
    DRILLS,
    SPACE,
    SQLITE,
    VERSION,
    SERVICES,
    SOURCE,
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. evidence: what was found. remedy: the command that mends it or shows more."""

    control: Control
    severity: str
    evidence: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.evidence}; run: {self.remedy}" if self.remedy else self.evidence

    def to_json(self) -> dict[str, str]:
        """As answers and reports hold it."""
        return {
            "id": self.control.id,
            "control": self.control.name,
            "severity": self.severity,
            "evidence": self.evidence,
            "remedy": self.remedy,
        }


def worst_of(states: Iterable[str]) -> str:
    """The worst of some of STATES; ``ok`` where there is none."""
    return min(states, key=STATES.index, default=OK)
