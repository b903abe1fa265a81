"""An exported file that is not what was exported is refused in words, whatever was done to it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from transfer import exported, made, run

from litekeep import exportreader
from litekeep.errors import LitekeepError, UsageError, VerificationError
from litekeep.exportfile import MARK, SEAL, seal
from litekeep.exportreader import Reader

FORMATS = ["jsonl", "json", "csv"]
ROWS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], bytes]:
    """One table in every form: by format, and whether compressed."""
    folder = tmp_path_factory.mktemp("files")
    source = made(folder / "source.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT)")
    for n in range(ROWS):
        run(source, "INSERT INTO t(a, b) VALUES(?, ?)", (n * 1.5 if n % 2 else b"\0\1", f"text {n}, 'x'\n"))
    found = {}
    for name in FORMATS:
        for level in (None, 3):
            output = folder / f"{name}-{level}"
            exported(source, output, "t", format=name, level=level)
            found[name, level is not None] = output.read_bytes()
    return found


def read(path: Path) -> list[list[object]]:
    reader = Reader(str(path))
    reader.check()
    return [list(row) for row in reader.rows()]


def rebuilt(block: bytes, **changes: object) -> bytes:
    """The file with another header that is whole again; fields that are None are left out."""
    first, rest = block.split(b"\n", 1)
    before = first[:1] if first[:1] in b"#[" else b""
    values = {**json.loads(first[len(before) :]), **changes}
    values = {name: value for name, value in values.items() if value is not None and name != SEAL}
    return before + json.dumps({**values, SEAL: seal(values)}).encode() + b"\n" + rest


def refused(path: Path, block: bytes) -> LitekeepError:
    """The error of a file of these bytes."""
    path.write_bytes(block)
    with pytest.raises(LitekeepError) as caught:
        read(path)
    assert caught.value.exit_code in (2, 3)
    assert caught.value.safe
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], name: str, compressed: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(files[name, compressed])
    rows = read(path)
    assert len(rows) == ROWS
    assert rows[:2] == [[1, b"\0\1", "text 0, 'x'\n"], [2, 1.5, "text 1, 'x'\n"]]


@given(data=st.data(), name=st.sampled_from(FORMATS), compressed=st.booleans())
@settings(max_examples=400)
def test_any_damage_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[tuple[str, bool], bytes],
    data: st.DataObject,
    name: str,
    compressed: bool,
) -> None:
    block = files[name, compressed]
    path = tmp_path_factory.getbasetemp() / "damaged"
    place = data.draw(st.integers(0, len(block) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "swap lines", "double", "append"]))
    if kind == "flip":
        damaged = block[:place] + bytes([block[place] ^ (1 << data.draw(st.integers(0, 7)))]) + block[place + 1 :]
    elif kind == "cut":
        damaged = block[:place]
    elif kind == "insert":
        damaged = block[:place] + data.draw(st.binary(min_size=1, max_size=9)) + block[place:]
    elif kind == "delete":
        damaged = block[:place] + block[place + data.draw(st.integers(1, 20)) :]
    elif kind == "swap lines":
        lines = block.split(b"\n")
        one, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in "ab")
        lines[one], lines[other] = lines[other], lines[one]
        damaged = b"\n".join(lines)
    elif kind == "double":
        damaged = block[:place] + block
    else:
        damaged = block + data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(damaged)
    try:
        rows, header = read(path), Reader(str(path)).header
    except LitekeepError as problem:
        assert problem.exit_code in (2, 3)
        return
    # Only what nobody reads may differ: blanks in the header's room, and bytes that a zstd frame passes over.
    path.write_bytes(block)
    assert rows == read(path)
    assert header == Reader(str(path)).header


@pytest.mark.parametrize("block", [b"", b"\n", b"{}", b"[]", b"1", b'"x"', b"a,b\n1,2\n", b"\xff\xfe", b"[" * 100_000])
def test_a_foreign_file_is_refused(tmp_path: Path, block: bytes) -> None:
    assert "is no file that litekeep exported" in refused(tmp_path / "file", block).what


def test_a_newer_form_is_refused(tmp_path: Path, files: dict[tuple[str, bool], bytes]) -> None:
    assert "another form" in refused(tmp_path / "file", rebuilt(files["jsonl", False], **{MARK: 2})).what


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": None}, {"columns": []}, {"columns": 5}, {"columns": ["a"]}, {"columns": [{"name": 1, "type": ""}]},
        {"columns": [{"name": "a\0", "type": ""}]}, {"columns": [{"name": "a"}]}, {"table": None}, {"table": 5},
        {"table": "\ud800"}, {"table": "a\0"}, {"key": 5}, {"key": [1]}, {"format": "xml"}, {"rows": "5"},
        {"rows": None}, {"sha256": None}, {"encoding": 8}, {"without_rowid": None}, {"strict": None}, {"rowid": None},
    ],
    ids=str,
)  # fmt: skip
def test_an_incomplete_header_is_refused(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], changes: dict[str, object]
) -> None:
    block = files["jsonl", False]
    if changes.get("table") == "\ud800":
        first, rest = block.split(b"\n", 1)
        damaged = first.replace(b'"table": "t"', b'"table": "\\ud800"') + b"\n" + rest
    else:
        damaged = rebuilt(block, **changes)
    assert refused(tmp_path / "file", damaged).expected == "a complete header record"


def test_a_deeply_nested_header_is_refused(tmp_path: Path, files: dict[tuple[str, bool], bytes]) -> None:
    first, rest = files["jsonl", False].split(b"\n", 1)
    nested = first.rstrip()[:-1] + b', "more": ' + b"[" * 990 + b"]" * 990 + b"}"
    assert refused(tmp_path / "file", nested + b"\n" + rest).exit_code in (2, 3)


def with_rows(block: bytes, rows: bytes, count: int = 1) -> bytes:
    """The header of the file, made right for other rows."""
    first = block.split(b"\n", 1)[0]
    return rebuilt(first + b"\n" + rows, rows=count, sha256=hashlib.sha256(rows).hexdigest())


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b"{\n", "not JSON"),
        (b"\n", "not JSON"),
        (b"[1]\n", "no object"),
        (b'{"id":1}\n', "no object"),
        (b'{"id":1,"a":2,"c":3}\n', "b is missing"),
        (b'{"id":1,"a":2,"b":NaN}\n', "NaN is not JSON"),
        (b'{"id":1,"a":2,"b":Infinity}\n', "Infinity is not JSON"),
        (b'{"id":1,"a":2,"b":1e999}\n', "too large"),
        (b'{"id":1,"a":2,"b":9223372036854775808}\n', "64 bits"),
        (b'{"id":1,"a":2,"b":' + b"9" * 5000 + b"}\n", ""),
        (b'{"id":1,"a":2,"b":true}\n', "no value"),
        (b'{"id":1,"a":2,"b":[1]}\n', "no value"),
        (b'{"id":1,"a":2,"b":{}}\n', "no value"),
        (b'{"id":1,"a":2,"b":{"real":"NaN"}}\n', "no value"),
        (b'{"id":1,"a":2,"b":{"real":[1]}}\n', "no value"),
        (b'{"id":1,"a":2,"b":{"blob":1}}\n', "no value"),
        (b'{"id":1,"a":2,"b":{"blob":"!"}}\n', "base64"),
        (b'{"id":1,"a":2,"b":{"text":"\xc3\xa9"}}\n', "base64"),
        (b'{"id":1,"a":2,"b":{"blob":"","text":""}}\n', "no value"),
        (b'{"id":1,"a":2,"b":"\\ud800"}\n', "no Unicode"),
        (b'{"id":1,"a":2,"b":"\xff"}\n', "utf-8"),
        (b'{"id":1,"a":2,"b":' + b"[" * 100_000 + b"\n", ""),
    ],
)
def test_a_row_that_is_none_is_named(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], rows: bytes, found: str
) -> None:
    good = b'{"id":1,"a":2,"b":3}\n'
    problem = refused(tmp_path / "file", with_rows(files["jsonl", False], good + rows, 2))
    assert problem.expected == "a row of t as number 2"
    assert found in problem.found


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b"id,a,b\r\n1,2\r\n", "2 fields instead of 3"),
        (b"id,a,c\r\n1,2,3\r\n", "names of the columns"),
        (b"", "names of the columns"),
        (b'id,a,b\r\n1,2,"3\r\n', "unexpected end"),
        (b'id,a,b\r\n1,2,"3"x\r\n', "expected after"),
        (b"id,a,b\r\n1,2,\xff\r\n", "utf-8"),
        (b"id,a,b\r\n1,2,\\q\r\n", "begins with a backslash"),
        (b"id,a,b\r\n1,2,\\x0\r\n", "hexadecimal"),
        (b"id,a,b\r\n1,2,\\uff\r\n", "hexadecimal"),
        (b"id,a,b\r\n1,2,9999999999999999999\r\n", "64 bits"),
    ],
)
def test_a_csv_row_that_is_none_is_named(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], rows: bytes, found: str
) -> None:
    assert found in refused(tmp_path / "file", with_rows(files["csv", False], rows)).found


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b'{"id":1,"a":2,"b":3}\n]\n', "comma"),
        (b',{"id":1,"a":2,"b":3}\n', "does not end"),
        (b',{"id":1,"a":2,"b":3}\n]\nmore', "after the end"),
    ],
)
def test_an_array_that_is_none_is_refused(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], rows: bytes, found: str
) -> None:
    assert found in refused(tmp_path / "file", with_rows(files["json", False], rows)).found


def test_a_wrong_count_is_refused(tmp_path: Path, files: dict[tuple[str, bool], bytes]) -> None:
    problem = refused(tmp_path / "file", rebuilt(files["jsonl", False], rows=ROWS + 1))
    assert (problem.expected, problem.found) == (f"{ROWS + 1} rows", f"{ROWS} rows")


def test_a_file_that_changes_after_the_check_is_refused(tmp_path: Path, files: dict[tuple[str, bool], bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(files["jsonl", False])
    reader = Reader(str(path))
    reader.check()
    path.write_bytes(files["jsonl", False].replace(b"text 5", b"text X"))
    with pytest.raises(VerificationError, match="is not what was exported"):
        list(reader.rows())


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            Reader(str(path))


def test_without_zstandard_the_package_is_named(
    tmp_path: Path, files: dict[tuple[str, bool], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(files["csv", True])
    monkeypatch.setattr("litekeep.store.zstandard", None)
    with pytest.raises(UsageError, match="zstandard is missing"):
        Reader(str(tmp_path / "file"))


def test_other_programs_can_unpack_and_read_them(files: dict[tuple[str, bool], bytes]) -> None:
    for name in FORMATS:
        stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(files[name, True]), read_across_frames=True)
        unpacked = stream.read()
        header, rows = unpacked.split(b"\n", 1)
        values = json.loads(header.lstrip(b"#["))
        assert values["sha256"] == hashlib.sha256(rows).hexdigest()
        assert files[name, False].split(b"\n", 1)[1] == rows
    array = json.loads(files["json", False])
    assert array[0]["rows"] == ROWS == len(array[1:])
    assert exportreader.MARK in array[0]
