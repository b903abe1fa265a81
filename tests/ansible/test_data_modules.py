# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for rows and for damage, as a playbook of the user's own calls them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT, flip, holding_open

from litekeep import config
from litekeep.config import Database
from litekeep.export import Request, export
from litekeep.progress import Progress
from litekeep.repository import Repository

COUNT = "SELECT count(*) FROM events"
MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))


def rows(path, statement=COUNT):
    with contextlib.closing(sqlite3.connect(path)) as application:
        return application.execute(statement).fetchone()[0]


def task(module, host, /, database=0, **more):
    """A task about one database. Capitals: options of the module; the others are keys of the database."""
    options = {key.lower(): more.pop(key) for key in list(more) if key.isupper()}
    options = {key: value.lower() if isinstance(value, str) else value for key, value in options.items()}
    keys = {key.rstrip("_"): value for key, value in more.items()}
    return {module: {"databases": [{**host.databases[database], **keys}], **host.where, **options}}


def answers(outcome):
    return [task["result"]["databases"][0] for task in outcome.tasks]


def checked(wish):
    """The same in check mode."""
    return {**wish, "check_mode": True}


@pytest.fixture
def short(host):
    """events has lost rows since the backup, changed one, and got another."""
    host.back_up()
    host.execute("DELETE FROM events WHERE id > 150")
    host.execute("UPDATE events SET kind = 'other' WHERE id = 7")
    host.execute("INSERT INTO events(id, kind) VALUES(1000, 'new')")
    host.backup = host.stored("events")[0].parent.name
    return host


def contents(host):
    """The bytes of all files but those that a reader of a database in WAL mode leaves behind."""
    found = {path: (inode, content) for path, (inode, _time, content) in host.tree().items() if Path(path).is_file()}
    return {path: each for path, each in found.items() if not path.endswith(("-wal", "-shm"))}


# The documents


def documents(name):
    """DOCUMENTATION of a module, without importing what only Ansible can."""
    text = (ROOT / "library" / f"{name}.py").read_text()
    return yaml.safe_load(text.split('DOCUMENTATION = r"""', 1)[1].split('"""', 1)[0])


def shared_options():
    """The options of ``databases`` that all modules have, as the code has them."""
    code = "import json; from scripts.litekeep_module import databases_option as o; print(json.dumps(o()['options']))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def test_what_all_modules_know_of_a_database_is_documented_alike():
    known = shared_options()
    reference = documents("sqlite_backup")["options"]["databases"]
    assert set(reference["suboptions"]) == set(known)
    # The one that runs on the controller and puts together what the others have found.
    for name in set(MODULES) - {"sqlite_audit_report"}:
        found = documents(name)["options"]["databases"]
        assert {**found, "suboptions": 0} == {**reference, "suboptions": 0}, name
        for key, option in known.items():
            said = found["suboptions"][key]
            assert said == reference["suboptions"][key], (name, key)
            assert {k: v for k, v in said.items() if k not in ("description", "suboptions")} == {
                k: v for k, v in option.items() if k != "options"
            }, (name, key)
            inner = option.get("options", {})
            assert set(said.get("suboptions", {})) == set(inner), (name, key)


def test_what_the_engine_knows_of_a_database_reaches_it_from_the_inventory():
    role = ROOT / "roles" / "sqlite_backup"
    handed_on = yaml.safe_load((role / "vars" / "main.yml").read_text())["__sqlite_backup_engine_keys"]
    assert set(handed_on) == set(config._DATABASE_KEYS)
    options = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(options["sqlite_backup_databases"]["options"]) == set(shared_options())


# sqlite_export


def test_export_predicts_what_it_then_does_and_never_overwrites(ansible, host, tmp_path):
    output = tmp_path / "events.jsonl"
    wishes = [
        task("sqlite_export", host, output=str(output), table="events"),
        task("sqlite_export", host, output=str(tmp_path / "all"), FORMAT="csv", ZSTD=True),
    ]
    before = contents(host)
    predicted = ansible.run(*wishes, check=True)
    assert contents(host) == before
    assert not output.exists()
    assert list((ansible.folder / "tmp").rglob("*")) == []
    outcome = ansible.run(*wishes, *wishes, checked(wishes[0]))
    for first, second in zip(answers(predicted), answers(outcome)):
        assert {**first, "moment": 0} == {**second, "moment": 0}
        assert first["changed"] is True
    assert predicted.tasks[0]["result"]["diff"] == outcome.tasks[0]["result"]["diff"]
    assert outcome.tasks[0]["result"]["diff"][0]["after"] == f"{output}: 200 rows of events\n"
    assert json.loads(output.read_text().splitlines()[0])["rows"] == 200
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["events.csv.zst"]
    expected = [f"{path} already exists" for path in (output, tmp_path / "all")]
    assert [answer["error"]["message"] for answer in answers(outcome)[2:]] == [*expected, expected[0]]


def test_export_of_a_range_of_a_former_state_and_of_what_came_after_it(ansible, short, tmp_path):
    wanted = {"table": "events", "from_": "2026-11-22T02:00:10Z", "to": "2026-11-22T03:00:20+01:00"}
    named = {**wanted, "time_columns": {"events": "timestamp"}}
    since = task("sqlite_export", short, output=str(tmp_path / "since"), since=short.backup)
    outcome = ansible.run(
        task("sqlite_export", short, output=str(tmp_path / "live.jsonl"), **named),
        task("sqlite_export", short, output=str(tmp_path / "then.jsonl"), at=short.backup, **named),
        task("sqlite_export", short, output=str(tmp_path / "told.jsonl"), time_column="timestamp", **wanted),
        checked(since),
        since,
        task("sqlite_export", short, output=str(tmp_path / "no.jsonl"), **wanted),
        task("sqlite_export", short, output=str(tmp_path / "both"), since=short.backup, table="events"),
    )
    inside = f"{COUNT} WHERE timestamp >= '2026-11-22T02:00:10' AND timestamp < '2026-11-22T02:00:20'"
    now, past, again = (answer["files"][0] for answer in answers(outcome)[:3])
    assert now["rows"] == again["rows"] == rows(short.events, inside) < past["rows"] == 40
    assert now["range"]["left_out"] == 1
    assert now["range"]["unit"].startswith("text such as 2026-11-22T02:00:")
    assert answers(outcome)[1]["state"] == short.backup
    for answer in answers(outcome)[3:5]:
        files = [*answer["files"], *answer["changed_rows"]]
        assert [(file["path"], file["rows"]) for file in files] == [
            (str(tmp_path / "since" / "events.jsonl"), 1),
            (str(tmp_path / "since" / "changed" / "events.jsonl"), 1),
        ]
        assert [(each["gone"], each["came"], each["changed"]) for each in answer["differences"]] == [(50, 1, 1)]
        assert answer["point"]["id"] == short.backup
    unnamed, both = (answer["error"]["message"] for answer in answers(outcome)[5:])
    assert unnamed == "Which column of events holds times is not known"
    assert "since exports all tables" in both


def test_export_needs_a_place_that_is_there(ansible, host, tmp_path):
    missing = task("sqlite_export", host, output=str(tmp_path / "missing" / "events.jsonl"), table="events")
    relative = task("sqlite_export", host, output="events.jsonl", table="events")
    outcome = ansible.run(checked(missing), missing, checked(relative), relative)
    assert [task["status"] for task in outcome.tasks] == ["ok", "failed", "failed", "failed"]
    assert "The real run fails unless it is made before" in str(outcome.tasks[0]["result"]["warnings"])
    assert "events: output is not an absolute path. Found: 'events.jsonl'" in outcome.failures[2]
    assert not (tmp_path / "missing").exists()


# sqlite_import


@pytest.fixture
def exported(short, tmp_path):
    """All rows of then in a file."""
    repository = Repository(short.where["repository"], short.where["host"])
    database = Database("events", str(short.events))
    request = Request(table="events", at=short.backup)
    export(repository, database, request, str(tmp_path / "then.jsonl"), Progress())
    return tmp_path / "then.jsonl"


def test_import_predicts_what_it_then_does(ansible, short, exported):
    def of_file(**more):
        return task("sqlite_import", short, files=[str(exported)], **more)

    ignored, replaced = of_file(CONFLICT="ignore"), of_file(CONFLICT="replace")
    aside, created = of_file(table="other"), of_file(table="events_of_then", CREATE=True)
    outcome = ansible.run(
        *(each for wish in (ignored, replaced, created) for each in (checked(wish), wish)),
        *(ignored, of_file(), checked(of_file()), aside),
    )
    *pairs, again, refused, predicted, missing = answers(outcome)
    for first, second, counts in zip(pairs[::2], pairs[1::2], [(50, 150, 0), (0, 0, 200), (200, 0, 0)]):
        assert {**first, "dry_run": 0, "summary": 0} == {**second, "dry_run": 0, "summary": 0}
        assert (first["dry_run"], second["dry_run"], second["changed"]) == (True, False, True)
        (file,) = second["files"]
        assert (file["inserted"], file["ignored"], file["replaced"]) == counts
        assert "would be inserted" in " ".join(first["summary"])
    assert pairs[-1]["files"][0]["created"] is True
    assert outcome.tasks[0]["result"]["diff"] == outcome.tasks[1]["result"]["diff"]
    # Rows that are there already are no change; rows that are written again are one.
    assert again["changed"] is False
    assert refused["error"] == predicted["error"]
    assert refused["error"]["message"].startswith(f"Row 1 of {exported} is in events already")
    assert missing["error"]["message"] == "events has no table 'other'"
    assert (rows(short.events), rows(short.events, "SELECT count(*) FROM events_of_then")) == (201, 200)
    assert rows(short.events, "SELECT kind FROM events WHERE id = 7") != "other"


def test_import_of_a_damaged_file_changes_nothing(ansible, short, exported):
    flip(exported, exported.stat().st_size - 30)
    before = contents(short)
    outcome = ansible.run(
        task("sqlite_import", short, files=[str(exported)], CONFLICT="replace"),
        task("sqlite_import", short, files=[str(exported.with_name("gone.jsonl"))]),
        task("sqlite_import", short, files=["then.jsonl"]),
        task("sqlite_import", short, files=[]),
    )
    first, second, third = (answer["error"]["message"] for answer in answers(outcome)[:3])
    assert first == f"{exported} is not what was exported"
    assert "gone.jsonl cannot be read" in second
    assert third == "events: files is not an absolute path"
    assert "files is an empty list" in str(outcome.last["warnings"])
    assert contents(short) == before


# sqlite_undelete


def test_undelete_predicts_what_it_then_does_and_a_second_run_changes_nothing(ansible, short):
    wish = task("sqlite_undelete", short, to=short.backup, tables=["events"])
    outcome = ansible.run(checked(wish), wish, wish)
    predicted, real, again = (task["result"] for task in outcome.tasks)
    for result in (predicted, real):
        (table,) = result["databases"][0]["tables"]
        # Of the second run, too: the first has taken everything back.
        assert (table["missing"], table["put_back"], table["changed"]) == (50, 50, 1)
        assert table["changed_keys"] == ["id=7"]
        assert result["changed"] is True
        (diff,) = result["diff"]
        assert (diff["before"], diff["after"]) == ("events: 50 rows missing\n", "events: 0 rows missing\n")
    assert "--dry-run" not in str(predicted["databases"][0]["summary"])
    assert "50 rows would be put back" in predicted["databases"][0]["summary"][0]
    assert again["changed"] is False
    assert "diff" not in again
    assert rows(short.events) == 201
    assert rows(short.events, "SELECT kind FROM events WHERE id = 7") == "other"


def test_undelete_makes_a_dropped_table_again(ansible, short):
    short.execute("DROP TABLE events")
    wish = task("sqlite_undelete", short, to=short.backup)
    for each in ansible.run(checked(wish), wish).tasks:
        assert each["result"]["databases"][0]["tables"][0]["made_again"] is True
        assert each["result"]["diff"][0]["before"] == "events: 200 rows missing, the table itself is gone\n"
    assert rows(short.events) == 200


def test_undelete_refuses_what_it_cannot_do_as_it_should_be(ansible, short):
    stamp = "UPDATE events SET kind = 'x' WHERE id = NEW.id"
    short.execute(f"CREATE TRIGGER stamp AFTER INSERT ON events BEGIN {stamp}; END")
    fire = task("sqlite_undelete", short, to=short.backup)
    skip = task("sqlite_undelete", short, to=short.backup, TRIGGERS="skip")
    outcome = ansible.run(
        checked(fire),
        fire,
        task("sqlite_undelete", short, to=short.backup, tables=["evnets"]),
        task("sqlite_undelete", short, to="2001-01-01T00:00:00Z"),
        skip,
    )
    predicted, real, unknown, early, skipped = answers(outcome)
    for answer in (predicted, real):
        assert "triggers change them" in answer["error"]["message"]
    assert unknown["error"]["message"] == "There was no table 'evnets' at that moment"
    assert early["error"]["exit_code"] == 4
    assert skipped["put_back"] == 50
    assert rows(short.events) == 201


# sqlite_triage and sqlite_repair


def break_page(path, of):
    """Garbage in the root page of a table or an index."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = application.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (of,)).fetchone()
    flip(path, (root - 1) * 4096, 4096)


def test_triage_says_what_is_wrong_and_damage_is_no_failure(ansible, host, tmp_path):
    break_page(host.events, "events_kind")
    break_page(host.orders, "events")
    gone = {"name": "gone", "path": str(tmp_path / "gone.db")}
    sound = {"name": "sound", "path": str(tmp_path / "sound.db")}
    with contextlib.closing(sqlite3.connect(sound["path"])) as application:
        application.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
    before = contents(host)
    wish = {"sqlite_triage": {"databases": [*host.databases, gone, sound], **host.where}}
    for each in ansible.run(checked(wish), wish).tasks:
        assert (each["status"], each["result"]["changed"]) == ("ok", False)
        found = each["result"]["databases"]
        assert [database["damage"] for database in found] == ["index", "pages", "missing", "sound"]
        assert found[3]["rows"] == {"t": 1}
        assert found[0]["messages"]
        assert found[0]["meaning"] in found[0]["summary"][0]
    assert contents(host) == before


def test_repair_makes_indexes_anew_and_keeps_what_it_replaces(ansible, short):
    break_page(short.events, "events_kind")
    damaged = short.events.read_bytes()
    wish = task("sqlite_repair", short, METHOD="reindex")
    with holding_open(short.events, "SELECT 1"):
        predicted, refused = ansible.run(checked(wish), wish).tasks
    assert predicted["status"] == "ok"
    assert predicted["result"]["databases"][0]["triage"]["damage"] == "index"
    assert predicted["result"]["databases"][0]["result"] is None
    assert "is in use by " in str(predicted["result"]["warnings"])
    assert refused["result"]["databases"][0]["error"]["kind"] == "in_use"
    assert short.events.read_bytes() == damaged
    real, back = ansible.run(wish, task("sqlite_restore", short, STATE="rolled_back")).tasks
    answer = real["result"]["databases"][0]
    for diff in (predicted["result"]["diff"][0], real["result"]["diff"][0]):
        assert diff["before"].splitlines()[0] == str(short.events)
        assert diff["after"].splitlines()[0] == f"{short.events}: a new file by reindex"
    assert answer["rows"] == {"events": 151}
    assert answer["against"] == short.backup
    assert [(each["gone"], each["came"], each["changed"]) for each in answer["differences"]] == [(50, 1, 1)]
    assert answer["result"]["quarantine"] == back["result"]["databases"][0]["plan"]["from"]
    mended = Path(back["result"]["databases"][0]["result"]["quarantine"]) / "events.db"
    assert rows(mended, "PRAGMA integrity_check") == "ok"
    assert short.events.read_bytes() == damaged


def test_repair_by_reindex_is_refused_where_rows_are_lost(ansible, short):
    break_page(short.events, "events")
    damaged = short.events.read_bytes()
    wish = task("sqlite_repair", short, METHOD="reindex")
    for answer in answers(ansible.run(checked(wish), wish)):
        assert answer["error"]["exit_code"] == 3
    assert short.events.read_bytes() == damaged


def test_repair_by_salvage_leaves_the_damaged_place_alone_when_it_has_a_target(ansible, short, tmp_path):
    target = tmp_path / "salvaged.db"
    wish = task("sqlite_repair", short, METHOD="salvage", target=str(target))
    before = short.tree()
    predicted, real, *taken = answers(ansible.run(checked(wish), wish, wish))
    assert (predicted["result"], predicted["changed"]) == (None, True)
    assert real["rows"] == {"events": 151}
    assert real["result"]["target"] == str(target)
    assert rows(target) == rows(short.events) == 151
    assert [answer["error"]["message"] for answer in taken] == [f"{target} already exists"]
    assert short.tree()[str(short.events)] == before[str(short.events)]


# sqlite_restore to: clean


def test_restore_to_the_newest_clean_state(ansible, short):
    newest = short.back_up("events")[0]
    flip(short.stored("events")[1], 500, 400)
    prepared = task("sqlite_restore", short, to="clean", STATE="prepared")
    wrong = task("sqlite_restore", short, to="clean", nearest=True)
    outcome = ansible.run(checked(prepared), prepared, task("sqlite_restore", short, to="clean"), wrong)
    planned, *done, refused = answers(outcome)
    assert "which state is clean shows when it is built" in str(outcome.tasks[0]["result"]["warnings"])
    assert (planned["plan"]["point"]["id"], planned["plan"]["refused"], planned["result"]) == (newest, [], None)
    for answer in done:
        assert answer["plan"]["point"]["id"] == answer["result"]["backup"] == short.backup
        assert len(answer["plan"]["refused"]) == 1
    assert [answer["result"]["swapped"] for answer in done] == [False, True]
    assert rows(short.events) == 200
    assert "to is clean" in refused["error"]["message"]


# sqlite_commits


def test_commits_name_the_state_before_rows_went(ansible, host):
    with host.archiving():
        host.execute("INSERT INTO events(kind) VALUES('last')")
        before = host.moment()
        host.execute("DELETE FROM events WHERE id > 50")
        host.moment()
        host.execute("INSERT INTO events(kind) VALUES('after')")
        after = host.moment()
    look = task("sqlite_commits", host, around=before, within="1m")
    point = "{{ commits.databases[0].falls[0].before.point }}"
    outcome = ansible.run(
        checked(look),
        {**look, "register": "commits"},
        task("sqlite_undelete", host, to=point),
        task("sqlite_commits", host, around="2001-01-01T00:00:00Z"),
        task("sqlite_commits", host, around=before, within="1 minute"),
        task("sqlite_restore", host, to="clean", STATE="prepared"),
    )
    predicted, real, undeleted, outside, wrong, clean = answers(outcome)
    assert predicted == real
    assert [task["result"]["changed"] for task in outcome.tasks] == [False, False, True, False, False, True]
    # Up to the end of what is proven, not only up to the last commit.
    assert clean["plan"]["point"]["recovered"] == host.listing()["windows"][-1]["to"]
    (fall,) = real["falls"]
    assert (fall["table"], fall["rows"], fall["gone"]) == ("events", 151, False)
    assert fall["before"]["rows"] == {"events": 201}
    assert real["from"] <= before < fall["after"]["observed"] <= after
    # The row that came after took the number of one that was lost.
    assert undeleted["put_back"] == 150
    assert outside["error"]["exit_code"] == 4
    assert wrong["error"]["message"] == "events: within is not a duration"
