# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long backups and the archive are kept, as the user states it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from .errors import UsageError
from .timefmt import duration_text, parse_duration

_DAY = 86_400
_DURATIONS = ("keep_within", "archive_window")


@dataclass(frozen=True)
class Policy:
    """The rules; a backup stays when any of them keeps it.

    keep_last: so many newest. keep_hourly, keep_daily, keep_weekly (ISO 8601 weeks), keep_monthly, keep_yearly: the
    newest of each of so many newest periods that have one, in UTC. keep_within: seconds before the newest. 0 is: no
    such rule. archive_window: seconds before the newest moment, in which every commit can be restored. min_verified: so
    many stay whatever the rules say.
    """

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: int = 0
    archive_window: int = 7 * _DAY
    min_verified: int = 2

    @property
    def rules(self) -> dict[str, int]:
        """What keeps backups, by name."""
        return {name: value for name, value in vars(self).items() if name.startswith("keep_") and value}

    def __str__(self) -> str:
        words = [f"{name} {_value_text(name, value)}" for name, value in self.rules.items()]
        words += [f"{name} {_value_text(name, getattr(self, name))}" for name in ("archive_window", "min_verified")]
        return ", ".join(words)


KEYS = tuple(rule.name for rule in fields(Policy))


def policy_from(values: Mapping[str, object], what: str) -> Policy:
    """A policy out of plain values; what is None was not given.

    what: names the setting in messages. Raises UsageError: an unknown key, a value that is no count or duration, a
    policy that keeps nothing.
    """
    given = {key: value for key, value in values.items() if value is not None}
    for key in given:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            raise UsageError(
                f"{what} has no rule {key!r}",
                expected=", ".join(KEYS),
                safe="nothing is removed",
                next_step=f"{what}: did you mean {near[0]}?" if near else f"correct {what}",
            )
    policy = Policy(**{key: _value(key, value, f"{what}.{key}") for key, value in given.items()})
    if not policy.rules:
        raise UsageError(
            f"{what} keeps nothing",
            expected="at least one of " + ", ".join(key for key in KEYS if key.startswith("keep_")),
            found=str(dict(given)),
            safe="nothing is removed",
            next_step=f"add a rule to {what}, for example keep_daily: 30",
        )
    return policy


def _value(key: str, value: object, what: str) -> int:
    if key in _DURATIONS:
        return parse_duration(value, what)
    lowest = 1 if key == "min_verified" else 0
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value < 10**6:
        return value
    raise UsageError(
        f"{what} is no count",
        expected=f"a whole number from {lowest}",
        found=repr(value),
        safe="nothing is removed",
        next_step=f"correct {what}",
    )


def _value_text(name: str, value: int) -> str:
    return duration_text(value) if name in _DURATIONS else str(value)
