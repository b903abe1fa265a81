# SPDX-License-Identifier: GPL-3.0-or-later
"""The by-hand parts of the runbook pages, followed to the letter: their commands run here."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from archiving import Archive, archived, moment
from offhost import ACCOUNT, sftp_server
from support import ROOT, litekeep, make_database

from litekeep.timefmt import to_text

ROWS = 200
ALL = "SELECT * FROM events ORDER BY id"
PAGE = 4096
ALL_IDS = list(range(1, ROWS + 3))


class Runbook:
    """One page on one host. used: the blocks of commands that ran."""

    def __init__(self, page: str, folder: Path) -> None:
        self.text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text()
        self.folder = folder
        self.database = make_database(folder / "data" / "events.db", ROWS)
        self.archive = Archive(folder, self.database)
        self.log = folder / "systemctl.log"
        engine = f"PYTHONPATH={ROOT}/scripts exec {sys.executable} -m litekeep --config {self.archive.config}"
        self._program("litekeep", engine)
        self._program("systemctl", f"test $# -gt 1 && echo >> {self.log}")

    def _program(self, name: str, command: str) -> None:
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n{command} "$@"\n')
        program.chmod(0o755)

    def blocks(self, heading: str) -> list[str]:
        """The commands below a heading."""
        section = re.split(rf"^##+ {re.escape(heading)}\n", self.text, flags=re.MULTILINE)[1]
        return re.findall(r"^```sh\n(.*?)^```", re.split(r"^##", section, flags=re.MULTILINE)[0], re.M | re.S)

    def follow(self, *steps: str | tuple[str, int], code: int = 0, **settings: object) -> str:
        """Run blocks in one shell, with other settings than the page's examples. A number says which of a heading's."""
        (defaults,) = self.blocks("Settings")
        values = {"name": "events", "database": self.database, "services": "app.service", **settings}
        values.setdefault("archive", "litekeep-archive@events.service")
        names = re.findall(r"^(\w+)=", defaults, re.MULTILINE)
        lines = [f"{name}='{values[name]}'" for name in values if name in names or name in settings]
        chosen = [step if isinstance(step, tuple) else (step, 0) for step in steps]
        script = "\n".join(["set -eu", *lines, *(self.blocks(heading)[number] for heading, number in chosen)])
        done = subprocess.run(
            ["sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "TMPDIR": str(self.folder)},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def back_up(self) -> None:
        litekeep("--config", self.archive.config, "backup", "events", check=0)

    def execute(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as application:
            for statement in statements:
                application.execute(statement)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.database)) as application:
            return application.execute(sql).fetchall()

    def overwrite(self, kind: int, change: Callable[[bytes], bytes]) -> None:
        """Change the second page of that type: 13 is a leaf of a table, 10 a leaf of an index."""
        content = bytearray(self.database.read_bytes())
        start = [at for at in range(PAGE, len(content), PAGE) if content[at] == kind][1]
        content[start : start + PAGE] = change(bytes(content[start : start + PAGE]))
        self.database.write_bytes(content)


def garbage(page: bytes) -> bytes:
    return b"\xde\xad" * (len(page) // 2)


def other_keys(page: bytes) -> bytes:
    """An index that no longer agrees with its table, and is well formed."""
    return page.replace(b"T02:00:", b"T03:00:")


@pytest.fixture
def corruption(tmp_path: Path) -> Runbook:
    return Runbook("corruption", tmp_path)


@pytest.mark.parametrize("unit", ["litekeep-archive@events.service", ""])
def test_damaged_pages_by_hand_with_litekeep(corruption: Runbook, unit: str) -> None:
    corruption.back_up()
    rows = corruption.query(ALL)
    corruption.overwrite(13, garbage)
    damaged = corruption.database.read_bytes()
    said = corruption.follow("Look", "Stop", "Anything else is damaged", "Start", archive=unit)
    assert "pages of tables are damaged" in said
    assert corruption.query(ALL) == rows
    asked = [line.split() for line in corruption.log.read_text().splitlines()]
    assert asked == [["stop", "app.service", *unit.split()], ["start", *unit.split(), "app.service"]]
    corruption.follow("Undo")
    assert corruption.database.read_bytes() == damaged


def test_damaged_indexes_by_hand_with_litekeep(corruption: Runbook) -> None:
    rows = corruption.query(ALL)
    corruption.overwrite(10, garbage)
    corruption.follow("Look", "Stop", "Only indexes are damaged", "Start")
    assert corruption.query(ALL) == rows


def test_salvage_by_hand_with_litekeep(corruption: Runbook) -> None:
    corruption.overwrite(13, garbage)
    step = "Nothing clean can be restored"
    corruption.follow("Stop", (step, 0))
    beside = Path(f"{corruption.database}.salvaged")
    with contextlib.closing(sqlite3.connect(beside)) as found:
        (count,) = found.execute("SELECT count(*) FROM events").fetchone()
    assert 0 < count < ROWS
    corruption.follow("Stop", (step, 1), "Start")
    assert corruption.query("SELECT count(*) FROM events") == [(count,)]


def test_damage_by_hand_without_litekeep(corruption: Runbook, tmp_path: Path) -> None:
    (tmp_path / "bin" / "litekeep").unlink()
    rows = corruption.query(ALL)
    corruption.overwrite(10, other_keys)
    before = corruption.database.read_bytes()
    look = "Look at a copy"
    said = corruption.follow("Set everything aside", (look, 0), (look, 1), "Put it in place")
    assert "missing from index" in said
    assert corruption.query(ALL) == rows
    (aside,) = corruption.database.parent.glob("events.db.damaged-*")
    assert (aside / "events.db").read_bytes() == before
    shutil.rmtree(aside)
    corruption.overwrite(13, garbage)
    corruption.follow("Set everything aside", (look, 0), (look, 2), "Put it in place")
    assert 0 < len(corruption.query(ALL)) < ROWS
    assert corruption.query("PRAGMA integrity_check") == [("ok",)]


@pytest.fixture
def deletion(tmp_path: Path) -> tuple[Runbook, dict[str, object]]:
    """A third of the rows and a table went, under the archiver's eyes; then another row came, and one changed."""
    made = Runbook("accidental_deletion", tmp_path)
    made.execute(
        "CREATE TABLE notes(name TEXT PRIMARY KEY, text TEXT)",
        "CREATE INDEX notes_text ON notes(text)",
        "INSERT INTO notes VALUES('a', 'first'), ('b', 'second')",
    )
    with archived(made.archive) as archive:
        made.execute("INSERT INTO events(kind) VALUES('before')")
        before = moment()
        made.execute("DELETE FROM events WHERE id % 3 = 0 AND id < 200", "DROP TABLE notes")
        suspected = moment()
        made.execute("INSERT INTO events(kind) VALUES('after')", "UPDATE events SET payload = 'another' WHERE id = 1")
        archive.reaches(moment())
        archive.stop()
    return made, {"moment": to_text(before), "suspected": to_text(suspected)}


def is_undone(page: Runbook, changed: bool) -> None:
    assert [row[0] for row in page.query(ALL)] == ALL_IDS
    assert page.query("SELECT * FROM notes ORDER BY name") == [("a", "first"), ("b", "second")]
    assert page.query("SELECT tbl_name FROM sqlite_master WHERE name = 'notes_text'") == [("notes",)]
    assert (page.query("SELECT payload FROM events WHERE id = 1") == [("another",)]) == changed


def test_undelete_by_hand_with_litekeep(deletion: tuple[Runbook, dict[str, object]]) -> None:
    page, settings = deletion
    said = page.follow("Where did they go?", "Undelete", **settings)
    assert "the table itself" in said
    is_undone(page, changed=True)
    assert not page.log.exists()


@pytest.mark.parametrize("changes", [False, True])
def test_rewind_by_hand_with_litekeep(deletion: tuple[Runbook, dict[str, object]], changes: bool) -> None:
    page, settings = deletion
    page.follow(("Rewind", 0), *([("Rewind", 1)] if changes else []), ("Rewind", 2), **settings)
    is_undone(page, changed=changes)
    before = page.query(ALL)
    page.follow("Undo")
    assert len(page.query(ALL)) < len(before)


def test_deleted_rows_by_hand_without_litekeep(deletion: tuple[Runbook, dict[str, object]], tmp_path: Path) -> None:
    page, settings = deletion
    target = page.archive.restored(str(settings["moment"]))  # test_restore_by_hand.py does that without Litekeep
    (tmp_path / "bin" / "litekeep").unlink()
    said = page.follow("Rows", target=target, table="events", key="id")
    assert "66 rows of events were put back" in said
    page.follow("A table that is gone", target=target, table="notes")
    is_undone(page, changed=True)


@pytest.mark.parametrize("page", ["corruption", "accidental_deletion"])
def test_every_block_by_hand_is_followed_by_a_test_above(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text().split("## By hand with Litekeep\n")[1]
    followed = {"corruption": 13, "accidental_deletion": 9}
    assert text.count("```sh\n") == followed[page]


def test_a_lost_host_by_hand_with_litekeep(tmp_path: Path) -> None:
    page = Runbook("hardware_failure", tmp_path)
    page.back_up()
    page.execute("INSERT INTO events (kind, payload) VALUES ('late', 'in no backup')")
    keys = tmp_path / "keys"
    keys.mkdir()
    with sftp_server(keys) as server:
        config = json.loads(page.archive.config.read_text())
        remote = asdict(server.remote())
        config["remotes"] = {remote.pop("name"): remote}
        page.archive.config.write_text(json.dumps(config))
        litekeep("--config", page.archive.config, "push", "events")
        # All that is left of the host is what it had sent; the command on the new one knows no configuration.
        shutil.rmtree(page.archive.repository.root)
        page.database.unlink()
        page._program("litekeep", f"PYTHONPATH={ROOT}/scripts exec {sys.executable} -m litekeep")
        settings = {"owner": "root:root", "server": "127.0.0.1", "port": server.port, "account": ACCOUNT}
        settings |= {"work": tmp_path / "work", "key": keys / "client", "known": keys / f"known_hosts-{server.port}"}
        said = page.follow("Say where the copies are", "Look", "Bring and restore", **settings)
    assert "-full" in said
    assert [row[0] for row in page.query(ALL)] == list(range(1, ROWS + 1))
    assert not (tmp_path / "work").exists()
