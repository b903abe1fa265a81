# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/bench audit``: what the audit of a fleet costs the controller, beside Ansible that only says hello."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from . import audit_fleet, audit_report, machine
from .backup import _positive as positive
from .backup import make_database
from .measure import Usage
from .place import HOST, NAME, ROOT, Place, WrongResultError, litekeep, require_writable, workplace

SUMMARY = "an audit of a fleet by Ansible, beside its own ping, and of a repository alone"
HELLO = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""


@dataclasses.dataclass
class AuditResults:
    """What was measured. fleets: by number of hosts, the ping and the audit. repository: audit, and reading it only."""

    machine: dict[str, str]
    options: dict[str, Any]
    fleets: dict[int, tuple[Usage, Usage]] = dataclasses.field(default_factory=dict)
    repository: tuple[Usage, Usage] | None = None
    failures: list[str] = dataclasses.field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--hosts",
        type=positive(int),
        action="append",
        metavar="N",
        help="simulated hosts; may be repeated (100, 300, 1000)",
    )
    parser.add_argument("--backups", type=positive(int), default=60, help="of each database (default 60)")
    parser.add_argument("--databases", type=positive(int), default=1000, help="in the repository (default 1000)")
    parser.add_argument("--forks", type=positive(int), default=4, help="of Ansible (default 4)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this empty directory and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, unrounded, to this file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the cost of a host into this file")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return 1 when a result was wrong."""
    machine.require_commands()
    require_writable(options.json)
    require_writable(options.svg)
    hosts = sorted(set(options.hosts or (100, 300, 1000)))
    given = {"hosts": hosts, **{key: getattr(options, key) for key in ("backups", "databases", "forks")}}
    files = (sum(hosts) + options.databases) * options.backups
    with workplace(options.keep, files * 8192 + 10**8) as place:
        results = AuditResults(machine.describe(place.folder), given)
        try:
            measure(place, results)
        except WrongResultError as problem:
            results.failures.append(str(problem))
    print("\n".join(audit_report.lines(results)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(dataclasses.asdict(results), indent=2) + "\n", encoding="utf-8")
    if options.svg:
        options.svg.write_text(audit_report.picture(results), encoding="utf-8")
    return 1 if results.failures else 0


def measure(place: Place, results: AuditResults) -> None:
    """All of it; fills ``results``, also when it does not come to its end."""
    make_database(place, 10**6, 1, "requests")
    first = place.fresh("first")
    place.must_run(litekeep(first, place.database, "backup"), first)
    (original,) = (first / HOST / NAME / "backups").iterdir()
    backups = results.options["backups"]
    for hosts in results.options["hosts"]:
        folder = place.fresh(f"fleet-{hosts}")
        inventory = audit_fleet.fleet(folder, original, hosts, backups)
        hello = folder / "hello.yml"
        hello.write_text(HELLO)
        ping = ansible(place, folder, results, inventory, hello)
        audit = ansible(
            place,
            folder,
            results,
            inventory,
            ROOT / "playbooks" / "retention_audit.yml",
            *("-e", f"audit_reports={folder / 'audit'}", "-e", "audit_fail_on=never"),
        )
        proven(folder / "audit" / "audit.json", hosts, hosts, backups)
        results.fleets[hosts] = (ping, audit)
        place.drop(folder.name)
    folder = place.fresh("repository")
    count = results.options["databases"]
    audit_fleet.repository(folder / "all", original, count, backups)
    reading = "import pathlib, sys; [p.read_bytes() for p in pathlib.Path(sys.argv[1]).rglob('*.json')]"
    read = place.must_run([sys.executable, "-c", reading, folder / "all"], folder)
    words: list[str | Path] = [sys.executable, "-m", "litekeep", "audit", "--repository", folder / "all"]
    words += ["--fail-on", "never"]
    audit = place.must_run([*words, "--reports", folder / "audit"], folder)
    proven(folder / "audit" / "audit.json", 1, count, backups)
    results.repository = (read, audit)


def ansible(place: Place, folder: Path, results: AuditResults, inventory: Path, *words: str | Path) -> Usage:
    """Run a playbook with the project's settings."""
    settings = ["env", f"ANSIBLE_CONFIG={ROOT / 'ansible.cfg'}", "ANSIBLE_DISPLAY_OK_HOSTS=false"]
    playbook: list[str | Path] = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory]
    return place.must_run([*settings, *playbook, "--forks", str(results.options["forks"]), *words], folder)


def proven(path: Path, asked: int, databases: int, backups: int) -> None:
    """WrongResultError when the report does not hold all hosts, databases and backups."""
    report = json.loads(path.read_text())
    found = (report["summary"]["hosts"], len(report["databases"]), {len(row["backups"]) for row in report["databases"]})
    if found != (asked, databases, {backups}):
        raise WrongResultError(f"{path.name} holds {found}, and not {(asked, databases, {backups})}")
