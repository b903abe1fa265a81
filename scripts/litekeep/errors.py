# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Typed errors. Each has one exit code, and says what a tired operator needs to know next."""

from __future__ import annotations


class LitekeepError(Exception):
    """A failure with everything an operator needs.

    what: one sentence that names the object. expected, found: the two sides of the contradiction.
    safe: what is untouched or still usable. next_step: the command or action to take now.
    """

    exit_code = 1
    kind = "unexpected"

    def __init__(self, what: str, *, expected: str = "", found: str = "", safe: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.safe = safe
        self.next_step = next_step

    def details(self) -> dict[str, str]:
        """The parts after the first sentence that have something to say, in reading order."""
        parts = {"expected": self.expected, "found": self.found, "safe": self.safe, "next": self.next_step}
        return {label: text for label, text in parts.items() if text}

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {label + ':':<10}{text}" for label, text in self.details().items()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The error as it stands in JSON answers and in module results."""
        return {"kind": self.kind, "exit_code": self.exit_code, "message": self.what, **self.details()}


class UsageError(LitekeepError):
    """Wrong words on the command line, a configuration or a repository that cannot be used as it is."""

    exit_code = 2
    kind = "usage"


class VerificationError(LitekeepError):
    """Bytes that are not what they were, or a database that does not pass its checks."""

    exit_code = 3
    kind = "verification"


class NoRestorePointError(LitekeepError):
    """The asked-for moment or backup cannot be rebuilt from this repository."""

    exit_code = 4
    kind = "no_restore_point"


class BusyError(LitekeepError):
    """Somebody else held a lock past the deadline."""

    exit_code = 5
    kind = "busy"


class InUseError(LitekeepError):
    """A process has the target of a restore open."""

    exit_code = 6
    kind = "in_use"


class SpaceError(LitekeepError):
    """Not enough room in staging, repository or the target's directory."""

    exit_code = 7
    kind = "no_space"


class SourceError(LitekeepError):
    """The source is missing, was replaced, or is not a SQLite database that can be read."""

    exit_code = 8
    kind = "source"


class RemoteError(LitekeepError):
    """A place off the host cannot be reached, refuses, or does not hold what was written there."""

    exit_code = 9
    kind = "remote"
