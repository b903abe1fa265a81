"""Scratch folders: private, gone afterwards, and those of killed processes go with the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from litekeep import held as holding
from litekeep.config import Database
from litekeep.errors import NoRestorePointError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.scratch import restored_beside, scratch, state_at

Kept = tuple[Repository, Database]


def left(folder: str) -> list[str]:
    return [entry for entry in os.listdir(folder) if entry.startswith(".litekeep-scratch-")]


def test_a_folder_is_private_and_gone_afterwards(kept: Kept) -> None:
    with scratch(*kept) as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.path.dirname(folder) == kept[0].folder("events")
        Path(folder, "state.db").touch()
    assert left(kept[0].folder("events")) == []


def test_it_is_where_staging_is_wanted_also_through_a_link(tmp_path: Path, kept: Kept) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "staging").symlink_to(tmp_path / "real")
    with scratch(kept[0], replace(kept[1], staging=str(tmp_path / "staging"))) as folder:
        assert left(str(tmp_path / "real")) == [os.path.basename(folder)]


def test_a_repository_that_cannot_be_written_leaves_the_folder_for_temporary_files(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    with scratch(*kept) as folder:
        assert os.path.dirname(folder) == str(tmp_path)


def test_what_killed_ones_left_goes_and_what_others_hold_stays(kept: Kept) -> None:
    with scratch(*kept) as held:
        parent = os.path.dirname(held)
        dead = Path(parent, ".litekeep-scratch-dead")
        (dead / "deep").mkdir(parents=True)
        Path(parent, ".litekeep-scratch-file").touch()
        Path(parent, ".litekeep-scratch-link").symlink_to(parent)
        with scratch(*kept) as other:
            assert not dead.exists()
            assert os.path.isdir(held)
            assert {os.path.basename(held), os.path.basename(other)} < set(left(parent))
    assert os.path.isdir(parent)


def test_a_folder_that_was_taken_for_left_behind_before_it_was_held_is_made_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real_hold, real_make = holding._hold, tempfile.mkdtemp

    def make(**how: Any) -> str:
        made.append(real_make(**how))
        if len(made) == 1:
            shutil.rmtree(made[0])
        return made[-1]

    def hold(folder: str, how: int) -> int:
        descriptor = real_hold(folder, how)
        if len(made) == 2:
            shutil.rmtree(folder)
            made.append("")
        return descriptor

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    monkeypatch.setattr(holding, "_hold", hold)
    with scratch(*kept) as folder:
        assert folder == made[-1]
        assert os.path.isdir(folder)


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def test_states_are_the_live_one_or_a_restored_one(kept: Kept, saved: Backup) -> None:
    with contextlib.closing(sqlite3.connect(kept[1].path)) as db, db:
        db.execute("DELETE FROM events WHERE id > 10")
    with state_at(*kept, "live", Progress()) as state:
        assert (count(state.connection), state.point, state.path) == (10, None, "")
    with state_at(*kept, saved.id, Progress()) as state:
        assert state.point is not None
        assert (count(state.connection), state.point.id) == (200, saved.id)
        assert os.path.exists(state.path)
    assert left(kept[0].folder("events")) == []


def test_a_moment_that_is_not_there_leaves_nothing(kept: Kept, saved: Backup) -> None:
    with pytest.raises(NoRestorePointError), restored_beside(*kept, "2001-01-01T00:00:00Z", Progress()):
        pytest.fail("there is no such moment")
    assert left(kept[0].folder("events")) == []
    with restored_beside(*kept, "2099-01-01T00:00:00Z", Progress(), nearest=True) as (path, point):
        assert os.path.exists(path)
        assert point.id == saved.id
