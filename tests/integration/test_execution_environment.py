"""A controller in a container: its definition, and the audit by ansible-runner, which is what AWX runs.

The image itself is not built here: its base comes from a registry.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from support import ROOT, make_database

DEFINITION = ROOT / "execution-environment.yml"


def tool(name: str, *words: str | Path) -> str:
    beside = Path(sys.executable).parent
    done = subprocess.run(
        [beside / name, *words],
        # ansible-runner looks for ansible-playbook there.
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_definition_is_understood_and_has_the_versions_of_the_project(tmp_path: Path) -> None:
    tool("ansible-builder", "create", "-f", DEFINITION, "-c", tmp_path / "context")
    made = (tmp_path / "context" / "Containerfile").read_text()
    wanted = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    dependencies = yaml.safe_load(DEFINITION.read_text())["dependencies"]
    given = [dependencies["ansible_core"]["package_pip"], *dependencies["python"]]
    assert sorted(given) == sorted(wanted)
    assert dependencies["ansible_core"]["package_pip"] in made


def test_the_audit_runs_under_ansible_runner(tmp_path: Path) -> None:
    database = make_database(tmp_path / "data" / "events.db", rows=5)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables = {
        "sqlite_backup_databases": [{"name": "events", "path": str(database)}],
        "sqlite_backup_repository": str(tmp_path / "repository"),
        "audit_discover": [],
        "audit_reports": str(tmp_path / "audit"),
        "audit_fail_on": "never",
    }
    folder = tmp_path / "runner"
    for name, values in (
        ("inventory/hosts.json", {"all": {"hosts": {"db1": local, "db2": local}}}),
        ("env/extravars", variables),
        ("env/envvars", {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    said = tool("ansible-runner", "run", folder, "--project-dir", ROOT, "-p", "playbooks/retention_audit.yml")
    report = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [(each["host"], each["state"]) for each in report["hosts"]] == [
        ("db1", "never ran"),
        ("db2", "never ran"),
    ], said
    (artifacts,) = (folder / "artifacts").iterdir()
    assert (artifacts / "rc").read_text() == "0"
