"""The role sqlite_backup: its options are all documented, and an engine is installed whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

INSTALLER = ROOT / "roles/sqlite_backup/files/install_engine.py"
FIRST = {"__init__.py": "", "cli.py": "print('first')\n", "old.py": "\n"}
SECOND = {"__init__.py": "", "cli.py": "print('second')\n"}


@pytest.mark.parametrize("role", ["sqlite_backup", "recovery", "example_app", "backup_server"])
def test_defaults_and_specifications_have_the_same_keys(role: str) -> None:
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    every = [item for spec in specs.values() for item in spec.get("options", {}).items()]
    options = {name for name, option in every if "default" in option}
    required = {name for name, option in every if option.get("required")}
    assert set(defaults) - required >= options - required
    assert set(defaults) <= {name for name, _option in every}


def install(folder: Path, identity: str, modules: dict[str, str], *options: str, code: int = 0) -> str:
    """Run the installer as the role does; returns what it said."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", INSTALLER.read_text(), folder / "versions", identity, folder / "link", *options],
        input=json.dumps(modules),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def modules_of(folder: Path, identity: str) -> dict[str, str]:
    package = folder / "versions" / identity / "litekeep"
    return {file.name: file.read_text() for file in package.iterdir() if file.is_file()}


def test_a_version_is_installed_whole_and_a_second_run_says_nothing(tmp_path: Path) -> None:
    assert "+cli.py" in install(tmp_path, "one", FIRST)
    assert modules_of(tmp_path, "one") == FIRST
    assert install(tmp_path, "one", FIRST) == ""


def test_check_mode_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    assert "+cli.py" in install(tmp_path, "one", FIRST, "--check")
    assert list(tmp_path.iterdir()) == []


def test_the_version_in_use_stays_until_the_next_upgrade_and_older_ones_go(tmp_path: Path) -> None:
    install(tmp_path, "zero", FIRST)
    install(tmp_path, "one", FIRST)
    (tmp_path / "link").symlink_to("versions/one/litekeep")
    said = install(tmp_path, "two", SECOND)
    assert "~cli.py" in said
    assert "-old.py" in said
    assert sorted(os.listdir(tmp_path / "versions")) == ["one", "two"]
    assert modules_of(tmp_path, "one") == FIRST


@pytest.mark.parametrize("harm", ["changed", "added", "writable", "missing"])
def test_an_engine_that_was_tampered_with_is_made_whole_again(tmp_path: Path, harm: str) -> None:
    install(tmp_path, "one", FIRST)
    package = tmp_path / "versions/one/litekeep"
    if harm == "changed":
        (package / "cli.py").write_text("evil()\n")
    elif harm == "added":
        (package / "evil.py").write_text("evil()\n")
    elif harm == "writable":
        (package / "cli.py").chmod(0o666)
    else:
        (package / "cli.py").unlink()
    assert install(tmp_path, "one", FIRST) != ""
    assert modules_of(tmp_path, "one") == FIRST
    assert (package / "cli.py").stat().st_mode & 0o022 == 0


def test_an_engine_that_does_not_compile_leaves_the_one_in_use(tmp_path: Path) -> None:
    install(tmp_path, "one", FIRST)
    (tmp_path / "link").symlink_to("versions/one/litekeep")
    install(tmp_path, "two", {"__init__.py": "def (:\n"}, code=1)
    assert os.listdir(tmp_path / "versions") == ["one"]
    assert modules_of(tmp_path, "one") == FIRST
