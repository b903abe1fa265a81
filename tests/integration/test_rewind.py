"""Rewind with the command line: what came after the moment is taken aside, the moment restored, and all put together.

Also: the moment is found, and undelete does the same while the application goes on.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archiving import Application, Archive, application, archived, moment
from support import litekeep

from litekeep.timefmt import to_text

SCHEMA = """
PRAGMA journal_mode=wal;
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, visits INTEGER DEFAULT 0);
CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER REFERENCES users, body TEXT);
CREATE TABLE settings(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE notes(a, b);
CREATE VIRTUAL TABLE search USING fts5(body, content=events, content_rowid=id);
CREATE TRIGGER event_in AFTER INSERT ON events BEGIN INSERT INTO search(rowid, body) VALUES (new.id, new.body); END;
CREATE TRIGGER event_out AFTER DELETE ON events
  BEGIN INSERT INTO search(search, rowid, body) VALUES ('delete', old.id, old.body); END;
"""
TABLES = ("users", "events", "settings", "notes")
DELETED = "DELETE FROM events WHERE id % 3 = 0"


class Story:
    """An application that is archived, and what it has committed: by table, every row by its key."""

    def __init__(self, folder: Path, archive: Archive, app: Application) -> None:
        self.folder, self.archive, self.app = folder, archive, app

    def write(self, first: int, last: int) -> None:
        """Rows in every table, each in a commit of its own."""
        for n in range(first, last):
            self.app.do(("INSERT INTO users(id, name) VALUES (?, ?)", (n, f"user {n}")))
            self.app.do(("INSERT INTO events(id, user, body) VALUES (?, ?, ?)", (n, n, f"event{n} happened")))
            self.app.do(("INSERT INTO settings VALUES (?, ?)", (f"key {n}", n)))

    def litekeep(self, *words: object, check: int = 0) -> Any:
        """The command line, as its JSON answer."""
        done = litekeep("--config", self.archive.config, *words, "--json", check=check)
        return json.loads(done.stdout)["databases"][0]

    def content(self) -> dict[str, dict[Any, Any]]:
        """All rows."""
        with contextlib.closing(sqlite3.connect(self.archive.path)) as db:
            found = {}
            for table in TABLES:
                try:
                    rows = db.execute(f"SELECT * FROM {table}").fetchall()
                except sqlite3.OperationalError:
                    rows = []
                found[table] = {row[0]: row for row in rows}
                assert len(found[table]) == len(rows), table
            return found

    def require_sound(self) -> None:
        with contextlib.closing(sqlite3.connect(self.archive.path, isolation_level=None)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            db.execute("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")
            count = db.execute("SELECT count(*) FROM events").fetchone()
            assert db.execute("SELECT count(*) FROM search('happened')").fetchone() == count


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A third of the events is deleted and a table dropped; the application goes on."""
    path = tmp_path / "data" / "events.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA)
    with archived(Archive(tmp_path, path)) as archive, application(path) as app:
        story = Story(tmp_path, archive, app)
        story.write(1, 91)
        app.do("INSERT INTO notes VALUES (1, 'one'), (2, 'two')")
        yield story


def harm(story: Story) -> tuple[str, str, dict[str, dict[Any, Any]]]:
    """What happens. The moment before, one between the two losses, and all rows of then."""
    then = story.content()
    before = moment()
    story.app.do(DELETED)
    between = moment()
    story.app.do("DROP TABLE settings")
    moment()
    story.app.do("CREATE TABLE settings(key TEXT PRIMARY KEY, value) WITHOUT ROWID")
    story.write(91, 121)
    story.app.do("UPDATE users SET visits = 5 WHERE id IN (7, 8)")
    story.app.do("INSERT INTO notes VALUES (3, 'three')")
    story.archive.reaches(moment())
    return to_text(before), to_text(between), then


def together(then: dict[str, dict[Any, Any]], now: dict[str, dict[Any, Any]]) -> dict[str, dict[Any, Any]]:
    """Every row from before and every row from after, once; where both have one, the later."""
    return {table: {**then[table], **now[table]} for table in TABLES}


def test_rewind_keeps_what_was_before_and_what_came_after(story: Story) -> None:
    before, _between, then = harm(story)
    now = story.content()
    wanted = together(then, now)
    # Stop what writes.
    story.app.end()
    story.archive.reaches(moment())
    story.archive.stop()
    aside = story.folder / "aside"
    came = story.litekeep("export", "events", "--since", before, "--output", aside)
    assert {file["table"]: file["rows"] for file in came["files"]} == {
        "users": 30, "events": 30, "settings": 30, "notes": 1,
    }  # fmt: skip
    assert {file["table"]: file["rows"] for file in came["changed_rows"]} == {"users": 2}
    restored = story.litekeep("restore", "events", "--to", before)
    assert restored["changed"]
    assert story.content() == then
    files = sorted(aside.glob("*.jsonl"))
    done = story.litekeep("import", "events", *files)
    assert sum(file["inserted"] for file in done["files"]) == 91
    done = story.litekeep("import", "events", *sorted((aside / "changed").glob("*")), "--conflict", "replace")
    assert [(file["table"], file["replaced"]) for file in done["files"]] == [("users", 2)]
    assert story.content() == wanted
    story.require_sound()
    # A second time nothing comes twice.
    story.litekeep("import", "events", *files, check=2)
    again = story.litekeep("import", "events", *files, "--conflict", "ignore")
    assert not again["changed"]
    assert story.content() == wanted
    # The archive goes on with a new timeline, and knows the result.
    story.archive.start()
    assert len(story.archive.timelines()) == 2


def test_undelete_does_it_while_the_application_goes_on(story: Story) -> None:
    before, between, then = harm(story)
    now = story.content()
    dry = story.litekeep("undelete", "events", "--to", before, "--dry-run")
    assert story.content() == now
    assert (dry["put_back"], dry["dry_run"]) == (30 + 90, True)
    assert story.litekeep("undelete", "events", "--to", between)["put_back"] == 90
    done = story.litekeep("undelete", "events", "--to", before)
    assert done["put_back"] == 30
    assert {table["table"]: table["changed"] for table in done["tables"]}["users"] == 2
    assert story.content() == together(then, now)
    story.write(121, 125)
    story.require_sound()
    assert story.litekeep("undelete", "events", "--to", before)["changed"] is False
    # What was put back is archived, too.
    wanted = story.content()
    story.archive.reaches(moment())
    story.litekeep("restore", "events", "--target", story.folder / "copy.db")
    with contextlib.closing(sqlite3.connect(story.folder / "copy.db")) as db:
        assert {row[0]: row for row in db.execute("SELECT * FROM events")} == wanted["events"]


def test_the_commits_that_took_rows_are_named_and_the_states_before_them_have_all(story: Story) -> None:
    before, between, then = harm(story)
    found = story.litekeep("commits", "events", "--around", between, "--within", "5m")
    falls = {fall["table"]: fall for fall in found["falls"]}
    assert set(falls) == {"events", "settings"}
    assert (falls["events"]["rows"], falls["events"]["gone"]) == (30, False)
    assert (falls["settings"]["rows"], falls["settings"]["gone"]) == (90, True)
    for table, fall in falls.items():
        for side, rows in (("before", 90), ("after", {"events": 60, "settings": None}[table])):
            target = story.folder / f"{table}-{side}.db"
            story.litekeep("restore", "events", "--to", fall[side]["point"], "--target", target)
            with contextlib.closing(sqlite3.connect(target)) as db:
                if rows is None:
                    with pytest.raises(sqlite3.OperationalError, match="no such table"):
                        db.execute("SELECT * FROM settings")
                else:
                    assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
    assert before < falls["events"]["after"]["observed"] < between
    done = story.litekeep("undelete", "events", "--to", falls["events"]["before"]["point"])
    assert done["put_back"] == 120
    assert together(then, story.content()) == story.content()
