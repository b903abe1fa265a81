from __future__ import annotations

import pytest

from litekeep import errors
from litekeep.errors import LitekeepError

# The contract with scripts: these numbers never change.
CODES = {
    "LitekeepError": (1, "unexpected"),
    "UsageError": (2, "usage"),
    "VerificationError": (3, "verification"),
    "NoRestorePointError": (4, "no_restore_point"),
    "BusyError": (5, "busy"),
    "InUseError": (6, "in_use"),
    "SpaceError": (7, "no_space"),
    "SourceError": (8, "source"),
    "RemoteError": (9, "remote"),
}


def test_every_error_keeps_its_exit_code_and_kind() -> None:
    found = {
        name: (kind.exit_code, kind.kind)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, LitekeepError)
    }
    assert found == CODES


def test_the_words_stand_in_reading_order_and_silent_parts_are_left_out() -> None:
    problem = errors.SourceError("x is gone", next_step="look", safe="all", expected="a file")
    assert str(problem) == "x is gone\n  expected: a file\n  safe:     all\n  next:     look"
    assert list(problem.details()) == ["expected", "safe", "next"]
    assert str(LitekeepError("only this")) == "only this"


def test_an_error_in_json_carries_kind_code_message_and_parts() -> None:
    problem = errors.BusyError("held", found="process 7", next_step="wait")
    assert problem.to_json() == {
        "kind": "busy",
        "exit_code": 5,
        "message": "held",
        "found": "process 7",
        "next": "wait",
    }


def test_all_errors_are_caught_by_one_name() -> None:
    with pytest.raises(LitekeepError, match="full"):
        raise errors.SpaceError("full")
