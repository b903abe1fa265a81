# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules, as a playbook of the user's own calls them."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import textwrap
from pathlib import Path

import pytest
from offhost import folder_remote
from support import flip, holding_open

from litekeep import remoteanswers
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository

MODULES = ["sqlite_backup", "sqlite_backup_info", "sqlite_database_info", "sqlite_verify", "sqlite_restore"]
# The keys of a database that each of these needs, and its own options. sqlite_commits needs an archive to begin with.
DATA_MODULES = {
    "sqlite_export": ({"output": "/nonexistent/output"}, {}),
    "sqlite_import": ({"files": ["/nonexistent/file"]}, {}),
    "sqlite_undelete": ({"to": "latest"}, {}),
    "sqlite_triage": ({}, {}),
    "sqlite_repair": ({}, {"method": "reindex"}),
    "sqlite_commits": ({"around": "2001-01-01T00:00:00Z"}, {}),
}


def where(module, host):
    return {} if module == "sqlite_database_info" else {**host.where, **DATA_MODULES.get(module, ({}, {}))[1]}


def asked(module, databases):
    """The databases with what the module needs to know of each."""
    return [{**database, **DATA_MODULES.get(module, ({}, {}))[0]} for database in databases]


# What all modules have in common


def test_one_database_that_fails_does_not_stop_the_others_and_is_named(ansible, host):
    host.back_up()
    gone = {"name": "gone", "path": str(host.folder / "data" / "evnets.db")}
    beside = [{**database, "target": database["path"] + ".restored"} for database in [gone, *host.databases]]
    outcome = ansible.run(
        {"sqlite_backup": {"databases": [gone, *host.databases], **host.where}},
        {"sqlite_database_info": {"databases": [gone, *host.databases]}},
        {"sqlite_verify": {"databases": [gone, *host.databases], **host.where}},
        {"sqlite_restore": {"databases": beside, **host.where}},
    )
    assert len(outcome.failures) == 4
    for result in (task["result"] for task in outcome.tasks):
        first, *others = result["databases"]
        assert first["error"]["exit_code"] in (4, 8)
        assert [(other["database"], "error" in other) for other in others] == [("events", False), ("orders", False)]
        said = result["msg"]
        assert said.startswith("gone: " + first["error"]["message"])
        assert first["error"]["next"] in said
        assert "orders:" not in said
    assert (host.folder / "data" / "orders.db.restored").exists()
    assert sorted(path.name for path in host.folder.rglob("evnets*")) == []


def test_backup_info_names_the_database_whose_backups_cannot_be_read(ansible, host):
    host.back_up()
    gone = {"name": "gone", "path": str(host.events)}
    (host.folder / "repository" / "app1" / "gone").mkdir()
    (host.folder / "repository" / "app1" / "gone" / "backups").write_text("")
    outcome = ansible.run({"sqlite_backup_info": {"databases": [gone, *host.databases], **host.where}})
    assert [database.get("healthy") for database in outcome.last["databases"]] == [None, True, True]
    assert outcome.last["msg"].startswith("gone: The repository ")


def test_a_misspelt_key_is_refused_before_anything_is_done(ansible, host):
    before = host.tree()
    typos = {
        "compresion_level": {"compresion_level": 3},
        "objectives -> rt": {"objectives": {"rpo": "1h", "rt": "1h"}},
        "archive_settings -> heart": {"archive_settings": {"heart": "1s"}},
    }
    # A key of one module is a typo in the others.
    names = [(module, word) for module in MODULES for word in typos] + [("sqlite_backup", "to")]
    names += [(module, "compresion_level") for module in DATA_MODULES]

    def misspelt(module, word):
        first, second = asked(module, host.databases)
        return [first, {**second, **typos.get(word, {"to": "x"})}]

    outcome = ansible.run(
        *({module: {"databases": misspelt(module, word), **where(module, host)}} for module, word in names)
    )
    assert [task["result"]["msg"].split(": ")[0] for task in outcome.tasks] == [
        f"Unsupported parameters for ({module}) module" for module, _word in names
    ]
    for (_module, word), said in zip(names, outcome.failures):
        assert f"databases -> {word}" in said or f"databases.{word.replace(' -> ', '.')}" in said
    assert host.tree() == before


def test_the_list_of_the_inventory_is_taken_as_it_is(ansible, host):
    host.back_up()
    full = {
        **host.databases[0],
        "services": ["app.service"],
        "schedule": "hourly",
        "deadline": 90,
        "staging": str(host.folder),
        "compression_level": 1,
        "objectives": {"rpo": "24h", "rto": "30m"},
        "health_check": {"command": ["/bin/true"], "retries": 1},
        "archive": True,
        "archive_settings": {"interval": 1, "heartbeat": "10s", "relief": "2MB", "max_wal": 1000000000},
        "time_columns": {"events": "timestamp"},
        "retention": {"keep_daily": 30, "keep_within": "7d"},
    }
    needed = {"sqlite_export": {"output": str(host.folder / "all")}, "sqlite_import": {"files": []}}
    for modules, check in ((MODULES, False), ([*DATA_MODULES][:-1], True)):
        outcome = ansible.run(
            *(
                {module: {"databases": [{**asked(module, [full])[0], **needed.get(module, {})}], **where(module, host)}}
                for module in modules
            ),
            check=check,
        )
        assert outcome.failures == []
        assert [task["result"]["databases"][0]["database"] for task in outcome.tasks] == ["events"] * len(modules)
        assert not any("rc" in task["result"] for task in outcome.tasks)


def test_two_paths_under_one_name_are_refused(ansible, host):
    before = host.tree()
    same = [{**database, "name": "events"} for database in host.databases]
    outcome = ansible.run(*({module: {"databases": same, **where(module, host)}} for module in MODULES))
    assert ["two paths called events" in said for said in outcome.failures] == [True] * len(MODULES)
    assert host.tree() == before


def test_an_empty_list_is_not_passed_over_in_silence(ansible, host):
    outcome = ansible.run(*({module: {"databases": [], **where(module, host)}} for module in MODULES))
    assert [task["status"] for task in outcome.tasks] == ["ok"] * len(MODULES)
    assert all("empty list" in str(task["result"]["warnings"]) for task in outcome.tasks)


def test_a_repository_that_cannot_be_used_is_refused(ansible, host):
    outcome = ansible.run(
        {"sqlite_backup": {"databases": host.databases, **host.where, "repository": "backups"}},
        {"sqlite_backup_info": {"databases": host.databases, **host.where, "host": "../app1"}},
    )
    relative, outside = outcome.failures
    assert "repository is not an absolute path. Found: 'backups'. Next: " in relative
    assert "host name '../app1' cannot be used" in outside


def test_a_fault_of_litekeep_itself_in_one_database_does_not_stop_the_others(ansible, host):
    (ansible.folder / "library").mkdir()
    (ansible.folder / "library" / "sqlite_broken.py").write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from ansible.module_utils.basic import AnsibleModule
            from ansible.module_utils.litekeep_module import Run, databases_option
            def work(database, keys):
                return {"database": database.name, "changed": database.name / 2 if database.name == "events" else True}
            Run(AnsibleModule({"databases": databases_option()})).each(work)
            """
        )
    )
    outcome = ansible.run({"sqlite_broken": {"databases": host.databases}})
    broken, other = outcome.last["databases"]
    assert broken["error"]["kind"] == "unexpected"
    assert "TypeError" in broken["error"]["found"]
    assert "in work" in broken["error"]["traceback"]
    assert other == {"database": "orders", "changed": True}
    assert outcome.last["changed"] is True
    assert "events: Litekeep itself failed" in outcome.last["msg"]


# sqlite_backup


def test_backup_within_max_age_changes_nothing(ansible, host):
    task = {"sqlite_backup": {"databases": host.databases, **host.where, "max_age": "1h"}}
    first, second, forced = ansible.run(task, task, {"sqlite_backup": {**task["sqlite_backup"], "max_age": "0s"}}).tasks
    assert first["result"]["changed"] is True
    assert second["result"]["changed"] is False
    assert "diff" not in second["result"]
    assert [each["backup"]["id"] for each in second["result"]["databases"]] == [
        each["backup"]["id"] for each in first["result"]["databases"]
    ]
    assert forced["result"]["changed"] is True
    assert len(host.stored("events")) == 2


def test_backup_refuses_a_max_age_that_is_no_duration(ansible, host):
    before = host.tree()
    outcome = ansible.run({"sqlite_backup": {"databases": host.databases, **host.where, "max_age": "20 hours"}})
    assert "max_age is not a duration. Found: '20 hours'" in outcome.failures[0]
    assert host.tree() == before


def test_backup_in_check_mode_writes_nothing_and_says_what_the_real_run_then_does(ansible, host):
    host.back_up()
    orders_only = [{**host.databases[0]}, {**host.databases[1], "name": "orders-2"}]
    task = {"sqlite_backup": {"databases": orders_only, **host.where, "max_age": "1h"}}
    before = host.tree()
    predicted = ansible.run(task, check=True).last
    assert host.tree() == before
    real = ansible.run(task).last

    assert [each["changed"] for each in predicted["databases"]] == [False, True]
    assert [each["changed"] for each in real["databases"]] == [False, True]
    assert predicted["databases"][1]["reason"] == real["databases"][1]["reason"]
    assert [diff["before_header"] for diff in predicted["diff"]] == ["orders-2"]
    assert predicted["diff"][0]["before"] == real["diff"][0]["before"] == "newest backup: none\n"
    assert "a new full backup" in predicted["diff"][0]["after"]
    assert real["databases"][1]["backup"]["id"] in real["diff"][0]["after"]
    assert "rows: events 100" in real["diff"][0]["after"]


def test_backup_in_check_mode_fails_where_the_real_run_does(ansible, host):
    gone = [{"name": "gone", "path": str(host.folder / "data" / "gone.db")}]
    task = {"sqlite_backup": {"databases": gone, **host.where}}
    predicted, real = ansible.run(task, check=True).last, ansible.run(task).last
    assert predicted["msg"] == real["msg"]
    assert "does not exist" in real["msg"]


def test_backup_of_a_damaged_database_fails_and_its_copy_does_not_count(ansible, host):
    flip(host.orders, 2 * 4096 + 100, 2000)
    outcome = ansible.run(
        {"sqlite_backup": {"databases": host.databases, **host.where}},
        {"sqlite_backup_info": {"databases": host.databases, **host.where}},
    )
    backup, info = (task["result"]["databases"] for task in outcome.tasks)
    assert backup[0]["backup"]["state"] == "verified"
    assert backup[1]["error"]["kind"] == "verification"
    assert (info[1]["restore_points"], info[1]["backups"][0]["state"]) == (0, "bad source")


# The information modules


def test_backup_info_changes_nothing_and_reports_what_is_missing(ansible, host):
    host.back_up()
    databases = [*host.databases, {"name": "gone", "path": str(host.folder / "data" / "gone.db")}]
    before = host.tree()
    outcome = ansible.run({"sqlite_backup_info": {"databases": databases, **host.where}})
    events, _orders, gone = outcome.last["databases"]
    assert outcome.last["changed"] is False
    assert events["healthy"]
    assert events["findings"] == []
    assert [each["id"] for each in events["backups"]] == [events["newest"]["id"]]
    assert not gone["healthy"]
    assert gone["newest"] is None
    assert [("does not exist" in finding, "no restore point" in finding) for finding in gone["findings"]] == [
        (True, False),
        (False, True),
    ]
    assert host.tree() == before


def test_host_is_the_nodes_short_name_when_left_out(ansible, host):
    repository = host.where["repository"]
    outcome = ansible.run(
        {"sqlite_backup": {"databases": host.databases, "repository": repository}},
        {"sqlite_backup_info": {"databases": host.databases, "repository": repository}},
    )
    assert (Path(repository) / socket.gethostname().split(".")[0] / "events" / "backups").is_dir()
    assert outcome.last["databases"][0]["restore_points"] == 1


def test_database_info_describes_the_live_database_and_who_has_it_open(ansible, host):
    with holding_open(host.events) as application:
        outcome = ansible.run(
            {"sqlite_database_info": {"databases": host.databases}},
            {"sqlite_database_info": {"databases": host.databases, "rows": True}},
        )
    events, orders = outcome.tasks[0]["result"]["databases"]
    assert (events["readable"], events["journal_mode"], events["user_version"]) == (True, "wal", 7)
    assert (orders["journal_mode"], orders["openers"]) == ("delete", [])
    assert [opener["pid"] for opener in events["openers"]] == [application.pid]
    assert events["sizes"]["database"] == host.events.stat().st_size
    assert events["rows"] == {}
    assert [each["rows"] for each in outcome.last["databases"]] == [{"events": 200}, {"events": 100}]
    assert outcome.changed == []


def test_database_info_describes_a_database_that_sqlite_cannot_read(ansible, host):
    with open(host.orders, "r+b") as file:
        file.seek(16)
        file.write(b"\0" * 84)
    outcome = ansible.run({"sqlite_database_info": {"databases": host.databases}})
    assert outcome.failures == []
    assert [each["readable"] for each in outcome.last["databases"]] == [True, False]
    assert outcome.last["databases"][1]["problem"]


# sqlite_verify


def test_verify_finds_a_flipped_byte_and_remembers_it(ansible, host):
    host.back_up()
    task = {"sqlite_verify": {"databases": host.databases, **host.where, "all": True}}
    assert ansible.run(task).last["changed"] is False
    flip(host.stored("events")[0], 1000, 1)
    first, second, info = ansible.run(
        task, task, {"sqlite_backup_info": {"databases": host.databases, **host.where}}
    ).tasks

    events, orders = first["result"]["databases"]
    backup = events["results"][0]["backup"]
    assert (events["passed"], events["changed"], events["results"][0]["state"]) == (False, True, "damaged")
    assert (orders["passed"], orders["changed"]) == (True, False)
    assert f"1 of 1 backups of events does not count. Found: {backup} (damaged)" in first["result"]["msg"]
    assert first["result"]["diff"][0]["before"] == f"{backup}: verified\n"
    assert first["result"]["diff"][0]["after"] == f"{backup}: damaged\n"
    assert second["status"] == "failed"
    assert second["result"]["changed"] is False
    assert [each["restore_points"] for each in info["result"]["databases"]] == [0, 1]


def test_verify_reads_the_chosen_backups_only(ansible, host):
    (oldest,), (newest,) = host.back_up("events"), host.back_up("events")
    events = {"databases": host.databases[:1], **host.where}
    outcome = ansible.run(
        {"sqlite_verify": events},
        {"sqlite_verify": {**events, "backup": oldest}},
        {"sqlite_verify": {**events, "all": True}},
        {"sqlite_verify": {**events, "backup": "20010101T000000.000Z-full"}},
    )
    assert [
        [each["backup"] for each in task["result"]["databases"][0].get("results", [])] for task in outcome.tasks
    ] == [
        [newest],
        [oldest],
        [oldest, newest],
        [],
    ]
    assert "events has no backup '20010101T000000.000Z-full'" in outcome.failures[0]


def test_verify_in_check_mode_reads_and_remembers_nothing(ansible, host):
    host.back_up()
    flip(host.stored("events")[0], 1000, 1)
    before = host.tree()
    outcome = ansible.run({"sqlite_verify": {"databases": host.databases, **host.where}}, check=True)
    assert outcome.failures == []
    assert [each["results"][0]["recorded"] for each in outcome.last["databases"]] == [False, False]
    assert host.tree() == before


def test_verify_all_takes_a_damaged_source_for_no_news_as_long_as_a_backup_counts(ansible, host):
    intact = host.orders.read_bytes()
    flip(host.orders, 2 * 4096 + 100, 2000)
    backup = {"sqlite_backup": {"databases": host.databases[1:], **host.where}}
    verify = {"sqlite_verify": {"databases": host.databases[1:], **host.where, "all": True}}
    alone = ansible.run(backup, verify).last
    assert "1 of 1 backups of orders does not count. Found: " in alone["msg"]
    assert "(bad source)" in alone["msg"]
    host.orders.write_bytes(intact)
    outcome = ansible.run(backup, verify)
    assert outcome.failures == []
    assert [each["state"] for each in outcome.last["databases"][0]["results"]] == ["bad source", "verified"]


def test_verify_checks_the_live_databases(ansible, host):
    flip(host.orders, 2 * 4096 + 100, 2000)
    outcome = ansible.run({"sqlite_verify": {"databases": host.databases, "live": True}})
    events, orders = outcome.last["databases"]
    assert (events["passed"], events["rows"]) == (True, {"events": 200})
    assert orders["error"]["exit_code"] == 3
    assert f"orders: The live database {host.orders} is damaged. Found: " in outcome.last["msg"]


def test_verify_asks_one_question_at_a_time(ansible, host):
    outcome = ansible.run({"sqlite_verify": {"databases": host.databases, "live": True, "all": True}})
    assert "three different questions" in outcome.failures[0]


# sqlite_restore


@pytest.fixture
def old(host):
    """events has lost its rows since the backup."""
    host.back_up()
    with contextlib.closing(sqlite3.connect(host.events, isolation_level=None)) as application:
        application.execute("DELETE FROM events WHERE id > 10")
    return host


def restore_task(host, **more):
    options = {key: more.pop(key) for key in ("to", "nearest", "timeline", "target") if key in more}
    return {"sqlite_restore": {"databases": [{**host.databases[0], **options}], **host.where, **more}}


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as application:
        return application.execute("SELECT count(*) FROM events").fetchone()[0]


def test_restore_keeps_what_it_replaces_and_rolls_back(ansible, old):
    restored = ansible.run(restore_task(old)).last["databases"][0]
    assert rows(old.events) == 200
    quarantine = Path(restored["result"]["quarantine"])
    assert rows(quarantine / "events.db") == 10
    back = ansible.run(restore_task(old, state="rolled_back")).last["databases"][0]
    assert rows(old.events) == 10
    assert (back["action"], back["plan"]["from"]) == ("rollback", str(quarantine))
    again = ansible.run(restore_task(old, state="rolled_back"))
    assert "nothing to roll back" in again.failures[0]


def far(old, tmp_path):
    """Its backups, in another place only, as a host of another name looks for them there."""
    remote = folder_remote(tmp_path / "far")
    repository = Repository(old.where["repository"], old.where["host"])
    remoteanswers.push(repository, Database("events", str(old.events)), [remote], Progress())
    place = {"remotes": {"vault": {"rclone": remote.rclone, "path": remote.path}}, "from": "any"}
    return {"repository": str(tmp_path / "new"), "host": "other", **place}


def test_restore_out_of_a_remote(ansible, old, tmp_path):
    task = {"sqlite_restore": {"databases": old.databases[:1], **far(old, tmp_path)}}
    before = old.tree()
    predicted = ansible.run(task, check=True).last
    assert old.tree() == before
    done = ansible.run(task).last
    assert rows(old.events) == 200
    assert predicted["diff"][0]["before"] == done["diff"][0]["before"]
    assert done["databases"][0]["remote"] == "vault"
    assert rows(Path(done["databases"][0]["result"]["quarantine"]) / "events.db") == 10


def test_restore_out_of_a_remote_that_has_nothing_or_is_not_named(ansible, old, tmp_path):
    place = far(old, tmp_path)
    empty = {"vault": {**place["remotes"]["vault"], "path": "here:nothing"}}
    changes = ({"remotes": empty}, {"from": "elsewhere"}, {"remotes": {}})
    tasks = [{"sqlite_restore": {"databases": old.databases[:1], **place, **change}} for change in changes]
    nothing, unknown, nowhere = ansible.run(*tasks).failures
    assert nothing.startswith("events: ")
    assert "restore point" in nothing
    assert "has no remote 'elsewhere'" in unknown
    assert "has no remote" in nowhere
    assert rows(old.events) == 10


@pytest.mark.parametrize("state", ["restored", "prepared", "rolled_back"])
def test_restore_in_check_mode_changes_nothing_and_says_what_the_real_run_then_does(ansible, old, state):
    if state == "rolled_back":
        ansible.run(restore_task(old))
    before = old.tree()
    predicted = ansible.run(restore_task(old, state=state), check=True).last
    assert old.tree() == before
    real = ansible.run(restore_task(old, state=state)).last
    assert predicted["changed"] is real["changed"] is True
    assert predicted["databases"][0]["result"] is None
    assert predicted["databases"][0]["plan"]["target"] == real["databases"][0]["result"]["target"]
    plans = [{**each["databases"][0]["plan"], "age": 0} for each in (predicted, real)]
    assert plans[0] == plans[1]
    assert [diff["before"] for diff in predicted.get("diff", [])] == [diff["before"] for diff in real.get("diff", [])]


def test_restore_shows_files_moment_age_and_rows_as_a_difference(ansible, old):
    outcome = ansible.run(restore_task(old), check=True)
    (diff,) = outcome.last["diff"]
    backup = outcome.last["databases"][0]["plan"]["backup"]
    assert diff["before"] == f"{old.events}: {old.events.stat().st_size} bytes\n"
    for words in (backup["id"], backup["snapshot"], "s ago", "rows: events 200", f"kept: {old.events}"):
        assert words in diff["after"]


def test_restore_prepares_beside_the_open_database_and_swaps_later(ansible, old):
    with holding_open(old.events):
        first, second = ansible.run(restore_task(old, state="prepared"), restore_task(old, state="prepared")).tasks
        refused = ansible.run(restore_task(old))
        warned = ansible.run(restore_task(old), check=True)
    assert (first["result"]["changed"], second["result"]["changed"]) == (True, False)
    assert "is in use. Found: " in refused.failures[0]
    assert rows(old.events) == 10
    assert warned.failures == []
    assert "is in use by " in str(warned.last["warnings"])
    prepared, restored = ansible.run(restore_task(old, state="prepared"), restore_task(old)).tasks
    assert restored["result"]["databases"][0]["plan"]["prepared"] is True
    assert prepared["result"]["databases"][0]["result"]["swapped"] is False
    assert rows(old.events) == 200


def test_restore_to_another_path_leaves_the_database_alone(ansible, old, tmp_path):
    target = tmp_path / "beside.db"
    first, second = ansible.run(restore_task(old, target=str(target)), restore_task(old, target=str(target))).tasks
    assert first["status"] == "ok"
    assert (rows(target), rows(old.events)) == (200, 10)
    assert "already exists" in second["result"]["msg"]


def test_restore_takes_the_backup_it_is_told(ansible, old):
    first = old.stored("events")[0].parent.name
    old.back_up()
    outcome = ansible.run(restore_task(old, to="20010101T000000.000Z-full"), restore_task(old, to=first))
    assert "events has no backup '20010101T000000.000Z-full'" in outcome.failures[0]
    assert outcome.last["databases"][0]["result"]["backup"] == first
    assert rows(old.events) == 200


def test_restore_of_a_database_that_is_gone(ansible, old):
    old.events.unlink()
    outcome = ansible.run(restore_task(old))
    assert outcome.last["diff"][0]["before"] == "nothing\n"
    assert outcome.last["databases"][0]["result"]["quarantine"] is None
    assert rows(old.events) == 200


# sqlite_restore: what was prepared and is given up


def test_restore_gives_up_what_was_prepared(ansible, old):
    prepared, discarded, again = (
        restore_task(old, state="prepared"),
        *(restore_task(old, state="discarded") for _ in range(2)),
    )
    before = old.tree()
    ansible.run(prepared)
    built = old.tree()
    assert built != before
    predicted = ansible.run(discarded, check=True).last
    assert old.tree() == built
    real, nothing = ansible.run(discarded, again).tasks
    assert predicted["changed"] is real["result"]["changed"] is True
    assert predicted["diff"] == real["result"]["diff"]
    assert nothing["result"]["changed"] is False
    assert [path for path in old.events.parent.iterdir() if path.name.startswith(".")] == []
    assert rows(old.events) == 10


# Moments


def test_moments_windows_and_gaps(ansible, host, tmp_path):
    """One archived history, and all that is asked of it: what takes its time here is the archive."""
    with host.archiving():
        host.execute("DELETE FROM events WHERE id > 100")
        first = host.moment()
        host.execute("DELETE FROM events WHERE id > 50")
        host.moment()
    # Written while nobody looks, and folded into the database: a gap.
    host.execute("DELETE FROM events WHERE id > 40")
    with host.archiving():
        host.execute("DELETE FROM events WHERE id > 30")
        last = host.moment()
    listing = host.listing()
    (gap,) = listing["gaps"]
    inside = gap["from"][:-1] + "999Z"
    beside = str(tmp_path / "beside.db")
    before = host.tree()

    info, plan, unquoted, *refused = ansible.run(
        {"sqlite_backup_info": {"databases": [{**host.databases[0], "archive": True}], **host.where}},
        restore_task(host, to=first, state="prepared"),
        restore_task(host, to=first.replace("T", " "), target=beside),
        restore_task(host, to=inside),
        restore_task(host, to="2001-01-01T00:00:00Z"),
        restore_task(host, to="2999-01-01T00:00:00Z"),
        restore_task(host, to=first[:-1]),
        restore_task(host, to="2026-02-30T00:00:00Z"),
        restore_task(host, to=first, timeline="20010101T000000.000Z"),
        check=True,
    ).tasks
    assert host.tree() == before

    found = info["result"]["databases"][0]
    assert {key: found[key] for key in ("timelines", "windows", "gaps")} == {
        key: listing[key] for key in ("timelines", "windows", "gaps")
    }
    assert (found["archive"]["running"], found["archive"]["gaps"]) == (False, 1)
    point = plan["result"]["databases"][0]["plan"]["point"]
    assert point["requested"] == first
    assert point["last_commit_observed"] <= point["recovered"] <= first < point["next"]
    assert unquoted["result"]["databases"][0]["plan"]["point"] == point
    errors = [task["result"]["databases"][0]["error"] for task in refused]
    assert [error["exit_code"] for error in errors] == [4, 4, 4, 2, 4, 2]
    for error, words in zip(
        errors, ["in a gap", "before the first", "in the future", "no offset", "no time", "timeline"]
    ):
        assert words in error["message"]
    assert gap["from"] in errors[0]["found"] or gap["from"][:-5] in errors[0]["found"]

    done = ansible.run(
        restore_task(host, to=inside, nearest=True, target=beside),
        restore_task(host, to=first),
        restore_task(host, to=last, timeline=listing["timelines"][-1]["id"]),
        restore_task(host, state="rolled_back"),
    )
    assert done.failures == []
    nearest, in_place, by_timeline, _back = (task["result"]["databases"][0] for task in done.tasks)
    assert nearest["result"]["point"]["recovered"] == gap["from"]
    assert rows(beside) == 50
    assert in_place["result"]["point"]["recovered"] == point["recovered"]
    assert f"state of: {point['recovered']}" in done.tasks[1]["result"]["diff"][0]["after"]
    assert by_timeline["plan"]["point"]["timeline"] == listing["timelines"][-1]["id"]
    assert rows(host.events) == 100

    # The archive's bytes are verified, too.
    verify = {"sqlite_verify": {"databases": host.databases[:1], **host.where, "all": True}}
    segment = sorted((host.folder / "repository" / "app1" / "events" / "archive").glob("*/*.wal.zst"))[0]
    sound = ansible.run(verify)
    assert sound.failures == []
    assert [each["problem"] for each in sound.last["databases"][0]["archive"]] == ["", ""]
    flip(segment, segment.stat().st_size // 2, 1)
    damaged = ansible.run(verify).last
    assert "The archive of events is damaged. Found: timeline " in damaged["msg"]
    assert segment.name in damaged["msg"]
