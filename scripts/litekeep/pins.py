# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What retention may not remove, whatever its rules say: pinned backups, and holds over a span of time.

``pins.jsonl`` beside the backups has a numbered line, with its checksum, for each pin, hold and release.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import locks
from .errors import UsageError, VerificationError
from .files import append_bytes, cut_torn_line, private_directory
from .retention import Hold
from .timefmt import from_text, now, to_text
from .timeline import seal, unseal

NAME = "pins.jsonl"
_LOCK = ".pins.lock"
_PATIENCE = 30.0
ALWAYS = (dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc), dt.datetime(9999, 1, 1, tzinfo=dt.timezone.utc))


@dataclass(frozen=True)
class Pins:
    """What stands now: reasons by backup id, and the holds. lines: how many there are in the file."""

    backups: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    lines: int = 0

    def hold(self, name: str) -> Hold | None:
        """The hold of that name."""
        return next((hold for hold in self.holds if hold.name == name), None)


@contextlib.contextmanager
def standing_still(folder: str) -> Iterator[Pins]:
    """The pins of the database in ``folder``; nobody changes them meanwhile."""
    private_directory(folder)
    with locks.exclusive(os.path.join(folder, _LOCK), "pins", _PATIENCE):
        yield read_pins(folder)


def read_pins(folder: str) -> Pins:
    """The pins of the database in ``folder``. Raises VerificationError when a line is damaged or missing."""
    path = os.path.join(folder, NAME)
    try:
        with open(path, "rb") as stream:
            # Without its end, the last line is one that a crash tore: it was never acknowledged.
            lines = stream.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return Pins()
    records = [values for values in map(_record, lines) if values]
    numbers = [values.get("number") for values in records]
    if numbers != list(range(1, len(lines) + 1)):
        raise VerificationError(
            f"{path} is damaged",
            expected="numbered lines, each with its checksum",
            found=f"{len(lines)} lines, of which these numbers are whole: {numbers}",
            safe="nothing is removed as long as it cannot be read",
            next_step="look at it; when its pins are known, move it away and set them anew: litekeep pin --help",
        )
    return _standing(records)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        return unseal(line)[0]
    except ValueError:
        return None


def _standing(records: list[dict[str, Any]]) -> Pins:
    backups: dict[str, str] = {}
    holds: dict[str, Hold] = {}
    for values in records:
        name = str(values["name"])
        if values["action"] == "pin":
            backups[name] = str(values["reason"])
        elif values["action"] == "unpin":
            backups.pop(name, None)
        elif values["action"] == "hold":
            holds[name] = Hold(name, from_text(values["from"]), from_text(values["to"]))
        elif values["action"] == "release":
            holds.pop(name, None)
    return Pins(backups, tuple(holds.values()), len(records))


def pin(folder: str, backup_id: str, reason: str) -> None:
    """Keep that backup until it is unpinned."""
    _append(folder, {"action": "pin", "name": backup_id, "reason": reason})


def unpin(folder: str, backup_id: str) -> bool:
    """Leave it to the rules again; False when it was not pinned."""
    return _append(folder, {"action": "unpin", "name": backup_id}, lambda pins: backup_id in pins.backups)


def hold(folder: str, wanted: Hold, reason: str) -> None:
    """Keep all that is needed for that span of time. A hold of the same name is replaced."""
    if wanted.end < wanted.start:
        raise UsageError(
            f"The hold {wanted.name} ends before it begins",
            expected="--from before --to",
            found=f"{to_text(wanted.start)} to {to_text(wanted.end)}",
            safe="nothing was changed",
            next_step="give them the other way round",
        )
    span = {"from": to_text(wanted.start), "to": to_text(wanted.end)}
    _append(folder, {"action": "hold", "name": wanted.name, **span, "reason": reason})


def release(folder: str, name: str) -> bool:
    """Give up a hold; False when there is none of that name."""
    return _append(folder, {"action": "release", "name": name}, lambda pins: pins.hold(name) is not None)


def _append(folder: str, values: dict[str, object], if_so: Callable[[Pins], bool] = lambda _pins: True) -> bool:
    with standing_still(folder) as pins:
        if not if_so(pins):
            return False
        path = os.path.join(folder, NAME)
        if os.path.exists(path):
            # Even a whole line without its end must not come to life.
            cut_torn_line(path)
        append_bytes(path, seal({"number": pins.lines + 1, "time": to_text(now()), **values})[0])
        return True
