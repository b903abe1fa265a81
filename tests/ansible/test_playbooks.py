# SPDX-License-Identifier: GPL-3.0-or-later
"""backup.yml and verify.yml as an operator runs them."""

from __future__ import annotations

import os

import pytest
from support import ROOT, flip

BACKUP = ROOT / "playbooks" / "backup.yml"
VERIFY = ROOT / "playbooks" / "verify.yml"
TASK = "Take a verified backup of each database"


@pytest.mark.parametrize("folder", [".", "playbooks", "/"])
def test_backup_works_from_any_directory_and_within_max_age_changes_nothing(ansible, host, folder):
    # The inventory and the configuration that a user has: the project's own, where there is one.
    cwd = ROOT / folder
    options = [] if folder == "." else ["-i", os.path.relpath(ROOT / "inventories" / "quickstart", cwd)]
    playbook = os.path.relpath(BACKUP, cwd)
    first, second = (
        ansible.playbook(playbook, *options, cwd=cwd, inventory=False, max_age="1h", **host.variables) for _ in range(2)
    )
    assert (first.code, second.code) == (0, 0), first.output + second.output
    assert (first.changed, second.changed) == ([TASK], [])
    assert [len(host.stored(name)) for name in ("events", "orders")] == [1, 1]


def test_backup_predicts_what_it_then_does(ansible, host):
    host.back_up("events")
    before = host.tree()
    predicted = ansible.playbook(BACKUP, "--check", "--diff", max_age="1h", **host.variables)
    assert host.tree() == before
    real = ansible.playbook(BACKUP, "--diff", max_age="1h", **host.variables)
    for outcome in (predicted, real):
        assert outcome.code == 0
        assert [each["changed"] for each in outcome.task(TASK)["databases"]] == [False, True]
        assert "--- before: orders" in outcome.output
        assert "-newest backup: none" in outcome.output
        assert "before: events" not in outcome.output
    assert "+newest backup: a new full backup" in predicted.output
    assert f"+newest backup: {host.stored('orders')[0].parent.name}" in real.output


def test_backup_says_which_database_failed_and_does_the_others(ansible, host):
    host.events.unlink()
    outcome = ansible.playbook(BACKUP, **host.variables)
    assert outcome.code != 0
    assert f"events: {host.events} does not exist. Found: " in outcome.output
    assert len(host.stored("orders")) == 1
    assert not host.events.exists()


def test_backup_names_its_folder_after_the_inventory(ansible, host):
    ansible.hosts = {"app1.fleet.example": {}}
    variables = {key: value for key, value in host.variables.items() if key != "sqlite_backup_host"}
    assert ansible.playbook(BACKUP, **variables).code == 0
    assert [path.name for path in (host.folder / "repository").iterdir()] == ["app1.fleet.example"]


def test_verify_passes_when_all_is_sound_and_says_so(ansible, host):
    host.back_up()
    outcome = ansible.playbook(VERIFY, live="true", **host.variables)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == []
    assert [line for line in outcome.last["msg"] if line.endswith("protected")] == [
        "events: protected",
        "orders: protected",
    ]
    assert [each["rows"] for each in outcome.task("Check the live databases")["databases"]] == [
        {"events": 200},
        {"events": 100},
    ]


def test_verify_fails_on_a_damaged_old_backup_unless_only_the_newest_is_asked_for(ansible, host):
    host.back_up()
    host.back_up("events")
    flip(host.stored("events")[0], 1000)
    newest = ansible.playbook(VERIFY, all="false", **host.variables)
    assert newest.code == 0, newest.output
    every = ansible.playbook(VERIFY, **host.variables)
    assert every.code != 0
    # Both questions are answered: which bytes are bad, and what that means for the protection.
    assert "1 of 2 backups of events does not count" in every.failures[0]
    assert "does not count (damaged)" in every.failures[1]


def test_verify_fails_when_a_database_is_not_protected_as_promised(ansible, host):
    host.back_up()
    host.variables["sqlite_backup_databases"][0]["objectives"] = {"rpo": "0s"}
    variables = {
        **host.variables,
        "sqlite_backup_databases": [{**host.databases[0], "objectives": {"rpo": "0s"}}, host.databases[1]],
    }
    outcome = ansible.playbook(VERIFY, **variables)
    assert outcome.code != 0
    said = str(outcome.last["msg"])
    assert "events: NOT PROTECTED AS WISHED" in said
    assert "the objective is 0.0 s" in said
    assert "orders" not in said


@pytest.mark.parametrize("name", ["install.yml", "backup.yml", "verify.yml", "restore.yml"])
def test_playbook_is_understood_by_this_ansible(ansible, name):
    outcome = ansible.playbook(ROOT / "playbooks" / name, "--syntax-check")
    assert outcome.code == 0, outcome.output
    assert "WARNING" not in outcome.output
    assert "DEPRECAT" not in outcome.output
