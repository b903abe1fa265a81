#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_drill
short_description: Restore SQLite backups into scratch, check and time them
version_added: 0.1.0
description:
  - Restores the newest state, and those backups whose last drill is the longest ago, into a scratch folder that is gone
    afterwards; checks them in full; compares the rows with those that were counted when the backup was taken; asks the
    C(assertions) of the database; and takes the time.
  - Keeps the evidence in C(drills/history.jsonl) beside the backups, where it outlives them.
  - So many in each daily run that every kept backup has been drilled within C(objectives.drill_every).
  - Fails when one does not come back as it should, or not within C(objectives.rto). A backup whose stored bytes are at
    fault no longer counts as a restore point.
attributes:
  check_mode:
    description: Says what would be drilled.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: Every run drills, and writes down that it did.
    support: none
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
  which:
    description:
      - V(due), the newest state and what is due; V(all), the newest state and every backup; V(random), one backup; or a
        state as M(sqlite_restore) takes it, for example V(latest), a time or a backup's id.
    type: str
    default: due
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_verify
  - module: sqlite_restore
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Drill what is due
  sqlite_drill:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"

- name: Prove that yesterday can be had
  sqlite_drill:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        objectives: {rto: 30m}
        assertions: ["SELECT count(*) > 0 FROM events"]
    which: "2026-11-21T12:00:00Z"
"""

RETURN = r"""
databases:
  description: What was found of each database, in the order of the list.
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
      description: Whether drills were done; in check mode, would be.
      returned: always
      type: bool
      sample: true
    passed:
      description: Whether all came back as they should, in time.
      returned: when it could be looked at
      type: bool
      sample: true
    states:
      description: What was to be drilled.
      returned: when it could be looked at
      type: list
      elements: str
      sample: [latest, 20261122T020000.123Z-full]
    drills:
      description: What was found.
      returned: when it could be looked at
      type: list
      elements: dict
      sample:
        - time: "2026-11-22T05:00:00.004Z"
          point: 20261122T020000.123Z-full
          backup: 20261122T020000.123Z-full
          archive: false
          recovered: "2026-11-22T02:00:00.127Z"
          result: passed
          problems: []
          seconds: 5.211
          restore_seconds: 2.87
          size: 1017769984
          rto: 1800
          in_time: true
          rows: {events: 3300000}
          assertions: [{sql: "SELECT count(*) > 0 FROM events", value: "1", problem: ""}]
    summary:
      description: The result in words, line by line.
      returned: when it could be looked at
      type: list
      elements: str
      sample: ["events: 20261122T020000.123Z-full restored and checked in 5.2 s (1.0 GB, 1 assertions)"]
    error:
      description: What is not as it should be.
      returned: failure
      type: dict
      sample:
        kind: verification
        exit_code: 3
        message: 1 of 2 drills of events failed
        found: "20261122T020000.123Z-full: table events has 500 rows instead of 501"
        next: litekeep verify events --all; then take a new backup
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import drillanswers, drillrender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.errors import VerificationError
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options


def failure(answer: Values) -> Values:
    """The error for drills that did not pass."""
    name = answer["database"]
    bad = [f"{each['point']}: {'; '.join(each['problems'])}" for each in answer["drills"] if each["problems"]]
    bad += [
        f"{each['point']}: {each['seconds']} s instead of at most {each['rto']}"
        for each in answer["drills"]
        if each["in_time"] is False
    ]
    return VerificationError(
        f"{len(bad)} of {len(answer['drills'])} drills of {name} failed",
        expected="states that come back as they were stored, in time",
        found="; ".join(bad[:5]),
        next_step=f"litekeep verify {name} --all; then take a new backup",
    ).to_json()


def main() -> None:
    """Drill, keep the evidence, report."""
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(),
            **repository_options(),
            "which": {"type": "str", "default": drillanswers.DUE},
        },
        supports_check_mode=True,
    )
    run = Run(module)
    repository = run.repository()

    def work(database: Database, _values: Values) -> Values:
        answer: Values = drillanswers.drilled(repository, database, SILENT, module.params["which"], run.check_mode)
        answer["summary"] = list(drillrender.drilled(answer))
        if answer["passed"]:
            del answer["error"]
        else:
            answer["error"] = answer["error"] or failure(answer)
        return answer

    run.each(work)


if __name__ == "__main__":
    main()
