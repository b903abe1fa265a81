from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import make_database

from litekeep import discover as rooms
from litekeep.discover import discover


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own folders stand where databases are passed over."""
    monkeypatch.setattr(rooms, "EXEMPT", ("*/.cache",))


def paths(*roots: Path, exempt: tuple[str, ...] = ()) -> list[str]:
    return [found.path for found in discover([str(root) for root in roots], exempt).found]


def test_databases_are_found_by_what_stands_at_their_beginning(tmp_path: Path) -> None:
    first = make_database(tmp_path / "a" / "x.db", rows=5)
    second = make_database(tmp_path / "a" / "deep" / "no-extension", rows=5)
    (tmp_path / "a" / "x.sqlite").write_bytes(b"no database" * 1000)
    (tmp_path / "a" / "short.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "a" / "empty.db").touch()
    os.mkfifo(tmp_path / "a" / "pipe.db")
    assert paths(tmp_path / "a") == [str(second), str(first)]


def test_links_are_not_followed_and_one_file_is_found_once(tmp_path: Path) -> None:
    database = make_database(tmp_path / "a" / "x.db", rows=5)
    (tmp_path / "a" / "link.db").symlink_to(database)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    assert paths(tmp_path / "a", tmp_path) == [str(database)]


@pytest.mark.parametrize("pattern", ["{}/a/scratch", "*/scratch", "*.bak", "{}/a/scratch/x.bak"])
def test_what_is_exempt_is_passed_over_with_all_below_it(tmp_path: Path, pattern: str) -> None:
    make_database(tmp_path / "a" / "scratch" / "x.bak", rows=5)
    kept = make_database(tmp_path / "a" / "y.db", rows=5)
    make_database(tmp_path / "a" / ".cache" / "z.db", rows=5)
    assert paths(tmp_path, exempt=(pattern.format(tmp_path),)) == [str(kept)]


def test_names_of_any_bytes_and_folders_that_are_not_there_are_no_obstacle(tmp_path: Path) -> None:
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.db")
    os.rename(make_database(tmp_path / "x.db", rows=5), strange)
    look = discover([str(tmp_path), str(tmp_path / "missing")])
    assert ([found.path for found in look.found], look.complete, look.unreadable) == ([strange], True, ())


def test_when_time_runs_out_it_says_so(tmp_path: Path) -> None:
    make_database(tmp_path / "x.db", rows=5)
    assert not discover([str(tmp_path)], seconds=-1).complete


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert discover([str(tmp_path)]).unreadable == (str(tmp_path),)
