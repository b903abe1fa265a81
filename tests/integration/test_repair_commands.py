"""The commands that an operator types when a database is damaged, one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

from damaging import overwrite, rows_of
from support import content, holding_open, leave_wal, litekeep, make_database, set_bytes


def test_from_triage_to_rollback(tmp_path: Path) -> None:
    path = make_database(tmp_path / "data" / "events.db", rows=400)
    words = ["--database", path, "--repository", tmp_path / "repository", "--host", "host"]
    litekeep(*words, "backup", "events", check=0)
    leave_wal(path, rows=1)
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        pages = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path"
        (index,) = db.execute(pages, ("events_kind", "internal")).fetchone()
        (leaf,) = db.execute(pages, ("events", "leaf")).fetchone()
    overwrite(path, index, bytes(4096))
    before, files = content(path), set_bytes(path)
    assert "index: only indexes" in litekeep(*words, "triage", "events", check=3).stdout

    with holding_open(path):
        refused = litekeep(*words, "repair", "events", "--method", "reindex", check=6)
    assert "is in use" in refused.stderr

    done = json.loads(litekeep(*words, "repair", "events", "--method", "reindex", "--json", check=0).stdout)
    (answer,) = done["databases"]
    assert answer["rows"] == {"events": 401}
    assert [(each["table"], each["gone"], each["came"]) for each in answer["differences"]] == [("events", 0, 1)]
    assert set_bytes(Path(answer["result"]["quarantine"]) / "events.db") == files
    assert "events: sound" in litekeep(*words, "triage", "events", check=0).stdout
    litekeep(*words, "restore", "events", "--rollback", check=0)
    assert content(path) == before

    overwrite(path, leaf, bytes(4096))
    assert "pages: pages of tables are damaged" in litekeep(*words, "triage", "events", check=3).stdout
    refused = litekeep(*words, "repair", "events", "--method", "reindex", check=3)
    assert "--method salvage" in refused.stderr
    target = tmp_path / "salvaged.db"
    said = litekeep(*words, "repair", "events", "--method", "salvage", "--target", target, check=0).stdout
    assert "against   the newest restore point" in said
    lost = 401 - len(rows_of(target)["events"])
    assert 0 < lost < 40
    assert "rows that went" in said
    assert "note      table events: 1 pages cannot be read" in said
    litekeep(*words, "repair", "events", "--method", "salvage", "--target", target, check=2)
    assert not [name for name in os.listdir(path.parent) if name.startswith(".litekeep")]
