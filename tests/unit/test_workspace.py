from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import in_child

from litekeep.errors import BusyError, LitekeepError
from litekeep.workspace import LINKING, MOVING, READY, Journal, Workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "events.db"))


def test_it_stands_hidden_beside_its_target(space: Workspace, tmp_path: Path) -> None:
    with space.locked():
        assert os.listdir(tmp_path) == [".litekeep-restore-events.db"]
        assert os.stat(space.folder).st_mode & 0o777 == 0o700
    assert {os.path.dirname(path) for path in (space.new, space.settled, space.undo)} == {space.folder}
    assert len({space.new, space.settled, space.undo}) == 3


def test_one_restore_at_a_time(space: Workspace) -> None:
    def second() -> None:
        with pytest.raises(BusyError, match="Another restore"), space.locked():
            pytest.fail("two at once")

    with space.locked():
        assert in_child(second) == 0
        with pytest.raises(BusyError), space.locked():
            pytest.fail("two at once")
    with space.locked():
        pass


def test_restores_of_two_targets_do_not_meet(space: Workspace, tmp_path: Path) -> None:
    with space.locked(), Workspace(str(tmp_path / "other.db")).locked():
        pass


def test_one_who_waited_at_a_folder_that_was_removed_takes_the_new_one(space: Workspace) -> None:
    for _attempt in range(30):
        stop = threading.Event()

        def churn(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    with space.locked():
                        space.remove()
                except BusyError:
                    pass

        thread = threading.Thread(target=churn)
        thread.start()
        deadline = time.monotonic() + 0.02
        try:
            while time.monotonic() < deadline:
                try:
                    with space.locked():
                        assert os.path.isdir(space.folder)
                        time.sleep(0.0005)
                        assert os.path.isdir(space.folder)
                except BusyError:
                    pass
        finally:
            stop.set()
            thread.join()


def test_a_link_in_the_place_of_the_folder_is_not_followed(space: Workspace, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    os.symlink(tmp_path / "precious", space.folder)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"), space.locked():
        pytest.fail("followed")


def test_the_journal_is_what_was_written(space: Workspace) -> None:
    journal = Journal(
        MOVING, "some-id", [1, 2, 3], f"{space.target}.before", {"": 5, "-wal": 6}, f"{space.target}.older"
    )
    with space.locked():
        assert space.read() == Journal()
        space.write(journal)
        assert space.read() == journal
        space.write(Journal(READY, "other"))
        assert space.read() == Journal(READY, "other")


@given(
    st.one_of(
        st.binary(max_size=60), st.recursive(st.none(), lambda d: st.lists(d)).map(lambda v: json.dumps(v).encode())
    )
)
def test_a_torn_journal_means_that_nothing_was_proven(tmp_path_factory: pytest.TempPathFactory, block: bytes) -> None:
    space = Workspace(str(tmp_path_factory.getbasetemp() / "torn.db"))
    os.makedirs(space.folder, exist_ok=True)
    Path(space.folder, "restore.json").write_bytes(block)
    assert space.read() == Journal()


@given(
    st.dictionaries(
        st.sampled_from(list(vars(Journal()))),
        st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    )
)
def test_a_journal_of_wrong_kinds_of_values_means_that_nothing_was_proven(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    space = Workspace(str(tmp_path_factory.getbasetemp() / "wrong.db"))
    os.makedirs(space.folder, exist_ok=True)
    Path(space.folder, "restore.json").write_text(json.dumps({**vars(Journal()), **values}))
    found = space.read()
    assert {key: type(value) for key, value in vars(found).items()} == {k: type(v) for k, v in vars(Journal()).items()}


def test_a_journal_that_points_elsewhere_means_that_nothing_was_proven(space: Workspace, tmp_path: Path) -> None:
    """The target's folder is the application's: what it lays there must not move or remove files of others."""
    with space.locked():
        for journal in (
            Journal(MOVING, "x", quarantine=str(tmp_path / "deep" / "other-application"), old={"": 1}),
            Journal(MOVING, "x", quarantine=str(tmp_path / "a" / ".." / ".." / "b"), old={"": 1}),
            Journal(LINKING, "x", quarantine="/etc"),
            Journal(LINKING, "x", rollback_of="/etc"),
        ):
            space.write(journal)
            assert space.read() == Journal()


def test_a_folder_that_somebody_else_made_is_not_trusted(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(space.folder)
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    with pytest.raises(LitekeepError) as caught, space.locked():
        pytest.fail("trusted")
    assert space.folder in str(caught.value)


def test_emptying_keeps_the_folder_and_removing_takes_it(space: Workspace, tmp_path: Path) -> None:
    with space.locked():
        space.write(Journal(LINKING))
        Path(space.new).write_bytes(b"x")
        Path(space.folder, "deep").mkdir()
        space.empty()
        assert os.listdir(space.folder) == []
        Path(space.new).write_bytes(b"x")
        space.remove()
    assert os.listdir(tmp_path) == []


def test_the_journal_goes_last(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in between must not leave a swapped-in file's second name without the record of what it is."""
    from litekeep import workspace

    removed: list[str] = []
    real = workspace.remove_tree
    monkeypatch.setattr(workspace, "remove_tree", lambda path: (removed.append(os.path.basename(path)), real(path)))
    with space.locked():
        for name in ("z", "database.db", "a"):
            Path(space.folder, name).write_text("x")
        space.write(Journal())
        space.empty()
    assert removed[-1] == "restore.json"
    assert len(removed) == 4
