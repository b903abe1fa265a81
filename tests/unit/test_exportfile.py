"""An exported file has its name when it is complete, and not before; nothing else is ever left."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from litekeep import exportfile
from litekeep.errors import UsageError
from litekeep.exportfile import Header, Writer
from litekeep.exportreader import Reader


def header(form: str = "jsonl", fields: tuple[str, ...] = ("id", "a")) -> Header:
    return Header(form, "t", fields, ("INTEGER", ""), (), ("id",), False, False, False, "UTF-8", {"range": None})


def write(path: Path, form: str = "jsonl", rows: int = 3, **options: Any) -> bytes:
    with Writer(str(path), header(form), **options) as writer:
        for n in range(rows):
            writer.write((n, f"text {n}"))
        assert not path.exists()
        assert writer.finish()[0] == rows
    return path.read_bytes()


@pytest.mark.parametrize("rows", [0, 3, 5000])
@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("form", exportfile.FORMATS)
def test_what_is_written_is_read(tmp_path: Path, form: str, level: int | None, rows: int) -> None:
    write(tmp_path / "file", form, rows, level=level)
    reader = Reader(str(tmp_path / "file"))
    reader.check()
    assert [list(row) for row in reader.rows()] == [[n, f"text {n}"] for n in range(rows)]
    assert (reader.header.rows, reader.header.key, reader.header.fields) == (rows, ("id",), ("id", "a"))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_plain_files_are_what_other_programs_expect(tmp_path: Path) -> None:
    assert [json.loads(line) for line in write(tmp_path / "l", "jsonl", plain=True).splitlines()][1] == {
        "id": 1,
        "a": "text 1",
    }
    assert len(json.loads(write(tmp_path / "j", "json", plain=True))) == 3
    assert json.loads(write(tmp_path / "e", "json", 0, plain=True)) == []
    rows = list(csv.reader(write(tmp_path / "c", "csv", plain=True).decode().splitlines()))
    assert rows[:2] == [["id", "a"], ["0", "text 0"]]
    packed = write(tmp_path / "z", "csv", plain=True, level=3)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed).startswith(b"id,a\r\n0,")
    with pytest.raises(UsageError, match="is no file that litekeep exported"):
        Reader(str(tmp_path / "c"))


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    assert write(tmp_path / "a", level=3) == write(tmp_path / "b", level=3)


@pytest.fixture(params=["unnamed", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the file system knows files without a name, and where it does not."""
    if request.param == "named":
        real = os.open

        def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


def test_what_is_not_finished_leaves_nothing(tmp_path: Path, kind: str) -> None:
    with Writer(str(tmp_path / "file"), header()) as writer:
        writer.write((1, "a"))
        assert len(os.listdir(tmp_path)) == (kind == "named")
    assert os.listdir(tmp_path) == []


def test_finished_files_have_one_name(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_nlink == 1, kind


def test_a_name_that_is_taken_meanwhile_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    with Writer(str(path), header()) as writer:
        path.write_text(kind)
        with pytest.raises(UsageError, match="already exists"):
            writer.finish()
    assert path.read_text() == kind
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    # Which makes a directory of it, and is refused.
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_EXCL)
    assert write(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
    with Writer(str(tmp_path / "other"), header()) as writer:
        (tmp_path / "other").write_text("mine")
        with pytest.raises(UsageError, match="already exists"):
            writer.finish()
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_a_folder_that_is_not_there_is_the_caller_s_matter(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Writer(str(tmp_path / "none" / "file"), header())


def test_without_zstandard_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litekeep.store.zstandard", None)
    with pytest.raises(UsageError, match="zstandard is missing"):
        Writer(str(tmp_path / "file"), header(), level=3)
    assert os.listdir(tmp_path) == []


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("file"))
    assert os.listdir(tmp_path) == ["file"]
