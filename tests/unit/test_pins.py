from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from litekeep import pins
from litekeep.errors import UsageError, VerificationError
from litekeep.retention import Hold

UTC = dt.timezone.utc
SPAN = (dt.datetime(2026, 11, 1, tzinfo=UTC), dt.datetime(2026, 11, 3, tzinfo=UTC))


def test_what_was_pinned_and_held_stands_until_it_is_given_up(tmp_path: Path) -> None:
    folder = str(tmp_path / "host" / "events")
    assert pins.read_pins(folder) == pins.Pins()
    pins.pin(folder, "one", "before the migration")
    pins.pin(folder, "two", "")
    pins.hold(folder, Hold("case", *SPAN), "the auditors asked")
    found = pins.read_pins(folder)
    assert (found.backups, found.holds) == ({"one": "before the migration", "two": ""}, (Hold("case", *SPAN),))
    assert pins.unpin(folder, "one")
    assert not pins.unpin(folder, "one")
    assert pins.release(folder, "case")
    assert not pins.release(folder, "case")
    assert pins.read_pins(folder).backups == {"two": ""}
    assert pins.read_pins(folder).holds == ()


def test_a_line_that_a_crash_tore_was_never_there_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    pins.pin(str(tmp_path), "one", "")
    whole = (tmp_path / "pins.jsonl").read_bytes()
    pins.pin(str(tmp_path), "two", "")
    both = (tmp_path / "pins.jsonl").read_bytes()
    for size in range(len(whole), len(both)):
        (tmp_path / "pins.jsonl").write_bytes(both[:size])
        assert set(pins.read_pins(str(tmp_path)).backups) == {"one"}
        pins.pin(str(tmp_path), "three", "")
        assert set(pins.read_pins(str(tmp_path)).backups) == {"one", "three"}


def test_damage_is_told_and_never_taken_for_no_pin(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        pins.pin(str(tmp_path), name, "")
    path = tmp_path / "pins.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole) - 1)]
    damaged += [lines[1] + lines[2], lines[0] + lines[2], lines[1] + lines[0] + lines[2]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(VerificationError) as caught:
            pins.read_pins(str(tmp_path))
        assert "nothing is removed" in caught.value.safe


def test_a_hold_must_end_after_it_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends before it begins"):
        pins.hold(str(tmp_path), Hold("case", SPAN[1], SPAN[0]), "")
