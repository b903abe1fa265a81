"""docs/formats.md is a contract: what it says is tried out here, by its own words and programs.

The restore by hand has a page and a test of its own: tests/integration/test_restore_by_hand.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
from support import ROOT

from litekeep import manifest
from litekeep.checks import fingerprint_of
from litekeep.repository import Backup

PAGE = (ROOT / "docs" / "formats.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_is_a_manifest_with_a_right_checksum(manifest_schema: jsonschema.Draft202012Validator) -> None:
    (example,) = blocks("json")
    values = json.loads(example)
    manifest_schema.validate(values)
    assert values["checksum"] == manifest.checksum(values)


def test_the_program_on_the_page_computes_the_checksum(saved: Backup, tmp_path: Path) -> None:
    (program,) = blocks("python")
    path = Path(saved.folder, "manifest.json")

    def verdict() -> str:
        return subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout

    assert verdict() == "right\n"
    path.write_text(path.read_text().replace('"rows": {\n    "events": 200', '"rows": {\n    "events": 201'))
    assert verdict().startswith("WRONG")


def test_the_schema_hash_on_the_page_is_the_one_of_its_text() -> None:
    text, said = re.search(r"```\n(\[\"7461.*?\])\n```\n\nand the hash is `([0-9a-f]{64})`", PAGE).groups()  # type: ignore[union-attr]
    assert hashlib.sha256(text.encode()).hexdigest() == said
    assert bytes.fromhex(json.loads(text)[3]) == b"CREATE TABLE t(x)"


def test_the_engine_uses_the_schema_hash_of_the_page(tmp_path: Path) -> None:
    said = re.search(r"and the hash is `([0-9a-f]{64})`", PAGE)
    assert said is not None
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("CREATE TABLE t(x)")
        assert fingerprint_of(db, count_rows=False).schema_sha256 == said[1]


def schema_keys(schema: dict[str, Any], whole: dict[str, Any], prefix: str = "") -> set[str]:
    """Every key of the schema as the page writes it: a.b, list[].c."""
    if "$ref" in schema:
        schema = {**whole["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    for option in schema.get("anyOf", []):
        if option.get("type") == "object":
            schema = option
    found = {prefix} if prefix else set()
    for key, part in schema.get("properties", {}).items():
        found |= schema_keys(part, whole, f"{prefix}.{key}" if prefix else key)
    if prefix == "files":
        found |= schema_keys(whole["$defs"]["file"], whole, "files[]")
    return found


def test_the_table_has_every_key_of_the_schema_and_no_other() -> None:
    whole = json.loads((ROOT / "docs" / "schemas" / "manifest-1.schema.json").read_text())
    section = PAGE[PAGE.index("### Keys") : PAGE.index("### Checksum")]
    told = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    found = {re.sub(r"^checks\.\w+\.", "checks.*.", key) for key in schema_keys(whole, whole)}
    mappings = {"format", "source", "times", "files[]", "compression", "checks", "tool"}
    assert told == found - mappings


def test_every_row_of_a_table_has_all_its_columns() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_the_contents_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    headings = {re.sub(r"[^a-z -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", prose, re.M)}
    links = re.findall(r"\]\(#([a-z-]+)\)", PAGE)
    assert set(links) <= headings
    assert {h for h in headings if h != "formats"} <= set(links)


def test_the_layout_on_the_page_is_the_one_on_disk(kept: Any, saved: Backup, tmp_path: Path) -> None:
    kept[0].record_verification("events", saved.id, "")
    with kept[0].lease("events"), kept[0].writing("events"):
        partial = kept[0].begin("events", "full", saved.manifest.snapshot)  # type: ignore[union-attr]
    names = {path.name for path in Path(kept[0].folder("events")).rglob("*")}
    page = PAGE[PAGE.index("## Layout") : PAGE.index("## How a backup")]
    for name in names - {saved.id, f".partial-{partial.id}"}:
        assert f" {name}" in page, name
    assert re.search(r"\n +[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-full/", page)
    assert re.search(r"\n +\.partial-[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-full/", page)
