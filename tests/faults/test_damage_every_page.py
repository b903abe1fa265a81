"""For every page of small databases in turn: triage tells the truth about it, changes nothing, and never crashes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from damaging import Rows, make, overwrite, owners, page_of, rows_of, set_of
from support import protect

from litekeep import repair, triage
from litekeep.progress import Progress

KINDS: dict[str, dict[str, Any]] = {
    "wal": {"free": 3},
    "search, delete": {"search": True, "mode": "delete"},
    "512, full": {"page_size": 512, "auto_vacuum": 1, "rows": 60},
    "64 KiB, UTF-16": {"page_size": 65536, "encoding": "UTF-16be", "rows": 400, "overflow": False},
    "4096, incremental, UTF-16": {"page_size": 4096, "encoding": "UTF-16le", "auto_vacuum": 2, "free": 4},
}


class Scene:
    """A database and its policy; each test damages it, and ``heal`` brings it back."""

    def __init__(self, folder: Path, how: dict[str, Any]) -> None:
        self.good = make(folder / "good.db", **how)
        self.size = how.get("page_size", 1024)
        self.path = folder / "data" / "events.db"
        self.path.parent.mkdir()
        self.repository, self.database = protect(folder, self.path)
        self.rows = rows_of(self.good)
        self.owners = owners(self.good)
        self.new = folder / "new.db"
        self.heal()

    @property
    def pages(self) -> int:
        return self.good.stat().st_size // self.size

    def heal(self) -> None:
        shutil.copyfile(self.good, self.path)

    def triage(self) -> triage.Triage:
        before = set_of(self.path)
        found = triage.triage(self.repository, self.database, Progress())
        assert set_of(self.path) == before
        return found

    def reindexed(self) -> Rows:
        self.new.unlink(missing_ok=True)
        repair.repair(self.repository, self.database, "reindex", Progress(), str(self.new), compare=False)
        return rows_of(self.new)

    def judge(self, page: int) -> str:
        """The verdict, which must be true."""
        found = self.triage()
        if found.damage == triage.SOUND:
            # Nothing but a value can be wrong: SQLite keeps no checksums of these.
            now = rows_of(self.path)
            assert now == self.rows or self.owners[page][1] == "overflow", (page, self.owners.get(page))
        elif found.damage == triage.INDEX:
            assert self.reindexed() == self.rows, (page, self.owners.get(page), found)
        return found.damage


@pytest.mark.parametrize(
    ("how", "name"), [*(("zeros", name) for name in KINDS), ("random", "wal"), ("random", "512, full")]
)
def test_verdicts_are_true_whichever_page_is_overwritten(in_memory: Path, name: str, how: str) -> None:
    scene, chance = Scene(in_memory, KINDS[name]), random.Random(3)
    assert scene.triage().damage == triage.SOUND
    verdicts: dict[int, str] = {}
    for page in range(1, scene.pages + 1):
        overwrite(scene.path, page, bytes(scene.size) if how == "zeros" else chance.randbytes(scene.size))
        verdicts[page] = scene.judge(page)
        scene.heal()
    # What can be brought back is told as such: indexes, and pages that hold no row.
    indexes = {"events_at", "events_length", "events_large", "settings_value", "exact_b", "sqlite_autoindex_names_1"}
    for page, verdict in verdicts.items():
        owner, kind = scene.owners.get(page, ("", ""))
        if owner in indexes or (not owner and page > 2):
            assert verdict in (triage.INDEX, triage.SOUND), (page, owner, kind, verdict)
        elif kind in ("leaf", "internal"):
            assert verdict == (triage.HEADER if owner == "sqlite_schema" else triage.PAGES), (
                page,
                owner,
                kind,
                verdict,
            )


@pytest.mark.parametrize("name", ["wal", "512, full"])
def test_verdicts_are_true_whichever_pages_are_swapped(in_memory: Path, name: str) -> None:
    scene, chance = Scene(in_memory, KINDS[name]), random.Random(5)
    for _turn in range(60):
        one, other = chance.sample(range(2, scene.pages + 1), 2)
        blocks = [page_of(scene.good, page, scene.size) for page in (one, other)]
        overwrite(scene.path, other, blocks[0])
        overwrite(scene.path, one, blocks[1])
        found = scene.triage()
        # The end of a long value has no structure that could be seen to be wrong.
        value = "overflow" in (scene.owners.get(page, ("", ""))[1] for page in (one, other))
        if found.damage == triage.INDEX:
            assert scene.reindexed() == scene.rows or value, (one, other, found)
        elif found.damage == triage.SOUND:
            assert rows_of(scene.path) == scene.rows or value, (one, other)
        scene.heal()
