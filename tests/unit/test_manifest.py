from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litekeep import manifest
from litekeep.errors import UsageError, VerificationError
from litekeep.manifest import Manifest
from litekeep.repository import Backup

SHA = "ab" * 32
VALUES: dict[str, Any] = {
    "format": {"name": "litekeep-backup", "version": 1},
    "id": "20261122T020000.123Z-full",
    "sequence": 3,
    "type": "full",
    "times": {"snapshot": "2026-11-22T02:00:00.123Z"},
    "files": [
        {"name": "database.db.zst", "size": 100, "sha256": SHA, "stored_size": 40, "stored_sha256": SHA},
        {"name": "database.db-wal.zst", "size": 50, "sha256": SHA, "stored_size": 2, "stored_sha256": SHA},
    ],
    "verified": True,
    "source": {"owner": "app"},
    "rows": {"ä\n": 1},
}


def write(folder: Path, values: Any, seal: bool = True) -> str:
    if seal:
        values = {**values, "checksum": manifest.checksum(values)}
    (folder / "manifest.json").write_text(json.dumps(values, indent=2))
    return str(folder / "manifest.json")


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in VALUES.items() if name != key}


def test_a_manifest_says_what_was_written(tmp_path: Path) -> None:
    found = manifest.read_manifest(write(tmp_path, VALUES))
    assert (found.id, found.type, found.sequence, found.verified) == ("20261122T020000.123Z-full", "full", 3, True)
    assert (found.size, found.stored_size) == (100, 42)
    assert found.snapshot.isoformat() == "2026-11-22T02:00:00.123000+00:00"
    assert found.part("source") == {"owner": "app"}
    assert found.part("sequence") == found.part("nothing") == {}
    assert {key: value for key, value in found.values.items() if key != "checksum"} == VALUES


def test_the_checksum_is_the_documented_one() -> None:
    values = {"b": [1, 2.5, None], "a": "ä", "checksum": "whatever"}
    canonical = b'{"a":"\\u00e4","b":[1,2.5,null]}'
    assert manifest.checksum(values) == "sha256:" + hashlib.sha256(canonical).hexdigest()


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda deeper: st.one_of(st.lists(deeper, max_size=3), st.dictionaries(st.text(), deeper, max_size=3)),
    max_leaves=10,
)


@given(more=st.dictionaries(st.text(min_size=1).map(lambda key: "x" + key), ANY, max_size=4))
def test_any_values_survive_the_way_to_disk_and_back(tmp_path_factory: pytest.TempPathFactory, more: Any) -> None:
    found = manifest.read_manifest(write(tmp_path_factory.getbasetemp(), {**VALUES, **more}))
    assert {key: value for key, value in found.values.items() if key != "checksum"} == {**VALUES, **more}


def unchanged_or_refused(path: Path, original: Manifest) -> bool:
    try:
        return manifest.read_manifest(str(path)).values == original.values
    except (VerificationError, UsageError):
        return True


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = Path(write(tmp_path_factory.mktemp("manifest"), VALUES))
    return path, path.read_bytes()


def test_no_bit_of_a_real_manifest_can_flip_unnoticed(saved: Backup) -> None:
    path = Path(saved.folder) / "manifest.json"
    good, original = path.read_bytes(), manifest.read_manifest(str(path))
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << (position * 5 % 8)
        path.write_bytes(bad)
        assert unchanged_or_refused(path, original), (position, good[max(0, position - 20) : position + 20])


@given(data=st.data())
def test_no_byte_can_change_unnoticed(real: tuple[Path, bytes], data: st.DataObject) -> None:
    path, good = real
    path.write_bytes(good)
    original = manifest.read_manifest(str(path))
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bad)
    assert unchanged_or_refused(path, original)


@given(data=st.data())
def test_a_manifest_cut_anywhere_is_refused(real: tuple[Path, bytes], data: st.DataObject) -> None:
    path, good = real
    path.write_bytes(good[: data.draw(st.integers(0, len(good) - 2))])
    with pytest.raises(VerificationError, match="is damaged"):
        manifest.read_manifest(str(path))


@given(st.one_of(ANY, st.dictionaries(st.sampled_from([*VALUES, "checksum"]), ANY)))
@example({"format": {"name": "litekeep-backup", "version": 1}})
@example({"format": {"name": "litekeep-backup"}})
def test_garbage_is_a_verification_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, values: object
) -> None:
    with pytest.raises(VerificationError, match="is damaged"):
        manifest.read_manifest(write(tmp_path_factory.getbasetemp(), values, seal=False))


@given(data=st.data())
@example(data=None)
def test_a_sealed_manifest_with_a_wrong_value_is_refused_or_understood(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject | None
) -> None:
    values = {**VALUES, "times": {"snapshot": "0001-01-01T00:00:00+14:00"}}
    if data is not None:
        values = {**VALUES, data.draw(st.sampled_from([key for key in VALUES if key != "format"])): data.draw(ANY)}
    path = write(tmp_path_factory.getbasetemp(), values)
    try:
        found = manifest.read_manifest(path)
    except VerificationError:
        return
    assert isinstance(found.id, str)
    assert found.files
    assert found.verified is (values["verified"] is True)


@pytest.mark.parametrize("key", ["format", "id", "sequence", "type", "times", "files", "verified"])
def test_a_manifest_that_lacks_something_needed_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(VerificationError, match="is damaged"):
        manifest.read_manifest(write(tmp_path, without(key)))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(files=[]),
        lambda v: v.update(files=[{**v["files"][0], "name": "../../etc/passwd"}]),
        lambda v: v.update(files=[{**v["files"][0], "name": ".hidden"}]),
        lambda v: v.update(files=[{**v["files"][0], "size": -1}]),
        lambda v: v.update(files=[{**v["files"][0], "size": True}]),
        lambda v: v.update(files=[{**v["files"][0], "stored_size": "40"}]),
        lambda v: v.update(files=v["files"][0]),
        lambda v: v.update(times={"snapshot": "2026-11-22T02:00:00"}),
        lambda v: v.update(times={"snapshot": 5}),
        lambda v: v.update(times="2026"),
        lambda v: v.update(sequence=-1),
        lambda v: v.update(id=7),
        lambda v: v.update(format={"name": "restic", "version": 1}),
        lambda v: v.update(format={"name": "litekeep-backup", "version": 0}),
        lambda v: v.update(format={"name": "litekeep-backup", "version": "1"}),
        lambda v: v.update(format="litekeep-backup"),
    ],
)
def test_a_sealed_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    values = dict(VALUES)
    change(values)
    with pytest.raises(VerificationError, match="is damaged"):
        manifest.read_manifest(write(tmp_path, values))


@pytest.mark.parametrize("verified", [False, None, 1, "true"])
def test_only_true_itself_is_verified(tmp_path: Path, verified: object) -> None:
    assert not manifest.read_manifest(write(tmp_path, {**VALUES, "verified": verified})).verified


def test_a_newer_format_is_told_apart_from_damage(tmp_path: Path) -> None:
    newer = {"format": {"name": "litekeep-backup", "version": 2}, "unknown": "layout"}
    with pytest.raises(UsageError, match="newer Litekeep") as caught:
        manifest.read_manifest(write(tmp_path, newer))
    assert "upgrade" in caught.value.next_step


def test_a_missing_manifest_is_damage_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        manifest.read_manifest(str(tmp_path / "manifest.json"))
    assert "No such file" in caught.value.found


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b"5"])
def test_bytes_that_are_no_manifest_are_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(VerificationError, match="is damaged"):
        manifest.read_manifest(str(tmp_path / "manifest.json"))
