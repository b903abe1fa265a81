from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support import ROOT

from litekeep import locks
from litekeep.errors import BusyError


@contextmanager
def other_process(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    code = f"""
    import sys
    sys.path.insert(0, {str(ROOT / "scripts")!r})
    from litekeep import locks
    with locks.{how}:
        print("held", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_only_one_process_holds_a_lock_and_the_other_is_told_who(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with other_process(place, "exclusive(sys.argv[1], 'backup of events')") as process:
        with pytest.raises(BusyError) as caught, locks.exclusive(str(place), "mine"):
            pytest.fail("two held it")
        assert caught.value.found == f"backup of events, process {process.pid}"
        assert str(place) in caught.value.what


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with other_process(place, "exclusive(sys.argv[1], 'a very long description of what was done')") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locks.exclusive(str(place), "mine"):
            assert place.read_text() == f"mine, process {os.getpid()}\n"


def test_a_lock_can_be_had_again_after_it_was_given_back(tmp_path: Path) -> None:
    for _again in range(2):
        with locks.exclusive(str(tmp_path / ".lock"), "mine"):
            pass


def test_readers_share_and_keep_a_writer_out(tmp_path: Path) -> None:
    place = tmp_path / ".lease"
    with ExitStack() as stack:
        stack.enter_context(other_process(place, "shared(sys.argv[1])"))
        with locks.shared(str(place)):
            pass
        with pytest.raises(BusyError) as caught, locks.exclusive(str(place), "retention"):
            pytest.fail("a writer beside a reader")
        assert caught.value.found == "unknown"


def test_a_writer_keeps_readers_out(tmp_path: Path) -> None:
    place = tmp_path / ".lease"
    with (
        other_process(place, "exclusive(sys.argv[1], 'retention')"),
        pytest.raises(BusyError, match="Another Litekeep process"),
        locks.shared(str(place)),
    ):
        pytest.fail("a reader beside a writer")


def test_a_lock_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    with locks.exclusive(str(tmp_path / ".lock"), "mine"):
        assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), locks.exclusive(str(tmp_path / "link"), "mine"):
        pytest.fail("followed")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_child_program_does_not_inherit_a_lock(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with locks.exclusive(str(place), "mine"):
        sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with locks.exclusive(str(place), "mine"):
            pass
    finally:
        sleeper.kill()
        sleeper.wait()


def test_looking_says_whether_somebody_holds_a_lock_and_who_looks_holds_nothing(tmp_path: Path) -> None:
    place = tmp_path / ".archive.lock"
    assert not locks.is_held(str(place))
    assert not place.exists()
    with other_process(place, "exclusive(sys.argv[1], 'archive of events')"):
        assert locks.is_held(str(place))
        assert locks.is_held(str(place))
    assert not locks.is_held(str(place))
    with locks.exclusive(str(place), "mine"):
        assert locks.is_held(str(place))
    assert not locks.is_held(str(place))


def test_two_who_look_do_not_take_each_other_for_a_holder(tmp_path: Path) -> None:
    place = tmp_path / ".archive.lock"
    with locks.shared(str(place)):
        assert not locks.is_held(str(place))


def test_with_patience_a_lock_that_is_given_back_is_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / ".lock"
    tries = []
    with ExitStack() as holder:
        holder.enter_context(locks.exclusive(str(place), "the other"))

        def sleep(_seconds: float) -> None:
            tries.append(1)
            if len(tries) == 3:
                holder.close()

        monkeypatch.setattr(locks.time, "sleep", sleep)
        with locks.exclusive(str(place), "mine", patience=60.0):
            assert "mine" in place.read_text()
    assert len(tries) == 3


def test_patience_ends(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with (
        locks.exclusive(str(place), "the other"),
        pytest.raises(BusyError, match="Another Litekeep process"),
        locks.exclusive(str(place), "mine", patience=0.05),
    ):
        pytest.fail("two held it")
