"""Undelete: what was there and is not, comes back as it was; what is there stays; everything else is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import flip, run_python
from undeleting import Case

from litekeep import putback, undelete, writing
from litekeep.errors import BusyError, LitekeepError, NoRestorePointError, SourceError, UsageError, VerificationError

USERS = """
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, boss INTEGER REFERENCES users);
CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, body TEXT);
INSERT INTO users VALUES (1, 'ann', 2), (2, 'bob', 1), (3, 'cid', 1);
INSERT INTO posts VALUES (10, 1, 'hello'), (11, 2, 'world'), (12, 3, 'again');
"""
SEARCH = """
CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT);
CREATE VIRTUAL TABLE search USING fts5(body, content=notes, content_rowid=id);
CREATE TRIGGER note_in AFTER INSERT ON notes BEGIN INSERT INTO search(rowid, body) VALUES (new.id, new.body); END;
CREATE TRIGGER note_out AFTER DELETE ON notes
  BEGIN INSERT INTO search(search, rowid, body) VALUES ('delete', old.id, old.body); END;
INSERT INTO notes VALUES (1, 'apples and pears'), (2, 'plums'), (3, 'pears');
"""


@pytest.fixture
def make(in_memory: Path) -> Callable[..., Case]:
    """A database of this schema, with a backup of its present state."""

    def case(schema: str, mode: str = "wal", **policy: Any) -> Case:
        found = Case(in_memory, schema, mode, **policy)
        found.backup()
        return found

    return case


def unchanged(case: Case, error: type[LitekeepError], **wish: Any) -> LitekeepError:
    """Undelete refuses, and nothing is other than before."""
    before = case.dump()
    with pytest.raises(error) as caught:
        case.undelete(**wish)
    assert case.dump() == before
    return caught.value


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_rows_come_back_with_those_that_they_point_to(make: Callable[..., Case], mode: str) -> None:
    case = make(USERS, mode)
    then = case.rows("SELECT * FROM users"), case.rows("SELECT * FROM posts")
    case.run("PRAGMA foreign_keys=OFF; DELETE FROM users WHERE id < 3; DELETE FROM posts WHERE id < 12")
    case.run("INSERT INTO users VALUES (9, 'new', 3)")
    done = case.undelete()
    assert done.put_back == 4
    assert (case.rows("SELECT * FROM users WHERE id < 9"), case.rows("SELECT * FROM posts")) == then
    assert case.rows("SELECT * FROM users WHERE id = 9") == [(9, "new", 3)]
    case.check()
    before = case.dump()
    assert case.undelete().put_back == 0
    assert case.dump() == before


def test_a_dry_run_says_what_would_be_and_changes_nothing(make: Callable[..., Case]) -> None:
    case = make(USERS)
    case.run("DROP TABLE posts; INSERT INTO users VALUES (9, 'new', 3)")
    before = case.dump()
    dry = case.undelete(dry_run=True)
    assert case.dump() == before
    assert dry == case.undelete()
    assert [(t.table, t.missing, t.put_back, t.made_again) for t in dry.tables] == [
        ("users", 0, 0, False),
        ("posts", 3, 3, True),
    ]
    assert dry.tables[1].sample[0] == "id=10, user=1, body=hello"


def test_what_is_there_is_never_overwritten(make: Callable[..., Case]) -> None:
    case = make(USERS)
    case.run("DELETE FROM posts WHERE id = 10; UPDATE posts SET body = 'mine' WHERE id = 11")
    found = case.table("posts")
    assert (found.missing, found.put_back, found.changed, found.changed_keys) == (1, 1, 1, ["id=11"])
    assert case.rows("SELECT body FROM posts ORDER BY id") == [("hello",), ("mine",), ("again",)]


def test_a_value_that_is_taken_by_now_is_a_conflict_and_so_is_what_points_to_it(make: Callable[..., Case]) -> None:
    case = make(USERS)
    case.run("DELETE FROM posts; DELETE FROM users WHERE id = 3; INSERT INTO users VALUES (7, 'CID', NULL)")
    users, posts = case.undelete().tables
    assert users.conflicts == ["id=3: UNIQUE constraint failed: users.name"]
    assert (posts.missing, posts.put_back) == (3, 2)
    assert posts.conflicts == ["id=12: it points to a row of users that is not there"]
    case.check()
    before = case.dump()
    assert case.undelete().put_back == 0
    assert case.dump() == before


def test_a_constraint_that_came_later_keeps_rows_out_one_by_one(make: Callable[..., Case]) -> None:
    values = ", ".join(f"({n}, {-1 if n in (5, 77) else n})" for n in range(100))
    case = make(f"CREATE TABLE t(id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES {values}")
    case.run("DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, n CHECK (n >= 0)); INSERT INTO t VALUES (1, 1)")
    found = case.table("t")
    assert (found.missing, found.put_back) == (99, 97)
    assert [line.split(":")[0] for line in found.conflicts] == ["id=5", "id=77"]
    assert "CHECK" in found.conflicts[0]


def test_a_constraint_that_refuses_nearly_all_ends_it(
    make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(putback, "_REFUSED", 10)
    values = ", ".join(f"({n}, -1)" for n in range(50))
    case = make(f"CREATE TABLE t(id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES {values}")
    case.run("DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, n CHECK (n >= 0))")
    assert "CHECK" in unchanged(case, VerificationError).found


def test_only_asked_for_tables_are_touched_and_none_may_point_nowhere(make: Callable[..., Case]) -> None:
    case = make(USERS)
    case.run("DELETE FROM users WHERE id = 3")
    problem = unchanged(case, VerificationError, tables=("POSTS",))
    assert problem.found == "1 rows to users"
    assert case.undelete(tables=("POSTS",), foreign_keys=False).put_back == 1
    assert case.rows("SELECT count(*) FROM users") == [(2,)]
    assert case.undelete(tables=("users", "posts")).put_back == 1
    case.check()


def test_many_rows_that_point_nowhere_end_it(make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(putback, "_DANGLING", 1)
    case = make(USERS + "INSERT INTO posts VALUES (13, 3, ''), (14, 3, '')")
    case.run("DELETE FROM users WHERE id = 3; INSERT INTO users VALUES (7, 'CID', NULL)")
    assert "more than 1 rows" in unchanged(case, VerificationError).found


def test_a_table_of_then_that_is_unknown_is_a_wrong_word(make: Callable[..., Case]) -> None:
    problem = unchanged(make(USERS), UsageError, tables=("nosuch",))
    assert problem.expected == "one of: users, posts"


def test_a_dropped_table_comes_back_with_indexes_triggers_and_its_last_id(make: Callable[..., Case]) -> None:
    schema = """
    CREATE TABLE log(what);
    CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b AS (a || '!') STORED, c AS (a || '?'));
    CREATE UNIQUE INDEX t_a ON t(a) WHERE a > 'b'; CREATE INDEX t_low ON t(lower(a));
    CREATE TRIGGER t_in AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.id); END;
    INSERT INTO t(id, a) VALUES (1, 'a'), (2, 'b'), (50, 'c'); DELETE FROM t WHERE id = 50;
    CREATE TABLE empty(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO empty VALUES (8); DELETE FROM empty;
    """
    case = make(schema)
    before = case.dump()
    case.run("DROP TABLE t; DROP TABLE empty")
    done = case.undelete()
    assert [t.table for t in done.tables if t.made_again] == ["t", "empty"]
    assert sorted(case.dump().splitlines()) == sorted(before.splitlines())
    case.run("INSERT INTO t(a) VALUES ('z'); INSERT INTO empty DEFAULT VALUES")
    assert case.rows("SELECT max(id) FROM t") == [(51,)]
    assert case.rows("SELECT id FROM empty") == [(9,)]


def test_names_that_are_taken_by_now_are_told(make: Callable[..., Case]) -> None:
    case = make(USERS + "CREATE INDEX by_body ON posts(body); CREATE TABLE t(a); CREATE TABLE v(a); CREATE TABLE i(a)")
    case.run("DROP TABLE posts; DROP TABLE v; DROP TABLE i; CREATE VIEW v AS SELECT 1; CREATE INDEX i ON users(boss)")
    case.run("CREATE INDEX by_body ON users(boss)")
    found = {table.table: table for table in case.undelete().tables}
    assert found["posts"].put_back == 3
    assert found["posts"].conflicts == ["index by_body: index by_body already exists"]
    assert found["v"].note.startswith("its name belongs to a view now")
    assert found["i"].note.startswith("its name belongs to an index now")


def test_a_renamed_table_is_not_made_twice(make: Callable[..., Case]) -> None:
    case = make(USERS)
    case.run("ALTER TABLE posts RENAME TO articles")
    found = case.table("posts")
    assert "it is called articles now" in found.note
    assert "posts" not in dict(case.rows("SELECT name, 1 FROM sqlite_master"))
    assert case.undelete(tables=("posts",)).put_back == 3


def test_a_column_that_came_has_its_default_and_one_that_went_leaves_the_table_alone(
    make: Callable[..., Case],
) -> None:
    case = make(USERS + "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x')")
    case.run("ALTER TABLE posts ADD COLUMN stars INTEGER NOT NULL DEFAULT 3; DELETE FROM posts WHERE id = 10")
    case.run("ALTER TABLE t RENAME COLUMN a TO b; DELETE FROM t")
    found = {table.table: table for table in case.undelete().tables}
    assert found["posts"].put_back == 1
    assert case.rows("SELECT stars FROM posts WHERE id = 10") == [(3,)]
    assert re.fullmatch(
        r"it has no column a any more; to see its rows of then: litekeep export events --table 't' --at \S+",
        found["t"].note,
    )
    assert case.rows("SELECT * FROM t") == []


def test_another_key_or_another_type_leaves_the_table_alone(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE k(a PRIMARY KEY, b); CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"
                "INSERT INTO k VALUES (1, 2); INSERT INTO t VALUES (1, '07'), (2, 'x')")  # fmt: skip
    case.run("DROP TABLE k; CREATE TABLE k(a, b PRIMARY KEY)")
    case.run("DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER)")
    k, t = case.undelete().tables
    assert k.note.startswith('its key was "a" and is "b"')
    assert t.note.startswith("its columns are others now: 1 rows would not be what they were")
    assert case.rows("SELECT count(*) FROM t") == [(0,)]


def test_generated_columns_follow_even_when_they_became_ordinary(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b AS (a * 2) STORED); INSERT INTO t(id, a) VALUES (1, 4)")
    case.run("DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)")
    assert case.undelete().put_back == 1
    assert case.rows("SELECT * FROM t") == [(1, 4, 8)]


def test_rows_without_a_key_are_told_by_their_rowid_unless_vacuum_renumbered_them(make: Callable[..., Case]) -> None:
    values = ", ".join(f"('v{n}')" for n in range(20))
    case = make(f"CREATE TABLE t(a); INSERT INTO t VALUES {values}")
    case.run("DELETE FROM t WHERE rowid IN (1, 2, 3, 15)")
    assert case.undelete().put_back == 4
    # Where the first half went, none of its rows is found anywhere: only the survivors tell.
    case.run("DELETE FROM t WHERE rowid <= 10; VACUUM; INSERT INTO t VALUES ('new')")
    assert case.rows("SELECT min(rowid), max(rowid) FROM t") == [(1, 11)]
    found = case.table("t")
    assert found.note.startswith("its rows have no key but the rowid, and VACUUM has given them others")
    assert case.rows("SELECT count(*), count(DISTINCT a) FROM t") == [(11, 11)]


def test_keys_that_hold_null_do_not_multiply_rows(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES (NULL, 1), (NULL, 1), (NULL, 2), ('k', 3)")
    then = case.rows("SELECT * FROM t")
    case.run("DELETE FROM t WHERE v = 1")
    assert case.undelete().put_back == 2
    case.run("DELETE FROM t")
    assert case.undelete().put_back == 4
    assert case.rows("SELECT * FROM t") == then
    case.run("DROP TABLE t")
    assert case.undelete().put_back == 4
    assert case.rows("SELECT * FROM t") == then


def test_a_table_whose_rows_nothing_tells_apart_is_left_alone(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE t(rowid, oid, _rowid_); INSERT INTO t VALUES (1, 2, 3)")
    case.run("DELETE FROM t")
    assert "neither a primary key" in case.table("t").note
    case.run("DROP TABLE t")
    assert "neither a primary key" in case.table("t").note
    assert case.rows("SELECT * FROM sqlite_master") == []


def test_tables_without_rowid_strict_ones_and_odd_names(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE "we ird""t" ("a b" TEXT COLLATE NOCASE, "select" BLOB, PRIMARY KEY ("a b", "select")) WITHOUT ROWID;
    CREATE TABLE s(k TEXT PRIMARY KEY, v REAL, "{0}" INT) STRICT;
    INSERT INTO "we ird""t" VALUES ('A', x'00'), ('a', 'x'), ('b', NULLIF(1, 2));
    INSERT INTO s VALUES ('x', 1.5, 3), ('y', -0.0, NULL);
    """)
    then = case.rows('SELECT * FROM "we ird""t"'), case.rows("SELECT * FROM s")
    case.run('DELETE FROM "we ird""t" WHERE "a b" = \'a\'; DELETE FROM s')
    assert case.undelete().put_back == 4
    assert (case.rows('SELECT * FROM "we ird""t"'), case.rows("SELECT * FROM s")) == then


def test_triggers_fire_and_may_not_change_what_comes_back(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE t(id INTEGER PRIMARY KEY, a, stamp); CREATE TABLE count(n); INSERT INTO count VALUES (0);
    CREATE TRIGGER t_count AFTER INSERT ON t BEGIN UPDATE count SET n = n + 1; END;
    CREATE TRIGGER t_out AFTER DELETE ON t BEGIN UPDATE count SET n = n - 1; END;
    INSERT INTO t VALUES (1, 'x', 'old'), (2, 'y', 'old');
    """)
    case.run("DELETE FROM t")
    done = case.undelete()
    assert (done.put_back, done.triggers, done.others) == (2, ("t_count",), 2)
    assert case.rows("SELECT n FROM count") == [(2,)]
    case.run("DELETE FROM t; CREATE TRIGGER t_stamp AFTER INSERT ON t BEGIN UPDATE t SET stamp = 'new'; END")
    problem = unchanged(case, VerificationError)
    assert problem.what == "2 rows of t would not be what they were: triggers change them"
    assert unchanged(case, VerificationError, dry_run=True).what == problem.what
    done = case.undelete(triggers="skip")
    assert (done.put_back, done.triggers, done.others) == (2, (), 0)
    assert case.rows("SELECT stamp, n FROM t, count") == [("old", 0), ("old", 0)]
    assert len(case.rows("SELECT 1 FROM sqlite_master WHERE type = 'trigger'")) == 3


@pytest.mark.parametrize("refusal", ["RAISE(IGNORE)", "RAISE(ABORT, 'no')", "RAISE(FAIL, 'no')"])
def test_rows_that_a_trigger_keeps_out_are_no_conflict(make: Callable[..., Case], refusal: str) -> None:
    case = make(f"""
    CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');
    CREATE TRIGGER t_in BEFORE INSERT ON t WHEN new.a = 'y' BEGIN SELECT {refusal}; END;
    """)
    case.run("DELETE FROM t; INSERT INTO t VALUES (8, 'z')")
    assert unchanged(case, VerificationError).what == "1 rows of t would stay out: triggers keep them out"
    found = case.table("t", triggers="skip")
    assert (found.missing, found.put_back, found.conflicts) == (3, 2, ["id=3: UNIQUE constraint failed: t.a"])


def test_a_trigger_that_takes_everything_back_ends_it(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);
    CREATE TRIGGER t_in BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'never'); END;
    """)
    case.run("DELETE FROM t WHERE id = 2")
    assert unchanged(case, SourceError).found == "never"


def test_what_triggers_write_to_comes_first(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE log(id INTEGER PRIMARY KEY, what);
    CREATE TRIGGER a_in AFTER INSERT ON a BEGIN INSERT INTO log(what) VALUES ('in ' || new.id); END;
    INSERT INTO a VALUES (1), (2);
    """)
    case.run("DELETE FROM a; DELETE FROM log")
    assert case.undelete().put_back == 4
    assert case.rows("SELECT * FROM log") == [(1, "in 1"), (2, "in 2"), (3, "in 1"), (4, "in 2")]


@pytest.mark.parametrize("triggers", ["fire", "skip"])
@pytest.mark.parametrize(
    "deletion",
    [
        "DELETE FROM notes WHERE id <> 2",
        "DROP TABLE notes",
        "DROP TABLE search; DROP TRIGGER note_in; DROP TRIGGER note_out; DELETE FROM notes",
        "DROP TABLE notes; DROP TABLE search",
        "DROP TRIGGER note_in; DELETE FROM notes",
    ],
)
def test_the_full_text_search_finds_what_came_back(make: Callable[..., Case], triggers: str, deletion: str) -> None:
    case = make(SEARCH)
    case.run(deletion)
    case.undelete(triggers=triggers)
    assert case.rows("SELECT rowid FROM search('pears') ORDER BY rowid") == [(1,), (3,)]
    assert case.rows("SELECT id FROM notes") == [(1,), (2,), (3,)]
    case.check()


def test_indexes_over_views_are_made_anew(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE notes(id INTEGER PRIMARY KEY, body); CREATE VIEW loud AS SELECT id, upper(body) AS body FROM notes;
    CREATE VIRTUAL TABLE search USING fts5(body, content=loud, content_rowid=id);
    INSERT INTO notes VALUES (1, 'apples'), (2, 'pears'); INSERT INTO search(search) VALUES ('rebuild');
    """)
    case.run("DELETE FROM notes WHERE id = 2; INSERT INTO search(search) VALUES ('rebuild')")
    assert case.undelete().put_back == 1
    assert case.rows("SELECT rowid FROM search('pears')") == [(2,)]


def test_tables_of_modules_come_back(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE VIRTUAL TABLE own USING fts5(a, b UNINDEXED); CREATE VIRTUAL TABLE old USING fts4(a);
    CREATE VIRTUAL TABLE places USING rtree(id, x0, x1, +name);
    INSERT INTO own(rowid, a, b) VALUES (5, 'one', 1), (9, 'two', x'00'); INSERT INTO old VALUES ('three');
    INSERT INTO places VALUES (3, 0.5, 1, 'p'), (4, 5, 6, 'q');
    """)
    tables = ("own", "old", "places")
    then = [case.rows(f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in tables]
    case.run("DELETE FROM own WHERE rowid = 5; DELETE FROM old; DELETE FROM places WHERE id = 3")
    assert case.undelete().put_back == 3
    assert [case.rows(f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in tables] == then
    case.run("DROP TABLE own; DROP TABLE old; DROP TABLE places")
    assert case.undelete(dry_run=True).put_back == 5
    assert case.undelete().put_back == 5
    assert [case.rows(f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in tables] == then
    assert case.rows("SELECT rowid FROM own('one')") == [(5,)]
    case.check()


def test_an_index_without_content_is_told(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE notes(id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE bare USING fts5(body, content='');
    CREATE TRIGGER note_in AFTER INSERT ON notes BEGIN INSERT INTO bare(rowid, body) VALUES (new.id, new.body); END;
    INSERT INTO notes VALUES (1, 'apples');
    """)
    case.run("DELETE FROM notes")
    assert "the index bare" in case.table("notes", triggers="skip", dry_run=True).conflicts[0]
    assert case.undelete().put_back == 1
    assert case.rows("SELECT rowid FROM bare('apples')") == [(1,)]
    case.run("DROP TABLE bare")
    found = case.table("bare")
    assert (found.made_again, found.put_back) == (True, 0)
    assert "only the application can fill it again" in found.conflicts[0]


def elsewhere(case: Case, sql: str) -> None:
    """SQL of the application while the engine has the database open."""
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).executescript(sys.argv[2])"
    run_python(code, case.path, sql)


def test_rows_that_came_between_the_look_and_the_lock_stay(
    make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(USERS)
    case.run("DELETE FROM posts")
    real = undelete.transaction

    def late(*arguments: Any, **named: Any) -> Any:
        elsewhere(case, "INSERT INTO posts VALUES (10, 1, 'hello'), (11, 1, 'mine')")
        return real(*arguments, **named)

    monkeypatch.setattr(undelete, "transaction", late)
    found = case.table("posts")
    assert (found.missing, found.put_back, found.changed) == (1, 1, 1)
    assert case.rows("SELECT body FROM posts ORDER BY id") == [("hello",), ("mine",), ("again",)]


def test_a_schema_that_changes_meanwhile_ends_it(make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(USERS)
    case.run("DELETE FROM posts")
    real = undelete.transaction

    def late(*arguments: Any, **named: Any) -> Any:
        elsewhere(case, "CREATE TABLE another(a)")
        return real(*arguments, **named)

    monkeypatch.setattr(undelete, "transaction", late)
    with pytest.raises(BusyError, match="changed while it was compared"):
        case.undelete()
    assert case.rows("SELECT count(*) FROM posts") == [(0,)]


def test_damage_is_found_before_anything_is_written(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)", "delete")
    case.run("DELETE FROM t WHERE k = 'a'")
    with case.open() as db:
        # The index no longer knows the row b, which is there: without a look it would come twice.
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex%'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(case.path.read_bytes())
    at = content.index(b"b", (page - 1) * size)
    content[at : at + 1] = b"x"
    case.path.write_bytes(content)
    with pytest.raises(VerificationError, match=r"The table t of .* is damaged"):
        case.undelete()
    assert case.path.read_bytes() == bytes(content)


def test_an_unreadable_database_is_damage_in_words(make: Callable[..., Case]) -> None:
    case = make(USERS, "delete")
    flip(case.path, 4096, 4096)
    with pytest.raises(VerificationError, match="is damaged"):
        case.undelete()


def test_moments_that_are_not_there_and_databases_that_are_not_there(make: Callable[..., Case]) -> None:
    case = make(USERS)
    with pytest.raises(NoRestorePointError):
        case.undelete("2001-01-01T00:00:00Z")
    case.path.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        case.undelete()


def test_all_work_under_the_lock_starts_from_what_is_missing(
    make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(
        USERS
        + SEARCH
        + """
    CREATE TABLE w(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO w VALUES (1, 2), (3, 4);
    CREATE TABLE k(a TEXT PRIMARY KEY); INSERT INTO k VALUES ('x');
    """
    )
    case.run("DELETE FROM users WHERE id = 3; DELETE FROM w; DELETE FROM k; DELETE FROM notes WHERE id = 3")
    said: list[str] = []
    plans: list[tuple[str, str]] = []
    real = putback.PutBack.run

    def traced(work: putback.PutBack) -> None:
        work.connection.set_trace_callback(said.append)
        try:
            real(work)
        finally:
            work.connection.set_trace_callback(None)
        for sql in said:
            if sql.startswith(("SELECT", "INSERT", "DELETE")) and "litekeep missing" in sql:
                plans.extend((row[3], sql) for row in work.connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())

    monkeypatch.setattr(putback.PutBack, "run", traced)
    assert case.undelete(triggers="skip").put_back == 6
    scans = {plan.replace("TABLE ", "") for plan, _sql in plans if plan.startswith("SCAN")}
    assert len(plans) > 20
    assert scans <= {"SCAN m", "SCAN litekeep missing 0"} | {plan for plan in scans if "VIRTUAL" in plan}, scans


def test_a_table_of_a_module_that_only_the_application_has_is_left_alone(in_memory: Path) -> None:
    case = Case(in_memory, USERS)
    with case.open() as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, 'CREATE VIRTUAL TABLE x USING nosuch(a)')")
    case.backup()
    case.run("DELETE FROM posts")
    found = {table.table: table for table in case.undelete().tables}
    assert found["x"].note.startswith("only the application can read it: no such module: nosuch")
    assert found["posts"].put_back == 3
    case.run("PRAGMA writable_schema=ON; DELETE FROM sqlite_master WHERE name = 'x'")
    assert "no such module" in case.table("x", tables=("x",)).note


def test_what_a_schema_says_of_conflicts_overwrites_nothing(make: Callable[..., Case]) -> None:
    case = make("""
    CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, a UNIQUE ON CONFLICT REPLACE,
      b NOT NULL ON CONFLICT IGNORE, UNIQUE (b) ON CONFLICT ROLLBACK);
    INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2), (3, 'z', 3);
    """)
    case.run("DELETE FROM t; INSERT INTO t VALUES (8, 'x', 80), (9, 'w', 2)")
    found = case.table("t")
    assert (found.missing, found.put_back) == (3, 1)
    assert found.conflicts == ["id=1: UNIQUE constraint failed: t.a", "id=2: UNIQUE constraint failed: t.b"]
    assert case.rows("SELECT * FROM t ORDER BY id") == [(3, "z", 3), (8, "x", 80), (9, "w", 2)]


def test_a_row_of_nothing_but_null_that_stays_out_is_not_taken_for_there(make: Callable[..., Case]) -> None:
    case = make("CREATE TABLE t(a); INSERT INTO t VALUES (NULL), (1)")
    case.run("DROP TABLE t; CREATE TABLE t(a CHECK (a IS NOT NULL))")
    found = case.table("t")
    assert (found.missing, found.put_back, len(found.conflicts)) == (2, 1, 1)


def test_a_dry_run_looks_at_no_more_than_what_is_missing(
    make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(SEARCH)
    case.run("DELETE FROM notes")
    monkeypatch.setattr(writing, "_require_whole", lambda *_arguments: pytest.fail("it looks at all foreign keys"))
    assert case.undelete(dry_run=True).put_back == 3
