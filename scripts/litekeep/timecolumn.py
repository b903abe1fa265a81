# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Columns that hold times: in which unit, found out from what they hold, and a range of time as SQL.

SQLite has no type for time ("Datatypes In SQLite", section 2.2); applications write text, or numbers since an epoch.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Union

from . import timefmt
from .cells import text_or_bytes
from .errors import UsageError
from .tables import Table, folded, quoted

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_JULIAN_EPOCH = 2440587.5
_SAMPLE = 1000
NUMBERS = {"seconds": 1, "milliseconds": 1000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
UNITS = (*NUMBERS, "julianday", "text")
# The largest absolute value that seconds may have: until the year 5138, and milliseconds not before 1973.
_SECONDS_BELOW = 10**11
_JULIAN = range(1_000_000, 5_500_000)
_TEXT = re.compile(
    r"(?P<base>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?P<second>:\d\d)?)?)"
    r"(?:(?<=:\d\d:\d\d)\.(?P<part>\d{1,9}))?"
    r"(?P<offset>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
# julianday() also reads "now", a time without a date, and numbers.
_SOME_TIME = "{0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND julianday({0}) IS NOT NULL"
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}(?P<real>\.[0-9]+)?", re.ASCII)

Bound = Union[int, float, str]


@dataclass(frozen=True)
class Form:
    """How texts are written that are alike but for their fractions of a second.

    base: date and time as a GLOB pattern. seconds: whether they reach to the second. offset: as it stands in all of
    them. digits: of the fractions, None when these differ. example: one of the texts.
    """

    base: str
    seconds: bool
    offset: str
    digits: int | None
    example: str

    def condition(self, name: str) -> str:
        """That a text is written so, as SQL."""
        if not self.seconds:
            return f"{name} GLOB '{self.base}{self.offset}'"
        if self.digits is not None:
            part = "." + "[0-9]" * self.digits if self.digits else ""
            return f"{name} GLOB '{self.base}{part}{self.offset}'"
        return f"({name} GLOB '{self.base}{self.offset}' OR {name} GLOB '{self.base}.[0-9]*{self.offset}')"

    def ordered(self, name: str) -> str:
        """What of the column has the order of time. "Z" comes after "." and digits; signs come before them."""
        return f"rtrim({name}, 'Z')" if self.digits is None and self.offset == "Z" else name


@dataclass(frozen=True)
class Unit:
    """How a column holds its times. name: one of UNITS.

    form: of texts that are all written alike. Others are read by ``julianday()``, to the millisecond.
    """

    name: str
    form: Form | None = None

    @property
    def words(self) -> str:
        """For people."""
        if self.name != "text":
            return _WORDS[self.name]
        return f"text such as {self.form.example}" if self.form else "text in several forms, read to the millisecond"


_WORDS = {
    "seconds": "seconds since 1970 (UTC)",
    "milliseconds": "milliseconds since 1970 (UTC)",
    "microseconds": "microseconds since 1970 (UTC)",
    "nanoseconds": "nanoseconds since 1970 (UTC)",
    "julianday": "Julian day numbers (UTC)",
}


@dataclass(frozen=True)
class Range:
    """From a moment on, and until before another: half-open, so that two ranges beside each other share no row.

    start, end: as they were asked for, None for no bound; lower, upper: the same in the column's unit.
    """

    column: str
    unit: Unit
    start: str | None
    end: str | None
    lower: Bound | None
    upper: Bound | None

    def condition(self) -> tuple[str, list[Bound]]:
        """The rows in it, as SQL and its parameters; rows without a usable time are in no range."""
        name, mark = quoted(self.column), "?"
        if self.unit.form:
            name = self.unit.form.ordered(name)
        elif self.unit.name == "text":
            name, mark = f"julianday({name})", "julianday(?)"
        parts, values = [self._usable()], []
        for sign, bound in ((">=", self.lower), ("<", self.upper)):
            if bound is not None:
                parts.append(f"{name} {sign} {mark}")
                values.append(bound)
        return " AND ".join(parts), values

    def unusable(self) -> str:
        """The rows that hold no such time, as SQL."""
        return f"({self._usable()}) IS NOT 1"

    def _usable(self) -> str:
        name = quoted(self.column)
        if self.unit.name != "text":
            return f"typeof({name}) IN ('integer', 'real')"
        some = self.unit.form.condition(name) if self.unit.form else _SOME_TIME.format(name)
        return f"typeof({name}) = 'text' AND {some}"


def range_of(
    connection: sqlite3.Connection, table: Table, column: str, start: str | None, end: str | None, unit: str | None
) -> Range:
    """The range that ``start`` and ``end`` mean in that column: RFC 3339 with an offset, or values as the column has.

    unit: one of UNITS where the data must not be asked. Raises UsageError.
    """
    names = {folded(known.name): known.name for known in table.columns}
    if folded(column) not in names:
        raise UsageError(
            f"{table.name} has no column {column!r}",
            expected=f"one of: {', '.join(names.values())}",
            safe="nothing was changed",
            next_step="name the column that holds the times: --time-column",
        )
    column = names[folded(column)]
    found = unit_of(connection, table, column, unit)
    lower, upper = (_bound(text, found, f"{table.name}.{column}") for text in (start, end))
    if lower is not None and upper is not None and _is_after(lower, upper):
        raise UsageError(
            f"The range of {table.name}.{column} ends before it begins",
            expected="--from before --to",
            found=f"from {start} to {end}",
            safe="nothing was changed",
            next_step="correct the times",
        )
    return Range(column, found, start, end, lower, upper)


def _is_after(one: Bound, other: Bound) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return str(one) > str(other)
    return one > other


def unit_of(connection: sqlite3.Connection, table: Table, column: str, unit: str | None = None) -> Unit:
    """In which unit the column holds its times. Raises UsageError when it does not hold times of one kind."""
    connection.text_factory = text_or_bytes
    name, source = quoted(column), f"main.{quoted(table.name)}"
    if unit is not None and unit != "text":
        return Unit(unit)
    # Zero is what many applications write where a time is not known.
    rows = connection.execute(
        f"SELECT min({name}), max({name}) FROM {source} WHERE typeof({name}) IN ('integer', 'real') AND {name} <> 0"
    ).fetchone()
    numbers = [] if unit == "text" else [value for value in rows if value is not None]
    texts = [
        str(row[0])
        for row in connection.execute(f"SELECT {name} FROM {source} WHERE typeof({name}) = 'text' LIMIT {_SAMPLE}")
    ]
    if texts and not numbers:
        return Unit("text", _form_of(connection, table, column, texts, unit == "text"))
    if not numbers:
        return Unit(unit or "seconds")
    kinds = {_unit_of_number(value) for value in numbers}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is not None and not texts:
        return Unit(kind)
    found = [repr(value) for value in (*numbers, *texts[:2])]
    raise UsageError(
        f"In which unit {table.name}.{column} holds times cannot be told",
        expected="times of one kind",
        found=", ".join(found),
        safe="nothing was changed",
        next_step=f"if it holds times, say how: --time-unit, one of {', '.join(UNITS)}; else name another column",
    )


def _unit_of_number(value: int | float) -> str | None:
    size = abs(value)
    if isinstance(value, float) and _JULIAN.start <= size < _JULIAN.stop:
        return "julianday"
    return next((name for name, factor in NUMBERS.items() if size < _SECONDS_BELOW * factor), None)


def _form_of(
    connection: sqlite3.Connection, table: Table, column: str, texts: Sequence[str], sure: bool
) -> Form | None:
    """The form of all times in the column, found out from some and then asked of all; None where there are several."""
    forms = Counter(filter(None, map(_form, texts)))
    if sum(forms.values()) * 2 < len(texts) and not sure:
        other = next(text for text in texts if _form(text) is None)
        raise UsageError(
            f"{table.name}.{column} does not hold times alone",
            expected="for example 2026-11-22T02:00:00.000Z in most rows",
            found=repr(other),
            safe="nothing was changed",
            next_step="name another column: --time-column; where it holds times all the same: --time-unit text",
        )
    if not forms:
        return None
    base, seconds, offset = forms.most_common(1)[0][0]
    form = Form(base, seconds, offset, None, next(text for text in texts if _form(text) == (base, seconds, offset)))
    name = quoted(column)
    shortest, longest, others = connection.execute(
        f"SELECT min(CASE WHEN {form.condition(name)} THEN length({name}) END), "
        f"max(CASE WHEN {form.condition(name)} THEN length({name}) END), "
        f"max(NOT {form.condition(name)} AND {_SOME_TIME.format(name)}) "
        f"FROM main.{quoted(table.name)} WHERE typeof({name}) = 'text'"
    ).fetchone()
    if others:
        return None
    return replace(form, digits=_digits(form.example)) if shortest == longest else form


def _form(text: str) -> tuple[str, bool, str] | None:
    """Of a text: date and time as a GLOB pattern, whether it has seconds, its offset."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    return re.sub(r"[0-9]", "[0-9]", found["base"]), found["second"] is not None, found["offset"] or ""


def _digits(text: str) -> int:
    """Of its fraction of a second."""
    found = _TEXT.fullmatch(text)
    return len(found["part"] or "") if found else 0


def _bound(text: str | None, unit: Unit, where: str) -> Bound | None:
    if text is None:
        return None
    try:
        return _in_unit(timefmt.from_text(text), unit)
    except (ValueError, OverflowError) as problem:
        raw = _as_it_stands(text, unit)
        if raw is not None:
            return raw
        no_offset = str(problem) == timefmt.NO_OFFSET
        raise UsageError(
            f"The time {text} {'has no offset from UTC' if no_offset else 'cannot be read'}",
            expected="for example 2026-11-22T02:00:00Z or 2026-11-22T03:00:00+01:00"
            f"; or as {where} has them: {unit.words}",
            safe="nothing was changed",
            next_step="add the offset" if no_offset else "correct the time",
        ) from problem


def _as_it_stands(text: str, unit: Unit) -> Bound | None:
    """A value of the column's own kind."""
    if unit.name == "text":
        form = unit.form
        if form is None or _form(text) != (form.base, form.seconds, form.offset):
            return None
        if form.digits is None:
            return _shortest(text)
        return text if _digits(text) == form.digits else None
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    value = float(text) if found["real"] else int(text)
    return value if -(1 << 63) <= value < 1 << 63 and math.isfinite(value) else None


def _shortest(text: str) -> str:
    """The first in order of all the ways to write that time: no zeros at the end of a fraction, no "Z"."""
    return _TEXT.sub(_without_zeros, text)


def _without_zeros(found: re.Match[str]) -> str:
    part = (found["part"] or "").rstrip("0")
    return found["base"] + (f".{part}" if part else "") + (found["offset"] or "").rstrip("Z")


def _in_unit(moment: dt.datetime, unit: Unit) -> Bound:
    microseconds = (moment - _EPOCH) // dt.timedelta(microseconds=1)
    if unit.name == "julianday":
        return _JULIAN_EPOCH + microseconds / 86_400_000_000
    if unit.name == "text":
        return _like(moment, unit.form) if unit.form else moment.isoformat()
    numerator, denominator = microseconds * NUMBERS[unit.name], 1_000_000
    return numerator // denominator if numerator % denominator == 0 else numerator / denominator


def _like(moment: dt.datetime, form: Form) -> str:
    """The moment as the text of that form that does not lie before it."""
    digits = 6 if form.digits is None else form.digits
    digits = digits if form.seconds else 0
    local = _rounded_up(moment.astimezone(_zone(form.offset)), _step(form, digits))
    date, time = local.replace(tzinfo=None).isoformat(timespec="microseconds").split("T")
    if len(form.example) == len(date) + len(form.offset):
        return date + form.offset
    text = f"{date}{form.example[10]}{time[:8] if form.seconds else time[:5]}"
    if digits:
        text += f"{time[8:]}000"[: digits + 1]
    return _shortest(text + form.offset) if form.digits is None else text + form.offset


def _zone(offset: str) -> dt.timezone:
    if offset in ("", "Z"):
        return dt.timezone.utc
    sign = -1 if offset[0] == "-" else 1
    return dt.timezone(sign * dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:])))


def _step(form: Form, digits: int) -> dt.timedelta:
    """The smallest difference that the form can write."""
    if not form.seconds:
        return dt.timedelta(days=1) if len(form.example) - len(form.offset) == 10 else dt.timedelta(minutes=1)
    return dt.timedelta(microseconds=max(1, 10 ** (6 - min(digits, 6))))


def _rounded_up(local: dt.datetime, step: dt.timedelta) -> dt.datetime:
    """A bound between two values that can be written means the later one, on both sides of a range."""
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - (midnight - local) // step * step
