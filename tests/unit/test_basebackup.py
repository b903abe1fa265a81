from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from litekeep import basebackup
from litekeep.basebackup import BaseBackup


class Child:
    """Starts real processes, and remembers them."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self) -> subprocess.Popen[bytes]:
        self.started.append(subprocess.Popen([sys.executable, "-c", self.code]))
        return self.started[-1]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the test moves."""
    clock = [1000.0]
    monkeypatch.setattr(basebackup.time, "monotonic", lambda: clock[0])
    return clock


def tend_to_the_end(base: BaseBackup, child: Child) -> None:
    base.tend()
    child.started[-1].wait()
    base.tend()


def test_a_timeline_that_has_a_base_needs_no_backup(said: list[str]) -> None:
    child = Child("raise SystemExit(1)")
    base = BaseBackup(child, lambda: True, said.append)
    base.tend()
    base.tend()
    assert (child.started, base.trouble) == ([], "")
    assert said == ["the timeline has its base backup"]


def test_the_backup_runs_beside_and_is_looked_after(tmp_path: Path, said: list[str]) -> None:
    place = tmp_path / "base"
    child = Child(f"import sys; sys.stdin.read(0); open({str(place)!r}, 'w').close()")
    base = BaseBackup(child, place.exists, said.append)
    tend_to_the_end(base, child)
    assert (len(child.started), base.trouble) == (1, "")
    assert said == ["the timeline has its base backup"]
    place.unlink()
    base.tend()
    assert len(child.started) == 1, "done is done"


def test_a_backup_that_runs_is_not_started_twice(said: list[str]) -> None:
    child = Child("import time; time.sleep(60)")
    base = BaseBackup(child, lambda: False, said.append)
    for _again in range(5):
        base.tend()
    assert (len(child.started), said) == (1, [])
    base.stop()


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(7, "the base backup failed (exit code 7)"), (0, "the base backup's place in the WAL is not known")],
)
def test_a_backup_that_did_not_help_is_told_and_tried_again_later_and_later(
    time: list[float], said: list[str], code: int, trouble: str
) -> None:
    child = Child(f"raise SystemExit({code})")
    base = BaseBackup(child, lambda: False, said.append)
    pauses = []
    for number in range(1, 13):
        tend_to_the_end(base, child)
        assert base.trouble == trouble
        pause = int(said[-1].rpartition(" in ")[2].removesuffix(" s"))
        pauses.append(pause)
        time[0] += pause - 1
        base.tend()
        assert len(child.started) == number
        time[0] += 1
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert all("this timeline can restore nothing" in line for line in said)


def test_a_base_that_comes_from_elsewhere_ends_the_trouble(time: list[float], said: list[str]) -> None:
    there: list[int] = []
    child = Child("raise SystemExit(5)")
    base = BaseBackup(child, lambda: bool(there), said.append)
    tend_to_the_end(base, child)
    assert base.trouble
    there.append(1)
    time[0] += 10
    base.tend()
    assert (base.trouble, len(child.started)) == ("", 1)


def test_a_killed_backup_is_a_failed_one(time: list[float], said: list[str]) -> None:
    child = Child("import time; time.sleep(60)")
    base = BaseBackup(child, lambda: False, said.append)
    base.tend()
    child.started[0].kill()
    child.started[0].wait()
    base.tend()
    assert "(exit code -9)" in base.trouble


def test_stopping_ends_a_backup_under_way_and_its_clean_up_runs(tmp_path: Path, said: list[str]) -> None:
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    child = Child(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"try:\n    open({str(ready)!r}, 'w').close()\n    time.sleep(60)\n"
        f"finally:\n    open({str(cleaned)!r}, 'w').close()\n"
    )
    base = BaseBackup(child, lambda: False, said.append)
    base.stop()
    base.tend()
    while not ready.exists():
        assert child.started[0].poll() is None
    base.stop()
    assert cleaned.exists()
    assert child.started[0].returncode == 143
    base.stop()


def test_a_process_that_cannot_be_started_is_told(said: list[str]) -> None:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/nonexistent/python"])

    base = BaseBackup(start, lambda: False, said.append)
    base.tend()
    assert "could not be taken: [Errno 2] No such file" in base.trouble
    assert base.trouble in said[-1]
