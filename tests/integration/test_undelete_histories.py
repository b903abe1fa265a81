"""Histories of a database with everything that a schema can have: whatever went after a moment comes back, or is told.

A row of then is there again as it was, or listed; a row of now is as it is now; no row comes twice. For more:
LITEKEEP_HISTORIES=200.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from undeleting import Case

from litekeep.errors import VerificationError
from litekeep.undelete import Outcome

HISTORIES = int(os.environ.get("LITEKEEP_HISTORIES", "12"))
SCHEMA = """
CREATE TABLE users(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE COLLATE NOCASE,
  boss INTEGER REFERENCES users ON DELETE SET NULL, seen REAL);
CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, title TEXT,
  body TEXT CHECK (length(body) < 100), size INT GENERATED ALWAYS AS (length(body)) STORED,
  loud TEXT AS (upper(title)));
CREATE TABLE tags(post INTEGER REFERENCES posts ON DELETE CASCADE, tag TEXT, PRIMARY KEY (tag, post)) WITHOUT ROWID;
CREATE TABLE lefts(id INTEGER PRIMARY KEY, other INTEGER REFERENCES rights DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE rights(id INTEGER PRIMARY KEY, other INTEGER REFERENCES lefts DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE measures(key TEXT PRIMARY KEY, value REAL, raw BLOB) STRICT;
CREATE TABLE loose(a, b);
CREATE TABLE nulls(k TEXT PRIMARY KEY, v);
CREATE TABLE counted(table_name TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
CREATE TABLE stamped(id INTEGER PRIMARY KEY, v, stamp);
CREATE TABLE picky(id INTEGER PRIMARY KEY, v);
CREATE VIEW titles AS SELECT title FROM posts;
CREATE UNIQUE INDEX posts_title ON posts(user, lower(title)) WHERE title IS NOT NULL;
CREATE INDEX loose_b ON loose(b) WHERE b > 3;
CREATE VIRTUAL TABLE search USING fts5(title, body, content=posts, content_rowid=id);
CREATE VIRTUAL TABLE bare USING fts5(v, content='');
CREATE VIRTUAL TABLE memos USING fts5(memo, about UNINDEXED);
CREATE VIRTUAL TABLE places USING rtree(id, x0, x1, y0, y1, +name);
CREATE TRIGGER posts_in AFTER INSERT ON posts BEGIN
  INSERT INTO search(rowid, title, body) VALUES (new.id, new.title, new.body); END;
CREATE TRIGGER posts_out AFTER DELETE ON posts BEGIN
  INSERT INTO search(search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body); END;
CREATE TRIGGER posts_change AFTER UPDATE ON posts BEGIN
  INSERT INTO search(search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
  INSERT INTO search(rowid, title, body) VALUES (new.id, new.title, new.body); END;
CREATE TRIGGER measures_in AFTER INSERT ON measures BEGIN
  UPDATE counted SET n = n + 1 WHERE table_name = 'measures'; INSERT INTO bare(v) VALUES (new.key); END;
CREATE TRIGGER users_in AFTER INSERT ON users BEGIN INSERT INTO log(what) VALUES ('in ' || new.name); END;
CREATE TRIGGER users_out AFTER DELETE ON users BEGIN INSERT INTO log(what) VALUES ('out ' || old.name); END;
INSERT INTO counted VALUES ('measures', 0);
"""
STAMPER = "CREATE TRIGGER stamper AFTER INSERT ON stamped BEGIN UPDATE stamped SET stamp = 9 WHERE id = new.id; END;"
PICKY = "CREATE TRIGGER picky_in BEFORE INSERT ON picky WHEN new.v % 7 = 0 BEGIN SELECT RAISE(IGNORE); END;"
KEYS = {
    "users": "id", "posts": "id", "tags": "tag, post", "lefts": "id", "rights": "id", "measures": "key",
    "loose": "rowid", "nulls": "rowid", "log": "id", "stamped": "id", "picky": "id", "memos": "rowid", "places": "id",
}  # fmt: skip
# Triggers write here while rows are put back.
WRITTEN = {"log", "counted"}
Content = dict[str, dict[Any, Any]]


class History:
    """What an application does, drawn by chance."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.random = case, random.Random(seed)
        self.statements: list[str] = []

    def do(self, sql: str) -> None:
        """A statement that may be refused, as applications have it."""
        self.statements.append(sql)

    def commit(self) -> None:
        with self.case.open() as db:
            for sql in self.statements:
                try:
                    db.execute(sql)
                except sqlite3.Error as problem:
                    assert "constraint" in str(problem) or "no such table" in str(problem), (sql, problem)
        self.statements.clear()

    def fill(self, count: int, low: int = 1, high: int = 60) -> None:
        """Rows in all tables; new ones may meet the ids and the names of old ones."""
        pick = lambda: self.random.randint(low, high)  # noqa: E731
        for _n in range(count):
            self.do(f"INSERT INTO users(name, boss, seen) VALUES ('user {pick()}', NULL, {pick() / 7})")
            self.do(f"UPDATE users SET boss = (SELECT id FROM users WHERE id <> {pick()} ORDER BY random() LIMIT 1) "
                    f"WHERE id = {pick()}")  # fmt: skip
            self.do(f"INSERT INTO posts(id, user, title, body) SELECT {pick()}, id, 'title {pick()}', 'word{pick()} b' "
                    f"FROM users WHERE id >= {pick()} LIMIT 1")  # fmt: skip
            self.do(f"INSERT INTO tags SELECT id, 'tag {pick() % 5}' FROM posts WHERE id >= {pick()} LIMIT 2")
            number = pick()
            self.do(f"INSERT INTO lefts VALUES ({number}, NULL)")
            self.do(f"INSERT INTO rights VALUES ({number}, {number})")
            self.do(f"UPDATE lefts SET other = {number} WHERE id = {number}")
            self.do(f"INSERT INTO measures VALUES ('key {pick()}', {pick()} * 0.1, randomblob({pick()}))")
            self.do(f"INSERT INTO loose VALUES ({pick()}, {pick() % 6})")
            self.do(f"INSERT INTO nulls VALUES (CASE {pick()} % 2 WHEN 0 THEN 'k {pick()}' END, {pick()})")
            self.do(f"INSERT INTO stamped VALUES ({pick()}, {pick()}, {pick()})")
            self.do(f"INSERT INTO picky VALUES ({pick()}, {pick()})")
            self.do(f"INSERT INTO memos(memo, about) VALUES ('memo{pick()} x', {pick()})")
            self.do(f"INSERT INTO places VALUES ({pick()}, {pick()}, 90, {pick()}, 90, 'place {pick()}')")
        self.commit()

    def harm(self) -> None:
        """What somebody comes to regret."""
        for table in KEYS:
            kind = self.random.random()
            if kind < 0.4:
                self.do(f"DELETE FROM {table} WHERE rowid % {self.random.randint(2, 4)} = 1" if table != "tags" else
                        f"DELETE FROM tags WHERE post % {self.random.randint(2, 4)} = 1")  # fmt: skip
            elif kind < 0.5:
                self.do(f"DELETE FROM {table}")
        self.commit()
        for table in self.random.sample(sorted({*KEYS, "search", "counted"} - {"nulls"}), self.random.randint(0, 3)):
            made = self.case.rows(
                f"SELECT sql FROM sqlite_master WHERE name = '{table}' OR (tbl_name = '{table}' AND type = 'trigger')"
            )
            # As an application that has no foreign keys switched on: nothing cascades.
            self.case.run(f"PRAGMA foreign_keys=OFF; DROP TABLE IF EXISTS {table}")
            if self.random.random() < 0.3:
                self.case.run(";".join(row[0] for row in made))
                there = self.case.rows("SELECT count(*) FROM sqlite_master WHERE name IN ('posts', 'search')")
                if table in ("posts", "search") and there == [(2,)]:
                    self.case.run("INSERT INTO search(search) VALUES ('rebuild')")

    def change(self) -> None:
        """Work that goes on afterwards."""
        for table, column in (("users", "seen"), ("posts", "body"), ("measures", "value"), ("loose", "b"),
                              ("picky", "v"), ("memos", "about"), ("places", "name")):  # fmt: skip
            self.do(f"UPDATE {table} SET {column} = {self.random.randint(1, 9)} WHERE rowid % 11 = 3")
        self.commit()


def mend(db: sqlite3.Connection) -> None:
    """As an application that looks after its foreign keys. Triggers may name tables that are gone: without them."""
    if not db.execute("PRAGMA foreign_key_check").fetchone():
        return
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid").fetchall()
    for name, _sql in triggers:
        db.execute(f"DROP TRIGGER {name}")
    while found := db.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, parent, _number in found:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (parent,)).fetchone()
            lost = f"post NOT IN (SELECT id FROM {parent})" if there else "1"
            db.execute(f"DELETE FROM {table} WHERE {lost if rowid is None else f'rowid = {rowid}'}")
    for _name, sql in triggers:
        db.execute(sql)
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('posts', 'search')").fetchone() == (2,):
        db.execute("INSERT INTO search(search) VALUES ('rebuild')")


def content(case: Case, tables: tuple[str, ...]) -> Content:
    """Every row by its key; each value with its type."""
    found: Content = {}
    known = {row[0] for row in case.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    with case.open() as db:
        for table in tables:
            found[table] = {}
            if table not in known:
                continue
            for row in db.execute(f"SELECT {KEYS[table]}, '|', * FROM {table}"):
                cut = row.index("|")
                assert row[:cut] not in found[table], (table, row)
                found[table][row[:cut]] = [(type(value), value) for value in row[cut + 1 :]]
    return found


def compare(then: Content, now: Content, after: Content, done: Outcome, fire: bool) -> None:
    """Row by row."""
    told = {table.table: table for table in done.tables}
    for table, rows in then.items():
        found = told[table]
        if found.note:
            assert table in ("loose", "nulls"), (table, found.note)
            assert after[table] == now[table]
            continue
        missing = {key for key in rows if key not in now[table]}
        changed = {key for key in rows if key in now[table] and now[table][key] != rows[key]}
        assert (found.missing, found.changed) == (len(missing), len(changed)), (table, found)
        back = {key for key in missing if after[table].get(key) == rows[key]}
        assert found.put_back == len(back), (table, found)
        assert bool(found.conflicts) >= (len(back) < len(missing)), (table, found)
        for key in now[table]:
            assert after[table].get(key) == now[table][key], (table, key)
        others = set(after[table]) - set(now[table]) - back
        assert not others or (fire and table in WRITTEN), (table, others)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_everything_comes_back_or_is_told(in_memory: Path, seed: int) -> None:
    chance = random.Random(seed)
    strict = chance.random() < 0.3
    case = Case(in_memory, SCHEMA + (STAMPER + PICKY if strict else ""), chance.choice(("wal", "wal", "delete")))
    history = History(case, seed)
    history.fill(chance.randint(5, 40))
    moment = case.backup()
    tables = tuple(KEYS)
    then = content(case, tables)
    for _round in range(chance.randint(1, 3)):
        history.harm()
        if chance.random() < 0.8:
            history.fill(chance.randint(1, 10), high=chance.choice((60, 200)))
        history.change()
    if chance.random() < 0.3:
        case.run("VACUUM")
    with case.open() as db:
        db.execute("PRAGMA foreign_keys=OFF")
        mend(db)
    now, before = content(case, tables), case.dump()
    fire = chance.random() < 0.7
    wish: dict[str, Any] = {"triggers": "fire" if fire else "skip"}
    try:
        dry = case.undelete(moment, dry_run=True, **wish)
    except VerificationError as problem:
        assert fire, problem
        assert "triggers" in problem.what, problem
        assert case.dump() == before
        with pytest.raises(VerificationError):
            case.undelete(moment, **wish)
        assert case.dump() == before
        fire, wish = False, {"triggers": "skip"}
        dry = case.undelete(moment, dry_run=True, **wish)
    assert case.dump() == before
    done = case.undelete(moment, **wish)
    assert done == dry
    compare(then, now, content(case, tables), done, fire)
    case.check()
    # The full-text search finds each word of each post, and nothing else.
    words = Counter(row[0].split()[0] for row in case.rows("SELECT body FROM posts WHERE body LIKE 'word%'"))
    for word, number in words.items():
        assert case.rows(f"SELECT count(*) FROM search('{word}')") == [(number,)]
    before = case.dump()
    again = case.undelete(moment, **wish)
    assert again.put_back == 0
    assert not any(table.made_again for table in again.tables)
    if not (fire and again.triggers):
        assert case.dump() == before
