from __future__ import annotations

import datetime as dt
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litekeep import timefmt
from litekeep.errors import UsageError

UTC = dt.timezone.utc
MOMENTS = st.datetimes(
    min_value=dt.datetime(1000, 1, 2),
    max_value=dt.datetime(9999, 12, 30),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m))),
)


@given(MOMENTS)
def test_a_written_time_is_read_back_to_the_millisecond(moment: dt.datetime) -> None:
    assert moment - timefmt.from_text(timefmt.to_text(moment)) == dt.timedelta(microseconds=moment.microsecond % 1000)


@given(MOMENTS, MOMENTS)
def test_written_times_sort_like_the_moments(one: dt.datetime, other: dt.datetime) -> None:
    cut = dt.timedelta(milliseconds=1)
    if abs(one - other) >= cut:
        assert (timefmt.to_text(one) < timefmt.to_text(other)) == (one < other)
        assert (timefmt.to_id(one) < timefmt.to_id(other)) == (one < other)


def test_a_year_before_1000_keeps_its_four_digits() -> None:
    assert timefmt.to_text(dt.datetime(999, 1, 2, tzinfo=UTC)) == "0999-01-02T00:00:00.000Z"


def test_an_id_is_the_time_without_its_signs() -> None:
    assert timefmt.to_id(dt.datetime(2026, 11, 22, 2, 0, 0, 123999, UTC)) == "20261122T020000.123Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T02:00:00Z",
        "2026-11-22T02:00:00z",
        " 2026-11-22T03:00:00+01:00 ",
        "2026-11-22T01:59:59.9999999999+00:00",
        "2026-11-22T02:00:00.0Z",
    ],
)
def test_rfc_3339_is_read_in_all_its_forms(text: str) -> None:
    assert timefmt.from_text(text) - dt.datetime(2026, 11, 22, 2, tzinfo=UTC) in (
        dt.timedelta(0),
        dt.timedelta(microseconds=-1),
    )


def test_a_time_in_another_zone_becomes_utc() -> None:
    assert timefmt.to_text(timefmt.from_text("2026-11-22T03:30:00.5+01:30")) == "2026-11-22T02:00:00.500Z"


@pytest.mark.parametrize("text", ["2026-11-22T02:00:00", "2026-11-22T02:00:00.5", "2026-11-22"])
def test_a_time_without_an_offset_is_refused_and_the_reason_said(text: str) -> None:
    with pytest.raises(ValueError, match="no offset"):
        timefmt.from_text(text)


@given(st.text(max_size=40))
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-10:00")
@example("2026-13-01T00:00:00Z")
@example("2026-11-22T02:00:00+25:00")
def test_a_text_that_is_no_time_is_a_value_error_and_nothing_else(text: str) -> None:
    try:
        moment = timefmt.from_text(text)
    except ValueError:
        return
    assert moment.tzinfo is not None


def test_now_has_an_offset_and_whole_milliseconds() -> None:
    before = dt.datetime.now(UTC)
    found = timefmt.now()
    assert found.utcoffset() == dt.timedelta(0)
    assert found.microsecond % 1000 == 0
    assert dt.timedelta(milliseconds=-1) <= found - before <= dt.timedelta(seconds=5)


def test_now_is_utc_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert abs(timefmt.now().timestamp() - time.time()) < 5
        assert timefmt.to_text(timefmt.from_text("2026-11-22T02:00:00Z")) == "2026-11-22T02:00:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), ("2w", 1209600), ("1h30m", 5400), (" 5s ", 5)]
    + [("0", 0), ("42", 42)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: int) -> None:
    assert timefmt.parse_duration(text, "it") == seconds


@given(st.integers(0, 10**9))
def test_a_bare_number_is_seconds(number: int) -> None:
    assert timefmt.parse_duration(number, "it") == timefmt.parse_duration(str(number), "it") == number


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from("smhdw")), min_size=1, max_size=4))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    sizes = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert timefmt.parse_duration(text, "it") == sum(number * sizes[unit] for number, unit in parts)


@given(
    st.one_of(
        st.text(max_size=20), st.floats(), st.booleans(), st.none(), st.integers(max_value=-1), st.lists(st.integers())
    )
)
@example("²")
@example("1.5h")
@example("h")
@example("-5s")
@example("5 s")
@example("5s x")
@example(True)
def test_what_is_no_duration_is_a_usage_error_that_names_the_setting(value: object) -> None:
    try:
        assert timefmt.parse_duration(value, "databases.events.deadline") >= 0
    except UsageError as problem:
        assert problem.what.startswith("databases.events.deadline")
        assert "databases.events.deadline" in problem.next_step


@pytest.mark.parametrize(
    "value",
    [True, False, None, 1.5, -1, "", "tomorrow", "5 minutes", "1M", ["5s"], "²"]
    + [pytest.param("9" * 5000, id="5000 digits"), pytest.param("9" * 5000 + "w", id="5000 digits of weeks")],
)
def test_no_duration_is_guessed(value: object) -> None:
    with pytest.raises(UsageError):
        timefmt.parse_duration(value, "it")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h"),
        (18600, "5 h 10 min"),
        (86400, "1 d"),
        (12 * 86400 + 3 * 3600 + 59, "12 d 3 h"),
    ],
)
def test_a_duration_for_people_has_two_units_at_most(seconds: float, words: str) -> None:
    assert timefmt.duration_text(seconds) == words


@given(st.floats(0, 10**9))
def test_a_duration_for_people_is_close_to_the_real_one(seconds: float) -> None:
    sizes = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
    found = re.findall(r"([0-9.]+) ([a-z]+)", timefmt.duration_text(seconds))
    said = sum(float(number) * sizes[unit] for number, unit in found)
    smallest = min(sizes[unit] for _number, unit in found)
    below = {1.0: 0.51, 60.0: 60.0, 3600.0: 3600.0, 86400.0: 3600.0}[smallest]
    assert abs(said - seconds) <= below + 0.5


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (236_000_000, "236.0 MB"), (4 * 10**9, "4.0 GB")]
    + [(5 * 10**12, "5.00 TB"), (5 * 10**15, "5000.00 TB")],
)
def test_a_size_for_people_is_in_powers_of_1000(count: int, words: str) -> None:
    assert timefmt.size_text(count) == words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        (" 16MB ", 16_000_000),
        ("16 MB", 16_000_000),
        ("16mb", 16_000_000),
        ("1B", 1),
        ("2K", 2000),
        ("2kB", 2000),
        ("512KiB", 512 << 10),
        ("3MiB", 3 << 20),
        ("1GB", 10**9),
        ("1GiB", 1 << 30),
        ("2TB", 2 * 10**12),
        ("2TiB", 2 << 40),
    ],
)
def test_a_size_is_understood_in_both_kinds_of_units(text: object, size: int) -> None:
    assert timefmt.parse_size(text, "relief") == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MB",
        "-1",
        -1,
        "1.5GB",
        1.5,
        True,
        None,
        "1PB",
        "1 0MB",
        "0x10",
        "1iB",
        "1MBit",
        "\uff11MB",
        10**18,
        "9" * 16,
        [],
    ],
)
def test_what_is_no_size_is_refused_by_the_name_of_its_setting(text: object) -> None:
    with pytest.raises(UsageError, match="relief is not a size") as caught:
        timefmt.parse_size(text, "relief")
    assert caught.value.found == repr(text)


@given(st.integers(0, 10**15 - 1), st.sampled_from(["", "B", "KB", "MiB", "GB", "TiB"]))
def test_a_size_with_a_unit_is_so_many_times_that_unit(number: int, unit: str) -> None:
    one = timefmt.parse_size(f"1{unit}", "x")
    assert timefmt.parse_size(f"{number}{unit}", "x") == number * one
