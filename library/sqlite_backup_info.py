#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup_info
short_description: Tell how SQLite databases are protected and what can be restored
version_added: 0.1.0
description:
  - Reads the repository's manifests and looks at the databases. Reads no stored data; M(sqlite_verify) does.
  - A database that has no backup, only old ones, or damaged ones has findings. They do not make the module fail.
attributes:
  check_mode:
    description: Changes nothing, in check mode and out of it.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: N/A
  idempotent:
    description: Changes nothing.
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
seealso:
  - module: sqlite_backup
  - module: sqlite_verify
  - module: sqlite_database_info
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Ask how the databases are protected
  sqlite_backup_info:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
  register: protection

- name: Stop when one is not
  ansible.builtin.assert:
    that: protection.databases | rejectattr('healthy') | length == 0
"""

RETURN = r"""
databases:
  description: How each database is protected, in the order of the list.
  returned: always
  type: list
  elements: dict
  contains:
    database:
      description: Its name.
      returned: always
      type: str
      sample: events
    path:
      description: The database file.
      returned: success
      type: str
      sample: /var/lib/mcp/events.db
    healthy:
      description: Whether there are no findings.
      returned: success
      type: bool
      sample: false
    findings:
      description: What is wrong, each with its next step.
      returned: success
      type: list
      elements: str
      sample: ["there is no restore point; run: litekeep backup events"]
    age:
      description: Seconds since the newest verified backup, none when there is none.
      returned: success
      type: float
      sample: 3600.217
    newest:
      description: The newest verified backup, none when there is none; as in RV(databases[].backups).
      returned: success
      type: dict
    restore_points:
      description: How many backups count.
      returned: success
      type: int
      sample: 14
    stored_size:
      description: Bytes that all backups take.
      returned: success
      type: int
      sample: 120641024
    backups:
      description: All backups, oldest first. Those whose C(state) is V(verified) count.
      returned: success
      type: list
      elements: dict
      sample:
        - id: 20261122T020000.123Z-full
          state: verified
          problem: ""
          path: /var/lib/litekeep/app1/events/backups/20261122T020000.123Z-full
          type: full
          snapshot: "2026-11-22T02:00:00.150Z"
          size: 41287680
          stored_size: 8617211
          rows: {events: 100000, notes: 2000}
          warnings: []
          last_verified: "2026-11-22T02:00:00.150Z"
    archive:
      description:
        - How the archive stands, none where archiving is off.
        - C(proven_until) is the moment up to which every commit is known to be stored.
      returned: success
      type: dict
      sample:
        running: true
        timeline: 20261122T015900.001Z
        proven_until: "2026-11-22T03:00:10.004Z"
        problem: ""
        gaps: 1
    timelines:
      description:
        - The archive's timelines, oldest first. Each hangs on a base backup and has no gap in it.
        - C(state) is V(running), V(stopped), V(ended) or V(damaged), C(reason) why it began, C(stored_size) in bytes.
      returned: success
      type: list
      elements: dict
      sample:
        - id: 20261122T015900.001Z
          number: 2
          state: running
          problem: ""
          started: "2026-11-22T01:59:00.001Z"
          base: 20261122T015900.310Z-full
          from: "2026-11-22T01:59:00.480Z"
          to: "2026-11-22T03:00:10.004Z"
          segments: 3605
          commits: 12877
          stored_size: 18211904
          reason: the database was replaced
    windows:
      description: The spans of time of which every moment can be restored.
      returned: success
      type: list
      elements: dict
      sample:
        - from: "2026-11-22T01:59:00.480Z"
          to: "2026-11-22T03:00:10.004Z"
          timeline: 20261122T015900.001Z
    gaps:
      description: The spans between them, of which no moment can be restored, and why.
      returned: success
      type: list
      elements: dict
      sample:
        - from: "2026-11-22T01:58:12.000Z"
          to: "2026-11-22T01:59:00.480Z"
          reason: the database was replaced
    exit_code:
      description: What C(litekeep status) would end with.
      returned: success
      type: int
      sample: 0
    summary:
      description: The state in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: protected", "  newest    20261122T020000.123Z-full, 1 h ago"]
    error:
      description: Why the state could not be found out.
      returned: failure
      type: dict
      sample: {kind: usage, exit_code: 2, message: The repository cannot be read}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import answers, render
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep_module import Run, Values, databases_option, repository_options


def main() -> None:
    """Look and report."""
    module = AnsibleModule(
        argument_spec={"databases": databases_option(), **repository_options()}, supports_check_mode=True
    )
    run = Run(module)
    repository = run.repository()

    def look(database: Database, _keys: Values) -> Values:
        status = answers.status(repository, database)
        listing = answers.listing(repository, database.name)
        detail = {key: listing[key] for key in ("backups", "timelines", "windows", "gaps")}
        return {**status, **detail, "summary": list(render.status(status))}

    run.each(look)


if __name__ == "__main__":
    main()
