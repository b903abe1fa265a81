"""retention_audit.yml and its two modules, with hosts that answer and hosts that do not."""

from __future__ import annotations

import json

import pytest
from support import ROOT, make_database

AUDIT = ROOT / "playbooks" / "retention_audit.yml"
LOOK = "Look at its databases, and at what it holds of others"
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture
def audited(ansible, host):
    """A run of the audit of ``host``, and its report."""

    def run(*options, code=1, **more):
        variables = {
            **host.variables,
            "audit_discover": [str(host.folder)],
            "audit_reports": str(host.folder / "audit"),
        }
        variables |= {"audit_configuration": str(host.folder / "litekeep.json"), **more}
        outcome = ansible.playbook(AUDIT, *options, **variables)
        assert (outcome.code == 0) == (code == 0), outcome.output
        path = host.folder / "audit" / "audit.json"
        return outcome, json.loads(path.read_text()) if path.exists() else None

    return run


def wrong(report, *severities):
    return {
        (each["host"], each["database"], each["id"])
        for each in report["findings"]
        if each["severity"] in (severities or ("critical", "warning"))
    }


@pytest.fixture
def installed(host):
    """The host's configuration, as install.yml writes it."""
    databases = {each["name"]: {"path": each["path"]} for each in host.databases}
    (host.folder / "litekeep.json").write_text(json.dumps({**host.where, "databases": databases}))


def test_without_backups_all_is_critical_and_the_playbook_fails_after_the_reports(ansible, host, audited):
    ansible.hosts = {"db1": {}, "gone": UNREACHABLE}
    predicted, report = audited("--check")
    assert (report, predicted.task("Write the reports")["compliant"]) == (None, False)
    outcome, report = audited()
    assert wrong(report, "critical") == {
        ("app1", None, "LK01"),
        ("app1", "events", "LK03"),
        ("app1", "orders", "LK03"),
        ("gone", None, "LK01"),
    }
    assert {each["host"]: each["state"] for each in report["hosts"]} == {"app1": "never ran", "gone": "unreachable"}
    assert "not compliant: 2 asked, 2 databases" in outcome.output
    assert outcome.changed == ["Write the reports"]
    written = sorted(path.name for path in (host.folder / "audit").iterdir())
    assert written == ["audit.csv", "audit.html", "audit.json", "audit.prom"]


def test_a_database_that_nobody_protects_is_found_unless_it_is_exempt(host, installed, audited):
    host.back_up()
    make_database(host.folder / "more" / "forgotten.db", rows=5)
    _outcome, report = audited()
    assert ("app1", None, "LK02") in wrong(report)
    assert any(str(host.folder / "more" / "forgotten.db") in each["evidence"] for each in report["findings"])
    _outcome, report = audited(audit_exempt=[str(host.folder / "more")])
    assert ("app1", None, "LK02") not in wrong(report, "critical", "warning", "notice")


def test_what_is_accepted_does_not_fail_the_fleet_and_nonsense_is_refused(host, installed, audited):
    host.back_up()
    accept = [{"control": "LK07", "until": "2999-12-31", "reason": "a copy is made by the storage"}]
    _outcome, report = audited(code=0, audit_accept=accept)
    assert (report["compliant"], wrong(report)) == (True, set())
    assert any("a copy is made by the storage" in each["evidence"] for each in report["findings"])
    _outcome, report = audited(audit_accept=[{"control": "LK99", "until": "2999-12-31", "reason": "x"}])
    assert report["hosts"][0]["state"] == "failed"
    assert "accept[0].control is no control" in report["hosts"][0]["problem"]


def test_a_backup_server_answers_for_what_it_holds(ansible, host, installed, audited):
    host.back_up()
    ansible.hosts = {"vault": {}}
    variables = {"backup_server_repository": host.where["repository"], "litekeep_backup_servers": "vaults"}
    inventory = ansible._inventory()
    values = json.loads(inventory.read_text())
    values["vaults"] = {"hosts": {"vault": {}}}
    ansible._inventory = lambda: (inventory.write_text(json.dumps(values)), inventory)[1]
    more = {**variables, "audit_fail_on": "critical", "sqlite_backup_databases": []}
    outcome, report = audited(code=0, **more)
    assert [(each["host"], each["kind"]) for each in report["hosts"]] == [("app1", "backup server")], outcome.output
    assert [(row["host"], row["database"]) for row in report["databases"]] == [("app1", "events"), ("app1", "orders")]
