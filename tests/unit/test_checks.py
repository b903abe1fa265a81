from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from support import flip, make_database

from litekeep import checks
from litekeep.checks import Report
from litekeep.store import CancelledError


def make(path: Path, sql: str) -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(sql)
    return path


def check(path: Path) -> Report:
    return checks.check(str(path), threading.Event())


def test_a_sound_database_passes(events: Path) -> None:
    report = check(events)
    assert report.passed
    assert (report.integrity.result, report.integrity.messages) == ("ok", [])
    assert (report.foreign_keys.result, report.foreign_keys.messages) == ("ok", [])
    assert 0 < report.integrity.seconds < 60
    assert 0 < report.foreign_keys.seconds < 60


def test_the_fingerprint_says_what_the_content_is(events: Path) -> None:
    found = check(events).fingerprint
    assert found is not None
    assert (found.application_id, found.user_version, found.encoding) == (1234, 7, "UTF-8")
    assert found.page_size * found.page_count == events.stat().st_size
    assert found.rows == {"events": 200}


def test_a_flipped_page_fails_with_words(events: Path) -> None:
    flip(events, 4096 * 3, 300)
    report = check(events)
    assert not report.passed
    assert report.integrity.result == "failed"
    assert report.integrity.messages


def test_a_row_that_its_index_does_not_know_fails(tmp_path: Path) -> None:
    path = make(tmp_path / "x.db", "CREATE TABLE t(x); CREATE INDEX i ON t(x); INSERT INTO t VALUES('aaaa'), ('bbbb');")
    block = path.read_bytes()
    flip(path, block.rindex(b"aaaa"))
    report = check(path)
    assert not report.passed
    assert any("index i" in message for message in report.integrity.messages)
    assert report.fingerprint is not None


def test_a_file_that_is_no_database_fails_and_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, " * 512)
    report = check(tmp_path / "x.db")
    assert not report.passed
    assert "file is not a database" in report.integrity.messages[0]
    assert report.fingerprint is None


def test_a_truncated_database_fails_and_does_not_raise(events: Path) -> None:
    os.truncate(events, 4096 * 4 + 100)
    assert not check(events).passed


@pytest.mark.parametrize("page", range(1, 8))
def test_no_damaged_page_makes_the_checks_raise(tmp_path: Path, page: int) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=60)
    flip(path, (page - 1) * 4096 + (100 if page == 1 else 0), 60)
    report = check(path)
    assert not report.passed
    assert report.integrity.messages


def test_many_faults_are_bounded(tmp_path: Path) -> None:
    path = make(
        tmp_path / "x.db",
        "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)"
        "INSERT INTO t SELECT NULL FROM n; PRAGMA writable_schema=ON;"
        "UPDATE sqlite_master SET sql = 'CREATE TABLE t(x NOT NULL)';",
    )
    report = check(path)
    assert not report.passed
    assert len(report.integrity.messages) == 100


def test_a_row_against_a_check_constraint_is_the_applications_affair(tmp_path: Path) -> None:
    sql = "CREATE TABLE t(x CHECK(x < 5)); PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES(10);"
    assert check(make(tmp_path / "x.db", sql)).passed


CHILDREN = (
    "CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent(id));"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) INSERT INTO child SELECT i FROM n;"
)


def test_orphans_are_counted_by_table_pair_and_do_not_make_the_copy_unsound(tmp_path: Path) -> None:
    report = check(make(tmp_path / "x.db", CHILDREN.format(3)))
    assert report.passed
    assert (report.foreign_keys.result, report.foreign_keys.messages) == ("failed", ["child -> parent: 3"])


def test_a_thousand_orphans_are_enough(tmp_path: Path) -> None:
    report = check(make(tmp_path / "x.db", CHILDREN.format(1500)))
    assert report.foreign_keys.messages == ["child -> parent: 1000", "and more: 1"]


def test_a_foreign_key_onto_nothing_unique_is_reported_not_raised(tmp_path: Path) -> None:
    path = make(tmp_path / "x.db", "CREATE TABLE a(x); CREATE TABLE b(y REFERENCES a(x)); INSERT INTO b VALUES(1);")
    report = check(path)
    assert report.passed
    assert "foreign key mismatch" in report.foreign_keys.messages[0]
    assert report.foreign_keys.messages[0].endswith(": 1")


def test_every_ordinary_table_is_counted_whatever_its_name(tmp_path: Path) -> None:
    path = make(
        tmp_path / "x.db",
        """CREATE TABLE "a""b"(x); INSERT INTO "a""b" VALUES(1), (2);
        CREATE TABLE "ä; DROP TABLE t --"(x); CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID; INSERT INTO w VALUES(1);
        CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(words); INSERT INTO f VALUES('hello');""",
    )
    found = check(path).fingerprint
    assert found is not None
    assert {name: n for name, n in found.rows.items() if not name.startswith("f_")} == {
        'a"b': 2,
        "ä; DROP TABLE t --": 0,
        "w": 1,
    }
    assert "f" not in found.rows
    assert found.rows["f_content"] == 1


def test_a_schema_in_bytes_that_are_no_text_can_still_be_checked(tmp_path: Path) -> None:
    path = make(tmp_path / "x.db", "CREATE TABLE abcd(x DEFAULT 'efgh'); INSERT INTO abcd VALUES(1);")
    path.write_bytes(path.read_bytes().replace(b"abcd", b"a\xffcd").replace(b"efgh", b"e\xfegh"))
    report = check(path)
    assert report.fingerprint is not None
    assert report.fingerprint.rows == {"a�cd": None}


def test_the_schema_hash_depends_on_the_schema_and_on_nothing_else(tmp_path: Path) -> None:
    sql = "CREATE TABLE t(x); CREATE INDEX i ON t(x);"

    def schema(name: str, more: str) -> str:
        found = check(make(tmp_path / name, more)).fingerprint
        assert found is not None
        return found.schema_sha256

    first = schema("a.db", sql)
    assert (
        schema("b.db", "PRAGMA page_size=512; PRAGMA encoding='UTF-16';" + sql + "INSERT INTO t VALUES(1); VACUUM;")
        == first
    )
    assert schema("c.db", "CREATE TABLE t(x); CREATE INDEX i ON t(x DESC);") != first
    assert schema("d.db", "CREATE TABLE t(x);") != first
    assert schema("e.db", sql + "CREATE VIEW v AS SELECT 1;") != first


def test_rows_are_counted_only_when_asked_for(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events)) as db:
        assert checks.fingerprint_of(db, count_rows=False).rows == {}
        assert checks.fingerprint_of(db, count_rows=True).rows == {"events": 200}
        assert db.text_factory is str


def test_a_check_that_is_called_off_stops(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db", mode="delete", rows=20_000)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledError):
        checks.check(str(path), cancelled)


def test_a_checked_copy_gets_no_sidecars(events: Path) -> None:
    check(events)
    assert os.listdir(events.parent) == ["events.db"]


def test_a_result_in_json_has_rounded_seconds() -> None:
    assert checks.Outcome("ok", [], 1.23456).to_json() == {"result": "ok", "messages": [], "seconds": 1.235}
