"""The modules sqlite_retention and sqlite_drill on this machine."""

from __future__ import annotations

from support import flip

from litekeep.repository import Repository


def ids(host):
    repository = Repository(host.where["repository"], host.where["host"])
    return [backup.id for backup in repository.catalogue("events").backups]


def task(host, **retention):
    return {"sqlite_retention": {"databases": [{**host.databases[0], "retention": retention}], **host.where}}


def test_check_mode_and_diff_show_what_goes_and_the_run_does_just_that(ansible, host):
    for _n in range(4):
        host.back_up("events")
    before = ids(host)
    outcome = ansible.run(task(host, keep_last=2), check=True)
    planned = outcome.last["databases"][0]
    assert (outcome.last["changed"], ids(host)) == (True, before)
    assert [item["keep"] for item in planned["items"]] == [False, False, True, True]
    assert outcome.last["diff"][0]["after"] == "".join(f"backup {kept}\n" for kept in before[2:])

    first, second = ansible.run(task(host, keep_last=2), task(host, keep_last=2)).tasks
    assert first["result"]["databases"][0]["plan"] == planned["plan"]
    assert (first["result"]["changed"], second["result"]["changed"]) == (True, False)
    assert ids(host) == before[2:]


def test_a_damaged_backup_no_longer_counts(ansible, host):
    for _n in range(3):
        host.back_up("events")
    before = ids(host)
    flip(host.stored("events")[-1], 1000, 1)
    verify = {"sqlite_verify": {"databases": host.databases[:1], **host.where, "all": True}}
    outcome = ansible.run(verify, task(host, keep_last=1, min_verified=1))
    result = outcome.tasks[-1]["result"]["databases"][0]
    assert [item["keep"] for item in result["items"]] == [False, True, True]
    assert result["items"][2]["reasons"] == ["damaged, and nothing newer is verified"]
    assert ids(host) == before[1:]


def test_without_rules_nothing_goes_and_senseless_rules_are_refused(ansible, host):
    host.back_up("events")
    untouched = ansible.run({"sqlite_retention": {"databases": host.databases[:1], **host.where}}).last
    assert (untouched["changed"], untouched["databases"][0]["action"]) == (False, "none")
    empty = ansible.run(task(host)).last
    assert "keeps nothing" in empty["msg"]
    unknown = ansible.run(task(host, keep_dayly=3)).last
    assert "keep_dayly" in unknown["msg"]
    assert len(ids(host)) == 1


def test_a_drill_restores_into_scratch_and_fails_for_what_does_not_come_back(ansible, host):
    host.back_up()
    events = {**host.databases[0], "assertions": ["SELECT count(*) > 0 FROM events"], "objectives": {"rto": "30m"}}
    task = {"sqlite_drill": {"databases": [events], **host.where}}
    planned = ansible.run(task, check=True).last["databases"][0]
    assert (planned["changed"], planned["drills"]) == (True, [])
    done = ansible.run(task).last["databases"][0]
    assert (done["passed"], done["drills"][0]["result"], "error" in done) == (True, "passed", False)

    events["assertions"] = ["SELECT count(*) < 0 FROM events"]
    failed = ansible.run({"sqlite_drill": {"databases": [events, host.databases[1]], **host.where}}).last
    assert "1 of 1 drills of events failed" in failed["msg"]
    assert "answered 0" in failed["msg"]
    assert [each["passed"] for each in failed["databases"]] == [False, True]
    flip(host.stored("events")[0], 1000, 1)
    damaged = ansible.run({"sqlite_drill": {"databases": host.databases[:1], **host.where, "which": "all"}}).last
    assert "is not what was stored" in damaged["msg"] or "drills of events failed" in damaged["msg"]
