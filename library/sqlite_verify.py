#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_verify
short_description: Prove that stored backups, or live SQLite databases, are sound
version_added: 0.1.0
description:
  - Reads every stored byte of the chosen backups and compares it with the manifest.
  - Reads the archive as well, where there is one, and compares each segment with its record.
  - The repository remembers the outcome.
  - A backup that is found damaged no longer counts as a restore point. One that reads right again counts again.
  - With O(live) the live database gets an C(integrity_check) and a C(foreign_key_check) in one read transaction.
  - Fails when anything does not pass, and when no backup counts. With O(all) a backup whose source was already damaged
    when it was taken does not fail as long as its bytes are intact and another backup counts.
attributes:
  check_mode:
    description: Changes nothing.
    support: partial
    details:
      - Backups are not read, because what is found would have to be remembered. It says which ones would be read, and
        what is known of them.
      - A live database is checked all the same.
  diff_mode:
    description: Shows the backups that began or ceased to count.
    support: full
  idempotent:
    description: Reports a change only when a backup began or ceased to count.
    support: full
options:
  databases:
    description:
      - The databases. The inventory's C(sqlite_backup_databases) can be handed in as it is.
      - When one fails, the others are done all the same. The module fails at its end, and names each that failed.
      - One name means one path.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the database is called in the repository. Letters, digits, dots, dashes and underscores.
        type: str
        required: true
      path:
        description: The database file, by its full path. It is never created.
        type: str
        required: true
      staging:
        description:
          - Where the uncompressed copy lies while it is checked. It needs the size of the database.
          - The repository itself when left out.
        type: str
      deadline:
        description:
          - How long to wait for locks, and to copy a database that is not in WAL mode, for example V(90s) or V(15m).
          - 10 minutes when left out.
        type: str
      compression_level:
        description: Level of zstd, from V(1) to V(19). V(2) when left out.
        type: int
      services:
        description: Units that write to the database. This module starts and stops none; its messages name them.
        type: list
        elements: str
      objectives:
        description: What is promised for the database.
        type: dict
        suboptions:
          rpo:
            description: The most that may be lost, for example V(24h).
            type: str
          rto:
            description: The longest that a restore may take, for example V(30m).
            type: str
          drill_every:
            description: Within which every kept backup is restored into scratch and checked. V(30d) when left out.
            type: str
      archive:
        description: Whether every commit is archived. The service of the role C(sqlite_backup) does, not this module.
        type: bool
      archive_settings:
        description: How that service works. Durations such as V(90s), sizes in bytes or such as V(16MB) or V(512KiB).
        type: dict
        suboptions:
          interval:
            description: How often new commits are stored. V(1s) when left out.
            type: str
          heartbeat:
            description: How often it is recorded that there was no further commit. V(10s) when left out.
            type: str
          relief:
            description: The size at which the WAL is made to start again from its beginning. V(64MB) when left out.
            type: str
          max_wal:
            description: The size of the WAL at which the archive gives way, with a gap. V(1GB) when left out.
            type: str
          reserve:
            description: Free space in the repository below which nothing is archived. V(1GB) when left out.
            type: str
          roll:
            description:
              - The age at which a timeline goes on in a new one, so that retention can remove old ones. V(0) is never,
                V(1d) when left out.
            type: str
      time_columns:
        description: The column of each table that holds its times, by the table's name. For M(sqlite_export).
        type: dict
      remotes:
        description: Where the backups go off the host. The service of the role C(sqlite_backup) sends them.
        type: list
        elements: str
      retention:
        description:
          - How long backups and the archive are kept. For M(sqlite_retention). For ever when left out.
          - Keys are C(keep_last), C(keep_hourly), C(keep_daily), C(keep_weekly), C(keep_monthly), C(keep_yearly),
            C(keep_within), C(archive_window) and C(min_verified).
        type: dict
      assertions:
        description: SQL whose first value must be true of each restored state. For M(sqlite_drill).
        type: list
        elements: str
      schedule:
        description: Used by the role C(sqlite_backup), ignored here.
        type: str
      health_check:
        description: Used by the role C(recovery), ignored here.
        type: dict
  repository:
    description: The directory of the backups, by its full path.
    type: str
    default: /var/lib/litekeep
  host:
    description:
      - The host's folder in the repository.
      - The node's own name up to the first dot when left out. The role and the playbooks use C(inventory_hostname).
    type: str
  backup:
    description: The id of the backup to verify. The newest when left out.
    type: str
  all:
    description: Verify all backups.
    type: bool
    default: false
  live:
    description: Check the live databases instead. Writers wait meanwhile, unless the database is in WAL mode.
    type: bool
    default: false
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_backup_info
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Verify all backups of the host
  sqlite_verify:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
    all: true

- name: Check the live databases
  sqlite_verify:
    databases: "{{ sqlite_backup_databases }}"
    live: true
"""

RETURN = r"""
databases:
  description: What was found for each database, in the order of the list.
  returned: always
  type: list
  elements: dict
  contains:
    database:
      description: Its name.
      returned: always
      type: str
      sample: events
    changed:
      description: Whether a backup began or ceased to count as a restore point.
      returned: always
      type: bool
      sample: false
    passed:
      description: Whether all that was looked at is sound. In check mode, whether it is known to be.
      returned: when it could be looked at
      type: bool
      sample: true
    results:
      description: The backups that were read; in check mode, those that would be.
      returned: when backups were verified
      type: list
      elements: dict
      sample:
        - backup: 20261122T020000.123Z-full
          state: verified
          problem: ""
          stored_size: 8617211
          seconds: 0.061
          intact: true
          recorded: true
    archive:
      description:
        - The archive's timelines that were read, whole with O(all), else the newest one from the newest backup on. None
          are with O(backup) and in check mode.
        - C(problem) says which segment is not what was archived. It is empty when all are.
      returned: when backups were verified
      type: list
      elements: dict
      sample:
        - timeline: 20261122T015900.001Z
          segments: 3605
          problem: ""
          seconds: 0.412
    newest:
      description: Id of the newest backup that counts, none when there is none.
      returned: when backups were verified
      type: str
      sample: 20261122T020000.123Z-full
    path:
      description: The database file.
      returned: when O(live)
      type: str
      sample: /var/lib/mcp/events.db
    integrity:
      description: What C(integrity_check) says.
      returned: when O(live)
      type: dict
      sample: {result: ok, messages: [], seconds: 0.281}
    foreign_keys:
      description: What C(foreign_key_check) says. Reported without failing, because it is the application's affair.
      returned: when O(live)
      type: dict
      sample: {result: failed, messages: ["notes -> events: 3"], seconds: 0.004}
    rows:
      description: Rows per table.
      returned: when O(live)
      type: dict
      sample: {events: 100000, notes: 2000}
    summary:
      description: The result in words, line by line.
      returned: when something was looked at
      type: list
      elements: str
      sample: ["events: 20261122T020000.123Z-full verified (0.1 s)"]
    error:
      description: What does not pass, or why nothing could be looked at.
      returned: failure
      type: dict
      sample:
        kind: verification
        exit_code: 3
        message: 1 of 14 backups of events does not count
        found: "20261122T020000.123Z-full (damaged): database.db.zst is not what was stored"
        safe: "newest restore point: 20261121T020000.087Z-full"
        next: take a new backup now, then check the disk below the repository
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import answers, render, verify
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.errors import VerificationError
from ansible.module_utils.litekeep.repository import BAD_SOURCE, VERIFIED, Catalogue
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options


def known(catalogue: Catalogue, backup_id: str | None, everything: bool) -> Values:
    """Check mode: the same answer out of what the repository remembers."""
    chosen = [answers.backup_values(backup) for backup in verify.select(catalogue, backup_id, everything)]
    results = [
        {
            "backup": each["id"],
            "state": each["state"],
            "problem": each["problem"],
            "stored_size": each["stored_size"] or 0,
            "seconds": 0.0,
            "intact": each["state"] in (VERIFIED, BAD_SOURCE),
            "recorded": False,
        }
        for each in chosen
    ]
    newest = catalogue.newest.id if catalogue.newest else None
    passed = newest is not None and not failing(results, everything)
    return {"database": catalogue.database, "passed": passed, "results": results, "archive": [], "newest": newest}


def failing(results: list[Values], everything: bool) -> list[Values]:
    """Among all backups, one whose source was damaged is no news; asked for by itself, it is the answer."""
    return [each for each in results if not (each["intact"] if everything else each["state"] == VERIFIED)]


def failure(answer: Values, everything: bool) -> Values:
    """The error for backups that do not pass."""
    name, results = answer["database"], answer["results"]
    damaged = [f"timeline {each['timeline']}: {each['problem']}" for each in answer["archive"] if each["problem"]]
    if damaged and not failing(results, everything):
        return VerificationError(
            f"The archive of {name} is damaged",
            expected="segments and records as they were archived",
            found="; ".join(damaged[:5]),
            safe=f"newest backup that counts: {answer['newest'] or 'none'}",
            next_step=f"take a new backup now (litekeep backup {name}), then check the disk below the repository",
        ).to_json()
    bad = [f"{each['backup']} ({each['state']}): {each['problem']}" for each in failing(results, everything) or results]
    return VerificationError(
        f"{len(bad)} of {len(results)} backups of {name} do{'es' if len(bad) == 1 else ''} not count",
        expected="backups whose stored bytes are those that passed the checks",
        found="; ".join(damaged[:5] + bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else ""),
        safe=f"newest restore point: {answer['newest'] or 'none'}",
        next_step=f"take a new backup now (litekeep backup {name}), then check the disk below the repository",
    ).to_json()


def main() -> None:
    """Look, compare with what was known, report."""
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(),
            **repository_options(),
            "backup": {"type": "str"},
            "all": {"type": "bool", "default": False},
            "live": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    backup_id, everything, live = (module.params[key] for key in ("backup", "all", "live"))
    if sum((backup_id is not None, everything, live)) > 1:
        module.fail_json(msg="backup, all and live are three different questions. Next: ask one of them.")
    run = Run(module)
    repository = run.repository()

    def stored(database: Database, _keys: Values) -> Values:
        catalogue = repository.catalogue(database.name)
        before = {backup.id: backup.state for backup in catalogue.backups}
        if module.check_mode:
            answer = known(catalogue, backup_id, everything)
            summary = [f"{database.name}: {each['backup']} would be read" for each in answer["results"]]
        else:
            answer = answers.verify(repository, database, SILENT, backup_id, everything)
            summary = list(render.verify(answer))
        after = {each["backup"]: each["state"] for each in answer["results"]}
        changed = [name for name in after if after[name] != before.get(name)]
        if changed:
            old, new = ([f"{name}: {states.get(name)}" for name in changed] for states in (before, after))
            run.diff(database.name, old, new)
        error = {} if answer["passed"] else {"error": failure(answer, everything)}
        return {**answer, "changed": bool(changed), "summary": summary, **error}

    def alive(database: Database, _keys: Values) -> Values:
        answer = answers.verify_live(database)
        found = "; ".join(answer["integrity"]["messages"][:5])
        error = {} if answer["passed"] else {"error": verify.live_damage(database, found).to_json()}
        return {**answer, "changed": False, "summary": list(render.verify_live(answer)), **error}

    run.each(alive if live else stored)


if __name__ == "__main__":
    main()
