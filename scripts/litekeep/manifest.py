# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The manifest: a backup's commit record. No manifest, no backup.

Its published form is ``docs/schemas/manifest-1.schema.json``. ``checksum`` is SHA-256 over the canonical JSON
(sorted keys, no white space, ASCII escapes) of everything else, so that a changed manifest is noticed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError, VerificationError
from .store import Stored
from .timefmt import from_text

NAME = "manifest.json"
FORMAT = "litekeep-backup"
VERSION = 1
_LIMIT = 16 << 20


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read and found whole. ``values`` is all of it, as published."""

    values: Mapping[str, object]
    id: str
    type: str
    sequence: int
    snapshot: dt.datetime
    verified: bool
    files: tuple[Stored, ...]

    @property
    def size(self) -> int:
        """Bytes of the database file."""
        return self.files[0].size

    @property
    def stored_size(self) -> int:
        """Bytes that the backup takes in the repository."""
        return sum(file.stored_size for file in self.files)

    def part(self, key: str) -> Mapping[str, object]:
        """One of the nested mappings; empty when it is absent or null."""
        value = self.values.get(key)
        return value if isinstance(value, dict) else {}


def checksum(values: Mapping[str, object]) -> str:
    """The checksum that belongs into the key of that name."""
    rest = {key: value for key, value in values.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def read_manifest(path: str) -> Manifest:
    """Read, check and understand a manifest file.

    Raises VerificationError when it is not whole, UsageError when a newer Litekeep wrote it.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(_LIMIT)
    except OSError as problem:
        raise _damaged(path, problem) from problem
    return manifest_from(content, path)


def manifest_from(content: bytes, path: str) -> Manifest:
    """The same out of its bytes."""
    try:
        return _understood(json.loads(content.decode()), path)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise _damaged(path, problem) from problem


def _damaged(path: str, problem: Exception) -> VerificationError:
    return VerificationError(
        f"The manifest {path} is damaged",
        expected="a Litekeep manifest with a right checksum",
        found=f"{type(problem).__name__}: {problem}",
        safe="the other backups; this one does not count as a restore point",
        next_step="run: litekeep verify --all, and check the disk below the repository",
    )


def _understood(values: Mapping[str, object], path: str) -> Manifest:
    form = _mapping(values["format"])
    if form["name"] != FORMAT:
        raise ValueError(f"the format is {form['name']!r}")
    version = form["version"]
    if isinstance(version, int) and version > VERSION:
        raise UsageError(
            f"The manifest {path} was written by a newer Litekeep",
            expected=f"format version {VERSION}",
            found=f"format version {version}",
            safe="the backup itself; nothing was changed",
            next_step="upgrade Litekeep on this host (playbook install.yml), then run the same command again",
        )
    if version != VERSION:
        raise ValueError(f"the format version is {version!r}")
    if values.get("checksum") != checksum(values):
        raise ValueError("the checksum does not match")
    files = tuple(_stored(_mapping(entry)) for entry in _list(values["files"]))
    if not files:
        raise ValueError("it names no files")
    return Manifest(
        values=values,
        id=_text(values["id"]),
        type=_text(values["type"]),
        sequence=_count(values["sequence"]),
        snapshot=from_text(_text(_mapping(values["times"])["snapshot"])),
        verified=values["verified"] is True,
        files=files,
    )


def _stored(entry: Mapping[str, object]) -> Stored:
    name = _text(entry["name"])
    if "/" in name or name.startswith("."):
        raise ValueError(f"a file is called {name!r}")
    return Stored(
        name=name,
        size=_count(entry["size"]),
        sha256=_text(entry["sha256"]),
        stored_size=_count(entry["stored_size"]),
        stored_sha256=_text(entry["stored_sha256"]),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise TypeError(f"{value!r} is no mapping")


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise TypeError(f"{value!r} is no list")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is no text")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise TypeError(f"{value!r} is no count")
