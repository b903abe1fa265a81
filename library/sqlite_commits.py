#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_commits
short_description: Show the rows of archived SQLite databases around a time, and where rows went
version_added: 0.1.0
description:
  - Looks at the states that the archive holds around a suspected time, and counts the rows of each table in them.
  - Where rows went, it narrows that down to one look of the archiver, and names the last state before it. That is what
    M(sqlite_undelete) and M(sqlite_restore) take to bring the rows back.
  - Restores these states beside the database, into O(databases[].staging). They need its size, and are gone afterwards.
attributes:
  check_mode:
    description: Changes nothing that lasts, in check mode and out of it.
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
      around:
        description: The suspected time, as in V(2026-11-22T02:00:00Z). The offset from UTC is needed.
        type: str
        required: true
      within:
        description: How long before and after it, for example V(90s) or V(2h).
        type: str
        default: 10m
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
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_undelete
  - module: sqlite_restore
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Find out when the rows went
  sqlite_commits:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        around: "2026-11-22T14:30:00+01:00"
        within: 1h
    host: "{{ inventory_hostname }}"
  register: commits

- name: Put back what the first of these commits took
  sqlite_undelete:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        to: "{{ commits.databases[0].falls[0].before.point }}"
    host: "{{ inventory_hostname }}"
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
      description: Always false.
      returned: always
      type: bool
      sample: false
    from:
      description: When the first of these states was observed.
      returned: success
      type: str
      sample: "2026-11-22T13:20:00.112Z"
    to:
      description: When the last one was.
      returned: success
      type: str
      sample: "2026-11-22T13:39:59.870Z"
    commits:
      description: How many looks of the archiver found commits in that time.
      returned: success
      type: int
      sample: 1187
    states:
      description: Some of the states, evenly spread. C(point) names a state again, C(observed) is when it was seen.
      returned: success
      type: list
      elements: dict
      sample:
        - {point: 20261122T015900.001Z@2.811, observed: "2026-11-22T13:28:58.120Z", rows: {customers: 150000}}
    falls:
      description:
        - Where a table has fewer C(rows), in the order of time, with the last state C(before) and the first one
          C(after). C(gone) when the table itself went.
      returned: success
      type: list
      elements: dict
      sample:
        - table: customers
          rows: 50000
          gone: false
          before: {point: 20261122T015900.001Z@2.811, observed: "2026-11-22T13:28:58.120Z", rows: {customers: 150000}}
          after: {point: 20261122T015900.001Z@2.819, observed: "2026-11-22T13:29:00.412Z", rows: {customers: 100000}}
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["  2026-11-22T13:29:00.412Z  customers: fewer by 50,000 rows"]
    error:
      description: Why it could not be found out. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: no_restore_point
        exit_code: 4
        message: The archive of events holds nothing from 2001-01-01T00:00:00.000Z to 2001-01-01T00:20:00.000Z
        next: "litekeep list events; without an archive, compare backups: litekeep list shows their rows"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.timefmt import parse_duration
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options


def main() -> None:
    """Look and report."""
    more = {"around": {"type": "str", "required": True}, "within": {"type": "str", "default": "10m"}}
    module = AnsibleModule(
        argument_spec={"databases": databases_option(**more), **repository_options()}, supports_check_mode=True
    )
    run = Run(module, *more)
    repository = run.repository()

    def look(database: Database, keys: Values) -> Values:
        within = parse_duration(keys["within"], f"{database.name}: within")
        answer = dataanswers.commits_answer(repository, database, keys["around"], within, SILENT)
        return {**answer, "changed": False, "summary": list(datarender.commits(answer))}

    run.each(look)


if __name__ == "__main__":
    main()
