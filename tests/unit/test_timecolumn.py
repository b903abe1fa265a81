"""Times are found in whatever way an application writes them; a range takes each row once, and none by mistake."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litekeep.errors import UsageError
from litekeep.tables import tables_of
from litekeep.timecolumn import Range, range_of, unit_of

UTC = dt.timezone.utc
START = dt.datetime(2026, 11, 22, 2, 0, 0, tzinfo=UTC)


@contextlib.contextmanager
def column(values: Sequence[object], declared: str = "") -> Iterator[sqlite3.Connection]:
    """A table whose column ``At`` holds these values, in this order."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(f"CREATE TABLE t(id INTEGER PRIMARY KEY, At {declared})")
        db.executemany("INSERT INTO t(At) VALUES(?)", ((value,) for value in values))
        yield db


def chosen(db: sqlite3.Connection, start: str | None, end: str | None, unit: str | None = None) -> Range:
    return range_of(db, tables_of(db)["t"], "at", start, end, unit)


def rows(db: sqlite3.Connection, found: Range) -> list[int]:
    condition, values = found.condition()
    return [row[0] for row in db.execute(f"SELECT id FROM t WHERE {condition} ORDER BY id", values)]


def left_out(db: sqlite3.Connection, found: Range) -> int:
    return int(db.execute(f"SELECT count(*) FROM t WHERE {found.unusable()}").fetchone()[0])


def picked(values: Sequence[object], start: str | None, end: str | None, unit: str | None = None) -> list[int]:
    with column(values) as db:
        return rows(db, chosen(db, start, end, unit))


NUMBERS = {"seconds": 1, "milliseconds": 1000, "microseconds": 10**6, "nanoseconds": 10**9}


@pytest.mark.parametrize("offset", ["Z", "+00:00"])
@pytest.mark.parametrize("unit", NUMBERS)
def test_numbers_since_1970(unit: str, offset: str) -> None:
    base, factor = int(START.timestamp()), NUMBERS[unit]
    values = [(base + n) * factor for n in range(5)]
    with column([None, 0, *values]) as db:
        found = chosen(db, f"2026-11-22T02:00:01{offset}", f"2026-11-22T02:00:03{offset}")
        assert found.unit.name == unit
        assert unit in found.unit.words
        assert (found.lower, found.upper) == (values[1], values[3])
        assert rows(db, found) == [4, 5]
        assert left_out(db, found) == 1


def test_fractions_of_seconds_as_real() -> None:
    base = START.timestamp()
    values = [base + 0.25, base + 0.5, base + 0.75]
    assert picked(values, "2026-11-22T03:00:00.5+01:00", "2026-11-22T02:00:00.750Z") == [2]


def test_julian_days() -> None:
    with column([]) as db:
        days = [db.execute("SELECT julianday(?)", (f"2026-11-22 0{n}:00:00",)).fetchone()[0] for n in range(5)]
    with column(days, "REAL") as db:
        found = chosen(db, "2026-11-22T01:00:00Z", "2026-11-22T03:00:00Z")
        assert (found.unit.name, found.unit.words) == ("julianday", "Julian day numbers (UTC)")
        assert rows(db, found) == [2, 3]


SHAPES = {
    "T and Z": "2026-11-22T02:00:0{}Z",
    "milliseconds and Z": "2026-11-22T02:00:0{}.000Z",
    "nanoseconds and Z": "2026-11-22T02:00:0{}.000000000Z",
    "blank": "2026-11-22 02:00:0{}",
    "blank, milliseconds": "2026-11-22 02:00:0{}.000",
    "isoformat": "2026-11-22T02:00:0{}.000000+00:00",
    "offset": "2026-11-22T03:30:0{}+01:30",
    "offset without colon": "2026-11-21 21:00:0{}-0500",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_texts_of_one_shape(shape: str) -> None:
    values = [shape.format(n) for n in range(6)]
    with column([None, b"blob", 5.5, "", "n/a", *values]) as db:
        db.execute("CREATE INDEX i ON t(At)")
        found = chosen(db, "2026-11-22T02:00:01Z", "2026-11-22T04:00:03+02:00", "text")
        assert found.unit.words == f"text such as {values[0]}"
        assert (found.lower, found.upper) == (values[1], values[3])
        assert rows(db, found) == [7, 8]
        assert left_out(db, found) == 5
        condition, bounds = found.condition()
        plan = db.execute(f"EXPLAIN QUERY PLAN SELECT * FROM t WHERE {condition}", bounds).fetchall()
        assert "INDEX i (At>? AND At<?)" in plan[0][3]


def test_dates_and_minutes() -> None:
    days = [f"2026-11-{n}" for n in range(20, 26)]
    assert picked(days, "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z") == [2, 3]
    # Between two days the later one is meant, on both sides.
    assert picked(days, "2026-11-21T00:00:01Z", "2026-11-23T23:00:00Z") == [3, 4]
    minutes = [f"2026-11-22 02:0{n}" for n in range(6)]
    assert picked(minutes, "2026-11-22T02:01:30Z", "2026-11-22T02:04:00Z") == [3, 4]
    assert picked(minutes, "2026-11-22 02:01", "2026-11-22 02:02") == [2]


def test_isoformat_drops_a_fraction_of_zero() -> None:
    times = [START + dt.timedelta(microseconds=n) for n in (-1, 0, 1, 500_000, 999_999, 1_000_000, 1_000_001)]
    for written in (lambda t: t.isoformat(), lambda t: t.replace(tzinfo=None).isoformat(" ")):
        values = [written(t) for t in times]
        assert len({len(value) for value in values}) == 2
        assert picked(values, "2026-11-22T02:00:00Z", "2026-11-22T02:00:01Z") == [2, 3, 4, 5]
        assert picked(values, "2026-11-22T02:00:00.000001Z", "2026-11-22T02:00:01.000001Z") == [3, 4, 5, 6]
        assert picked(values, values[1], values[5]) == [2, 3, 4, 5]


def test_a_shape_that_comes_late_is_found() -> None:
    values = [f"2026-11-22T02:00:00.{n:06d}+00:00" for n in range(1, 3000)]
    with column([*values, "2026-11-22T02:00:01+00:00", "2026-11-22T03:00:02"]) as db:
        found = chosen(db, "2026-11-22T02:00:01Z", None)
        assert "several forms" in found.unit.words
        assert rows(db, found) == [3000, 3001]
        assert left_out(db, found) == 0


def test_go_drops_zeros_at_the_end() -> None:
    values = ["2026-11-22T02:00:00Z", "2026-11-22T02:00:00.5Z", "2026-11-22T02:00:00.51Z", "2026-11-22T02:00:01Z"]
    assert picked(values, "2026-11-22T02:00:00Z", "2026-11-22T02:00:00.51Z") == [1, 2]
    assert picked(values, "2026-11-22T02:00:00.5Z", "2026-11-22T02:00:01Z") == [2, 3]
    assert picked(values, None, "2026-11-22T02:00:00.5Z") == [1]


def test_several_shapes_are_read_to_the_millisecond() -> None:
    values = [
        "2026-11-22",
        "2026-11-22T02:00:00Z",
        "2026-11-22 03:00:00.250+01:00",
        "2026-11-22 02:00:01",
        "now",
        "12:00",
    ]
    with column(values) as db:
        found = chosen(db, "2026-11-22T02:00:00.000Z", "2026-11-22T02:00:01Z")
        assert rows(db, found) == [2, 3]
        # What julianday() reads besides is no time that anybody wrote down.
        assert left_out(db, found) == 2


@given(
    times=st.lists(st.tuples(st.integers(0, 3_000_000), st.sampled_from([0, 3, 6, 9, None])), min_size=1, max_size=12),
    bounds=st.lists(st.integers(-1, 3_000_001), min_size=2, max_size=2).map(sorted),
    suffix=st.sampled_from(["", "Z", "+00:00", "-05:00"]),
    index=st.booleans(),
)
def test_a_range_takes_exactly_its_rows(
    times: list[tuple[int, int | None]], bounds: list[int], suffix: str, index: bool
) -> None:
    hours = -5 if suffix == "-05:00" else 0
    values = [_written(START + dt.timedelta(hours=hours, microseconds=n), digits) + suffix for n, digits in times]
    cut = [n if digits is None or digits >= 6 else n // 10 ** (6 - digits) * 10 ** (6 - digits) for n, digits in times]
    start, end = ((START + dt.timedelta(microseconds=n)).isoformat() for n in bounds)
    with column(values) as db:
        if index:
            db.execute("CREATE INDEX i ON t(At)")
        found = chosen(db, start, end)
        assert found.unit.form is not None
        assert rows(db, found) == [i for i, n in enumerate(cut, 1) if bounds[0] <= n < bounds[1]]
        assert left_out(db, found) == 0


def _written(moment: dt.datetime, digits: int | None) -> str:
    """With so many digits behind the point; None for as many as needed."""
    base, part = moment.replace(tzinfo=None).isoformat(timespec="microseconds").split(".")
    part = part.rstrip("0") if digits is None else f"{part}000"[:digits]
    return f"{base}.{part}" if part else base


def test_values_as_the_column_has_them() -> None:
    base = int(START.timestamp())
    assert picked([base, base + 1, base + 2], str(base + 1), str(base + 2)) == [2]
    assert picked([base * 1000 + n for n in range(3)], f"{base * 1000}.5", None) == [2, 3]
    assert picked(["2026-11-22 02:00:00", "2026-11-22 02:00:01"], "2026-11-22 02:00:01", None) == [2]
    assert picked([-5, -4, -3], "-4", None) == [2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-22T02:00:00", "has no offset from UTC"),
        ("yesterday", "cannot be read"),
        ("99999999999999999999", "cannot be read"),
        ("9223372036854775808", "cannot be read"),
        ("nan", "cannot be read"),
        ("1e999", "cannot be read"),
        ("1_000", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_bound_that_cannot_be_understood(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        picked([int(START.timestamp())], text, None)
    assert "t.At has them: seconds since 1970" in caught.value.expected


@pytest.mark.parametrize("text", ["2026-11-22 02:00", "2026-11-22T02:00:00.5", "2026-11-22 02:00:00.5"])
def test_a_bound_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="has no offset"):
        picked(["2026-11-22 02:00:00"], text, None)


def test_the_end_of_time_is_refused_in_words() -> None:
    for written in ("2026-11-22", "2026-11-22T02:00:00+14:00"):
        with pytest.raises(UsageError, match="cannot be read"):
            picked([written], None, "9999-12-31T23:59:59.999999Z")


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    for values in ([1763776800], ["2026-11-22T02:00:00Z"]):
        with pytest.raises(UsageError, match="ends before it begins"):
            picked(values, "2026-11-22T02:00:01Z", "2026-11-22T02:00:00Z")


def test_an_empty_column_has_no_rows_in_any_range() -> None:
    assert picked([], "2026-11-22T02:00:00Z", None) == []
    assert picked([None, b"x", 0], "2026-11-22T02:00:00Z", None, "text") == []
    with column([None, 0]) as db:
        assert unit_of(db, tables_of(db)["t"], "At").name == "seconds"


@pytest.mark.parametrize(
    "values",
    [
        [10**9, "2026-11-22T02:00:00Z"],
        [10**9, 10**12],
        [10**22 * 1.0],
        [float("inf")],
    ],
    ids=str,
)
def test_numbers_of_no_one_kind_are_refused(values: list[object]) -> None:
    with pytest.raises(UsageError, match="cannot be told") as caught:
        picked(values, "2026-11-22T02:00:00Z", None)
    assert "--time-unit" in caught.value.next_step
    assert picked(values, "2001-09-09T01:46:40Z", "2001-09-09T01:46:41Z", "seconds") == [1] * (values[0] == 10**9)


def test_mixed_kinds_are_read_as_they_are_told() -> None:
    values = [1795312800, "2026-11-22T02:00:00Z", 5]
    assert picked(values, "2026-11-22T02:00:00Z", None, "seconds") == [1]
    assert picked(values, "2026-11-22T02:00:00Z", None, "text") == [2]


def test_a_column_of_other_texts_is_refused() -> None:
    with pytest.raises(UsageError, match="does not hold times alone") as caught:
        picked(["Anna", "2026-11-22", "Bob"], "2026-11-22T02:00:00Z", None)
    assert caught.value.found == "'Anna'"
    assert picked(["Anna", "2026-11-22", "Bob"], "2026-11-22T00:00:00Z", None, "text") == [2]
    assert picked(["Anna"], "2026-11-22T00:00:00Z", None, "text") == []


def test_rubbish_among_times_is_counted() -> None:
    times = [f"2026-11-22T02:00:{n:02d}Z" for n in range(20)]
    with column([*times, "soon", "", "2026-99-99T99:99:99Z", b"\xff", "12"]) as db:
        db.execute("INSERT INTO t(At) VALUES(CAST(x'ff' AS TEXT))")
        found = chosen(db, None, "2026-11-22T02:00:05Z")
        assert rows(db, found) == [1, 2, 3, 4, 5]
        # All but the one that has the form of a time.
        assert left_out(db, found) == 5


def test_an_unknown_column_names_those_that_there_are() -> None:
    with column([1]) as db, pytest.raises(UsageError, match="has no column 'when'") as caught:
        range_of(db, tables_of(db)["t"], "when", None, None, None)
    assert caught.value.expected == "one of: id, At"
