from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import ROOT, make_database, protect

from litekeep import backup, fleet, pins, prune
from litekeep.auditanswers import host_answer, repository_answer
from litekeep.config import Config, Database, Remote
from litekeep.controls import CONTROLS, FAIL_ON
from litekeep.errors import UsageError
from litekeep.progress import Progress
from litekeep.push import Memory
from litekeep.reports import write_reports
from litekeep.repository import Backup, Repository
from litekeep.retentionpolicy import Policy
from litekeep.timefmt import now, to_text
from litekeep.waivers import check_waivers

Values = dict[str, Any]
Kept = tuple[Repository, Database]
AT = now()
DAY = dt.timedelta(days=1)


def stored(*ages: float, state: str = "verified") -> list[Values]:
    """Backups of so many days ago."""
    times = [AT - dt.timedelta(days=age) for age in ages]
    names = [to_text(time).replace("-", "").replace(":", "") + "-full" for time in times]
    return [{"id": name, "time": to_text(time), "state": state, "stored_size": 5} for name, time in zip(names, times)]


def entry(host: str, backups: list[Values], **values: Any) -> Values:
    return {
        "host": host,
        "database": "events",
        "path": "/srv/events.db",
        "controls": {"LK03": "ok"},
        "newest": backups[-1]["time"] if backups else None,
        "backups": backups,
        "findings": [],
        **values,
    }


def answer(host: str, *entries: Values, kind: str = "database host", **values: Any) -> Values:
    return {
        "host": host,
        "kind": kind,
        "state": "answered",
        "problem": "",
        "version": "1",
        "sqlite": "3",
        "findings": [],
        "databases": list(entries),
        **values,
    }


def finding(severity: str, control: str = "LK03", evidence: str = "it is old") -> Values:
    return {"id": control, "control": "freshness", "severity": severity, "evidence": evidence, "remedy": ""}


def server(*entries: Values) -> Values:
    return answer("bs1", *entries, kind="backup server")


def made(answers: list[Values], fail_on: str, at: dt.datetime) -> Values:
    """The report, in the published form."""
    found = fleet.report(answers, fail_on, at)
    jsonschema.validate(found, json.loads((ROOT / "docs" / "schemas" / "audit-1.schema.json").read_text()))
    return found


def texts(report: Values) -> list[tuple[str, str]]:
    return [(each["severity"], each["evidence"]) for each in report["findings"]]


def test_the_ids_of_the_controls_are_unique_and_never_change() -> None:
    assert [control.id for control in CONTROLS] == [f"LK{number:02}" for number in range(1, 16)]
    assert " ".join(control.name for control in CONTROLS) == (
        "reachable coverage freshness verification retention archive off-host sealed encryption drills space sqlite "
        "version services source"
    )


def test_a_fleet_without_findings_is_compliant_and_green() -> None:
    report = made([answer("db1", entry("db1", stored(0)))], "notice", AT)
    assert (report["compliant"], report["findings"]) == (True, [])
    assert report["summary"] == {"hosts": 1, "databases": 1, "green": 1, "critical": 0, "warning": 0, "notice": 0}
    row = report["databases"][0]
    assert (row["worst"], row["controls"], row["seen_by"]) == ("ok", {"LK01": "ok", "LK03": "ok"}, ["db1"])


@pytest.mark.parametrize("severity", ["critical", "warning", "notice"])
@pytest.mark.parametrize("fail_on", FAIL_ON)
def test_the_fleet_is_compliant_when_nothing_reaches_what_fails(severity: str, fail_on: str) -> None:
    told = answer("db1", entry("db1", stored(0), findings=[finding(severity)]))
    report = made([told], fail_on, AT)
    assert report["compliant"] == (FAIL_ON.index(severity) > FAIL_ON.index(fail_on) or fail_on == "never")
    assert report["databases"][0]["worst"] == severity
    assert report["summary"]["green"] == (severity == "notice")


@pytest.mark.parametrize(
    ("result", "state", "evidence"),
    [
        ({"unreachable": True, "msg": "timed out\nmore"}, "unreachable", "it does not answer: timed out"),
        ({"msg": "no python"}, "failed", "the audit failed there: no python"),
        ({}, "failed", "the audit failed there: it does not say why"),
    ],
)
def test_who_does_not_answer_is_a_finding(result: Values, state: str, evidence: str) -> None:
    report = made(fleet.answers_of("db1", result, is_server=False), "warning", AT)
    assert (report["compliant"], report["hosts"][0]["state"], texts(report)) == (False, state, [("critical", evidence)])


def test_of_a_silent_host_is_known_what_the_backup_server_holds() -> None:
    silent = fleet.answers_of("db1", {"unreachable": True, "msg": "gone"}, is_server=False)
    report = made([*silent, server(entry("db1", stored(2, 1)))], "warning", AT)
    row = report["databases"][0]
    assert (row["host"], row["seen_by"], row["worst"]) == ("db1", ["bs1"], "critical")
    assert (len(row["backups"]), row["controls"]["LK01"]) == (2, "critical")


def test_a_host_that_nobody_asked_is_told_once() -> None:
    other = {**entry("db2", stored(1)), "database": "more"}
    report = made([answer("db1"), server(entry("db2", stored(1)), other)], "warning", AT)
    assert texts(report) == [("notice", "db2 was not asked: only what a backup server holds is known")]
    assert {row["controls"]["LK01"] for row in report["databases"]} == {"unknown"}


def test_a_repository_alone_does_not_blame_anybody_for_not_being_asked() -> None:
    assert made([server(entry("db2", stored(1)))], "notice", AT)["compliant"]


def test_a_backup_that_was_sent_and_is_not_there_is_critical() -> None:
    ours = stored(3, 2, 1)
    host = answer("db1", entry("db1", ours, away={"vault": []}))
    lost = made([host, server(entry("db1", [ours[0], ours[2]]))], "warning", AT)
    assert texts(lost) == [
        ("critical", f"1 backups that this host has sent are not on bs1, for example {ours[1]['id']}")
    ]
    assert lost["databases"][0]["controls"]["LK07"] == "critical"


@pytest.mark.parametrize(
    ("away", "held"),
    [
        ({"vault": "all"}, "two"),  # not sent yet, which is a finding of the host's own
        ({"vault": []}, "removed"),  # retention of the server
        ({"vault": []}, "newest"),  # older than all that stands there
        ({}, "two"),  # sent nowhere
    ],
)
def test_what_was_not_sent_or_has_gone_by_rules_is_not_lost(away: Values, held: str) -> None:
    ours = stored(3, 2, 1)
    names = [each["id"] for each in ours]
    unsent = {key: names if value == "all" else value for key, value in away.items()}
    there = {
        "two": entry("db1", [ours[0], ours[2]]),
        "removed": entry("db1", [ours[0], ours[2]], removed=[names[1]]),
        "newest": entry("db1", [ours[2]]),
    }[held]
    assert texts(made([answer("db1", entry("db1", ours, away=unsent)), server(there)], "warning", AT)) == []


def test_what_was_sent_a_moment_ago_may_be_under_way() -> None:
    ours = stored(2, 0.1)
    host = answer("db1", entry("db1", ours, away={"vault": []}))
    assert texts(made([host, server(entry("db1", ours[:1]))], "warning", AT)) == []


def test_a_copy_that_is_damaged_on_the_server_only_is_told() -> None:
    ours = stored(2, 1)
    host = answer("db1", entry("db1", ours, away={"vault": []}))
    report = made([host, server(entry("db1", [{**ours[0], "state": "damaged"}, ours[1]]))], "warning", AT)
    assert [severity for severity, _text in texts(report)] == ["warning"]
    assert "is damaged, the one on this host is not" in texts(report)[0][1]


def test_a_host_that_has_lost_its_own_backups_is_told() -> None:
    ours = stored(2, 1)
    host = answer("db1", entry("db1", ours[:1], away={"vault": []}))
    report = made([host, server(entry("db1", ours))], "warning", AT)
    assert texts(report) == [("warning", f"bs1 holds a newer backup than the host itself: {ours[1]['id']}")]


def test_what_host_and_server_both_say_is_told_once_and_the_worst_counts() -> None:
    said = finding("warning")
    host = answer("db1", entry("db1", stored(1), findings=[said]))
    report = made(
        [host, server(entry("db1", stored(1), findings=[said, finding("critical", "LK04", "x")]))], "warning", AT
    )
    assert texts(report) == [("critical", "x"), ("warning", "it is old")]
    assert report["databases"][0]["controls"] == {"LK01": "ok", "LK03": "warning", "LK04": "critical"}


def test_where_a_gap_begins_the_host_says_and_without_it_the_backup_server() -> None:
    gaps = [finding("warning", "LK06", f"no moment from {when} can be restored") for when in ("12:01", "12:00")]
    there = server(entry("db1", stored(1), findings=[gaps[1], finding("critical", "LK06", "damaged")]))
    both = made([answer("db1", entry("db1", stored(1), findings=gaps[:1])), there], "warning", AT)
    assert texts(both) == [("critical", "damaged"), ("warning", gaps[0]["evidence"])]
    assert ("warning", gaps[1]["evidence"]) in texts(made([there], "warning", AT))


def waiver(**values: Any) -> Values:
    return {"control": "LK03", "database": None, "until": "2999-12-31", "reason": "known", **values}


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"database": "events"}, True),
        ({"until": to_text(AT + DAY)}, True),
        ({"until": f"{AT:%Y-%m-%d}"}, True),
        ({"database": "other"}, False),
        ({"control": "LK04"}, False),
        ({"until": to_text(AT - DAY)}, False),
        ({"until": f"{AT - DAY:%Y-%m-%d}"}, False),
    ],
)
def test_what_is_accepted_is_a_notice_with_its_reason_for_so_long(change: Values, accepted: bool) -> None:
    told = answer("db1", entry("db1", stored(1), findings=[finding("critical")], controls={"LK03": "critical"}))
    told["accepted"] = check_waivers([waiver(**change)], "accept")
    report = made([told], "warning", AT)
    outcome = "notice" if accepted else "critical"
    assert (report["compliant"], report["databases"][0]["controls"]["LK03"]) == (accepted, outcome)
    assert ("known" in texts(report)[0][1]) == accepted


def test_what_the_backup_server_finds_can_be_accepted_by_the_host_and_findings_of_the_host_too() -> None:
    own = answer("db1", entry("db1", stored(1)), findings=[finding("warning", "LK02")])
    own["accepted"] = [waiver(), waiver(control="LK02")]
    there = server(
        entry("db1", stored(1), findings=[finding("critical")]), entry("db2", [], findings=[finding("critical")])
    )
    report = made([own, there], "warning", AT)
    assert [
        (each["host"], each["severity"]) for each in report["findings"] if "was not asked" not in each["evidence"]
    ] == [
        ("db2", "critical"),
        ("db1", "notice"),
        ("db1", "notice"),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"control": "LK99"}, r"accept\[0\].control is no control"),
        ({"until": "soon"}, "until is no time"),
        ({"until": "2026-01-01T00:00:00"}, "until is no time"),
        ({"until": None}, "until is no time"),
        ({"reason": " "}, "has no reason"),
    ],
)
def test_what_cannot_be_accepted_is_refused(change: Values, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_waivers([waiver(**change)], "accept")


def test_a_host_answers_for_its_databases_and_for_what_nobody_protects(
    kept: Kept, saved: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litekeep.discover.EXEMPT", ())
    forgotten = make_database(tmp_path / "data" / "forgotten.db", rows=5)
    old = make_database(tmp_path / "data" / "old.db", rows=5)
    os.utime(old, (0, 0))
    config = Config(kept[0].root, kept[0].host, {"events": kept[1]})
    told = host_answer(config, [str(tmp_path)], ["*.never"], str(tmp_path / "missing.json"))
    assert (told["state"], [row["database"] for row in told["databases"]]) == ("answered", ["events"])
    found = {each["evidence"].split(" ")[0]: each for each in told["findings"]}
    assert (found[str(forgotten)]["severity"], found[str(old)]["severity"]) == ("warning", "notice")
    assert found["nothing"]["control"] == "version"
    assert len(found) == 3
    assert host_answer(config, [str(tmp_path)], ["*.db"])["findings"] == []


def test_a_host_on_which_litekeep_never_ran_says_so(kept: Kept) -> None:
    shutil.rmtree(os.path.join(kept[0].root, kept[0].host), ignore_errors=True)
    told = host_answer(Config(kept[0].root, kept[0].host, {"events": kept[1]}))
    assert (told["state"], told["findings"][0]["control"]) == ("never ran", "reachable")


def test_another_policy_than_the_inventorys_is_told(kept: Kept, saved: Backup, tmp_path: Path) -> None:
    config = Config(kept[0].root, kept[0].host, {"events": kept[1], "more": kept[1]})
    installed = tmp_path / "litekeep.json"
    policy = {"path": kept[1].path, "archive": True}
    installed.write_text(json.dumps({"repository": "/r", "host": "h", "databases": {"events": policy}}))
    told = {each["evidence"] for each in host_answer(config, installed=str(installed))["findings"]}
    assert told == {
        f"events has another policy in {installed} than in the inventory",
        f"more is in the inventory, and not in {installed}",
    }


def test_a_repository_answers_for_all_hosts_in_it(tmp_path: Path) -> None:
    for host in ("app1", "app2"):
        repository, database = protect(tmp_path, make_database(tmp_path / host / "events.db", rows=5))
        repository = Repository(repository.root, host)
        backup.take(repository, database, Progress())
    Path(tmp_path, "repository", ".hidden").mkdir(exist_ok=True)
    told = repository_answer("bs1", repository.root)
    assert [(row["host"], row["database"], len(row["backups"])) for row in told["databases"]] == [
        ("app1", "events", 1),
        ("app2", "events", 1),
    ]
    assert told["databases"][0]["path"] == str(tmp_path / "app1" / "events.db")
    assert made([told], "critical", now())["compliant"]


def test_more_databases_than_one_process_takes_are_answered_the_same(kept: Kept, saved: Backup) -> None:
    folder = os.path.join(kept[0].root, kept[0].host)
    for number in range(120):
        shutil.copytree(os.path.join(folder, "events"), os.path.join(folder, f"copy{number:03}"))
    told = repository_answer("bs1", kept[0].root)
    assert [row["database"] for row in told["databases"]] == [*(f"copy{n:03}" for n in range(120)), "events"]
    assert {len(row["backups"]) for row in told["databases"]} == {1}


def test_what_retention_removed_from_the_copies_is_not_missed(kept: Kept, tmp_path: Path) -> None:
    for _n in range(4):
        backup.take(*kept, Progress())
    there = Repository(str(tmp_path / "vault"), kept[0].host)
    shutil.copytree(kept[0].root, there.root)
    remote = Remote("vault", "/nowhere", "vault:")
    Memory(kept[0], "events", "vault", "backups").keep(
        arrived=os.listdir(os.path.join(there.folder("events"), "backups"))
    )
    pins.pin(there.folder("events"), there.catalogue("events").backups[0].id, "")

    def lost() -> list[str]:
        config = Config(kept[0].root, kept[0].host, {"events": kept[1]}, {"vault": remote})
        later = fleet.report([host_answer(config), repository_answer("bs1", there.root)], "warning", AT + DAY)
        return [each["evidence"] for each in later["findings"] if "are not on" in each["evidence"]]

    assert lost() == []
    prune.prune(there, kept[1], Policy(keep_last=1, min_verified=1), Progress())
    assert (len(there.catalogue("events").backups), lost()) == (2, [])
    os.unlink(os.path.join(there.folder("events"), prune.HISTORY))
    assert [text.split(" ")[0] for text in lost()] == ["2"]


def test_backups_whose_manifests_are_gone_stand_in_all_reports(kept: Kept, tmp_path: Path) -> None:
    for _n in range(2):
        backup.take(*kept, Progress())
    lost, _good = kept[0].catalogue("events").backups
    os.unlink(os.path.join(lost.folder, "manifest.json"))
    report = made([host_answer(Config(kept[0].root, kept[0].host, {"events": kept[1]}))], "warning", now())
    first, second = report["databases"][0]["backups"]
    assert (first["id"], first["state"], first["time"] < second["time"]) == (lost.id, "unreadable", True)
    for path in write_reports(report, str(tmp_path / "reports")).values():
        assert "events" in Path(path).read_text()


def test_what_cannot_be_looked_at_does_not_keep_the_others_from_it(
    kept: Kept, saved: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Database("broken", "/nowhere")

    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("litekeep.auditanswers.gather", refuse)
    told = host_answer(Config(kept[0].root, kept[0].host, {"broken": broken}))
    assert told["databases"][0]["findings"][0]["control"] == "reachable"
    assert not made([told], "critical", now())["compliant"]
