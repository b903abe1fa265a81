# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Times, durations and sizes, as Litekeep writes and reads them. All times are UTC."""

from __future__ import annotations

import datetime as dt
import re

from .errors import UsageError

NO_OFFSET = "no offset from UTC"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"([0-9]{1,15}) ?(?:([KMGT])(I)?)?B?")
_DURATION = re.compile(r"([0-9]{1,12})([smhdw])")


def now() -> dt.datetime:
    """The present, aware, UTC, cut to milliseconds (what ids and manifests can hold)."""
    moment = dt.datetime.now(dt.timezone.utc)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_text(moment: dt.datetime) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-22T02:00:00.123Z``."""
    return moment.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_or_none(moment: dt.datetime | None) -> str | None:
    """The same of a time that may be missing."""
    return to_text(moment) if moment else None


def to_id(moment: dt.datetime) -> str:
    """The compact form used in ids and folder names: ``20261122T020000.123Z``."""
    return to_text(moment).replace("-", "").replace(":", "")


def from_id(name: str) -> dt.datetime:
    """The moment with which an id or a folder's name begins; 1970 where it begins with none."""
    try:
        return dt.datetime.strptime(name[:20], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=dt.timezone.utc)
    except ValueError:
        return dt.datetime.fromtimestamp(0, dt.timezone.utc)


def from_text(text: str) -> dt.datetime:
    """Read RFC 3339 with an offset.

    Raises ValueError when the text is no such time, or carries no offset: a time without one means
    a different moment on every machine.
    """
    if len(text) == 24 and text.endswith("Z") and text[19] == ".":
        # What Litekeep itself writes, and reads by the hundred thousand.
        return dt.datetime.fromisoformat(text[:-1] + "+00:00")
    # fromisoformat() of Python 3.9 and 3.10 knows no "Z" and no other fraction than 3 or 6 digits.
    text = re.sub(r"[zZ]$", "+00:00", text.strip())
    text = re.sub(r"\.(\d+)", lambda found: "." + found.group(1)[:6].ljust(6, "0"), text)
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(NO_OFFSET)
    try:
        return moment.astimezone(dt.timezone.utc)
    except OverflowError as problem:
        raise ValueError("out of range") from problem


def parse_duration(value: object, what: str) -> int:
    """Seconds of ``90s``, ``15m``, ``24h``, ``7d``, ``2w`` or of a bare number of seconds.

    Raises UsageError; ``what`` names the setting in its message.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return value
    text = str(value).strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return int(text)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(int(number) * _UNITS[unit] for number, unit in parts)
    raise UsageError(
        f"{what} is not a duration",
        expected="a number with a unit: 90s, 15m, 24h, 7d, 2w",
        found=repr(value),
        next_step=f"correct {what}",
    )


def parse_size(value: object, what: str) -> int:
    """Bytes of ``16MB`` (powers of 1000), ``512KiB`` (powers of 1024), or of a bare number.

    Raises UsageError; ``what`` names the setting in its message.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    found = _SIZE.fullmatch(str(value).strip().upper())
    if found:
        base, power = 1024 if found.group(3) else 1000, " KMGT".index(found.group(2) or " ")
        return int(int(found.group(1)) * base**power)
    raise UsageError(
        f"{what} is not a size",
        expected="a number of bytes, or one with a unit: 512KiB, 16MB, 1GB",
        found=repr(value),
        next_step=f"correct {what}",
    )


def duration_text(seconds: float) -> str:
    """A duration for people: ``0.4 s``, ``3 min 20 s``, ``5 h 10 min``, ``12 d 3 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def size_text(count: int) -> str:
    """A number of bytes for people, in powers of 1000: ``236.0 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
