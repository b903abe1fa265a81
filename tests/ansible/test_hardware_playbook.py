# SPDX-License-Identifier: GPL-3.0-or-later
"""recover_hardware_failure.yml, as far as it goes without another host; the whole of it, see molecule/."""

from __future__ import annotations

import pytest
from offhost import folder_remote
from support import ROOT

from litekeep import remoteanswers
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Repository

PLAYBOOK = ROOT / "playbooks" / "recover_hardware_failure.yml"


@pytest.fixture
def lost(ansible, host, tmp_path):
    """app1 has sent a backup to a place that the controller can read. app2 is reachable and has nothing."""
    host.back_up()
    remote = folder_remote(tmp_path / "far")
    repository = Repository(host.where["repository"], "app1")
    where = {**vars(remote), "path": "here:app1"}
    for database in host.databases:
        policy = Database(database["name"], database["path"])
        remoteanswers.push(repository, policy, [type(remote)(**where)], Progress())
    words = {"name": "far", "rclone": (tmp_path / "vault.conf").read_text(), "path": "here:app1"}
    databases = [{**each, "path": f"{each['path']}.new"} for each in host.databases]
    # Whoever runs the tests is who becomes root there.
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    sudo.chmod(0o755)
    app2 = {"ansible_become_exe": str(sudo)}
    ansible.hosts = {"app1": {"sqlite_backup_databases": databases, "sqlite_backup_remotes": [words]}, "app2": app2}
    return ansible


def run(lost, *options, **more):
    return lost.playbook(PLAYBOOK, *options, **{"failed_host": "app1", "replacement": "app2", **more})


def test_check_mode_shows_the_plan_and_does_nothing_else(lost, host):
    before = host.tree()
    done = run(lost, "--check")
    assert done.code == 0, done.output
    plan = "\n".join(done.task("Show the plan")["msg"])
    assert "app1 is lost; app2 takes its place" in plan
    assert f"{host.events}.new on app2" in plan
    assert "found     in the remote far" in plan
    assert "NOT fenced: app1" in plan
    assert {task["host"] for task in done.tasks if task["status"] == "ok"} == {"localhost"}
    assert host.tree() == before
    assert done.changed == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"replacement": "app1"}, "the new host is the lost one"),
        ({"failed_host": "app7"}, "the inventory has no host app7"),
        ({"replacement": ""}, "say -e failed_host=NAME -e replacement=NAME"),
        ({"database": "nothing"}, "app1 has no database called nothing; it has: events, orders"),
        ({"failed_at": "yesterday"}, "expected a time with its offset from UTC"),
        ({"to": "2001-01-01T00:00:00Z"}, "2001-01-01"),
        ({"sqlite_backup_remotes": []}, "nothing of app1 went off the host"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(lost, host, more, words):
    before = host.tree()
    done = run(lost, **more)
    assert done.code != 0
    assert words in " ".join(done.failures), done.output
    assert {task["host"] for task in done.tasks} == {"localhost"}
    assert host.tree() == before


def test_a_path_that_does_not_name_the_host_is_no_place_for_another_one(lost):
    (words,) = lost.hosts["app1"]["sqlite_backup_remotes"]
    lost.hosts["app1"]["sqlite_backup_remotes"] = [{**words, "path": "here:all"}]
    assert "give app2 its own sqlite_backup_remotes" in " ".join(run(lost).failures)


def test_no_secret_is_shown(lost):
    (words,) = lost.hosts["app1"]["sqlite_backup_remotes"]
    lost.hosts["app1"]["sqlite_backup_remotes"] = [{**words, "rclone": words["rclone"] + "# a-secret-marker\n"}]
    done = run(lost, "--check", "-vvv", "--diff")
    assert done.code == 0, done.output
    assert "a-secret-marker" not in done.output
