#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_retention
short_description: Remove SQLite backups and archives that the policy no longer keeps
version_added: 0.1.0
description:
  - Decides for each backup and each timeline of the archive whether a rule of the database's C(retention) keeps it,
    says why, and removes the others.
  - Only verified backups count, and only periods that have one. The newest ones stay whatever the rules say
    (C(min_verified)), and so do those that are pinned or held, and what the archive of the C(archive_window) hangs on.
  - Databases without C(retention) are left alone; they keep everything.
attributes:
  check_mode:
    description: Says what would be removed, and why the rest stays; removes nothing.
    support: full
  diff_mode:
    description: Shows the backups and timelines that go.
    support: full
  idempotent:
    description: A second run at the same time removes nothing.
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
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_backup_info
  - module: sqlite_verify
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Show what would go
  sqlite_retention:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
  check_mode: true
  diff: true

- name: Keep a month of days and a year of months
  sqlite_retention:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        retention: {keep_within: 7d, keep_daily: 30, keep_monthly: 12}
"""

RETURN = r"""
databases:
  description: What became of each database's backups, in the order of the list.
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
      description: Whether anything was removed; in check mode, would be.
      returned: always
      type: bool
      sample: true
    action:
      description: C(prune), in check mode C(plan); C(none) where there are no rules.
      returned: success
      type: str
      sample: prune
    policy:
      description: The rules in words.
      returned: when there are rules
      type: str
      sample: keep_daily 30, archive_window 7 d, min_verified 2
    plan:
      description: Names this plan. C(litekeep prune NAME --plan) does exactly this one, or nothing.
      returned: when there are rules
      type: str
      sample: b0a9718f24a09990
    freed:
      description: Bytes that become free.
      returned: when there are rules
      type: int
      sample: 8617211
    items:
      description: Every backup and timeline, oldest first, with the decision and its reasons.
      returned: when there are rules
      type: list
      elements: dict
      sample:
        - kind: backup
          id: 20261122T020000.123Z-full
          from: "2026-11-22T02:00:00.127Z"
          to: "2026-11-22T02:00:00.127Z"
          state: verified
          size: 8617211
          keep: true
          reasons: ["keep_daily 1 of 30", "min_verified 1 of 2"]
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: 0 removed (0 B), 31 kept; keep_daily 30, archive_window 7 d, min_verified 2"]
    error:
      description: Why nothing was removed.
      returned: failure
      type: dict
      sample:
        kind: busy
        exit_code: 5
        message: Another Litekeep process holds /var/lib/litekeep/app1/events/.lease
        safe: nothing was changed; the other process goes on
        next: wait for it to end, then run the same command again
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import retentionanswers, retentionrender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options


def main() -> None:
    """Decide, remove, report."""
    module = AnsibleModule(
        argument_spec={"databases": databases_option(), **repository_options()}, supports_check_mode=True
    )
    run = Run(module)
    repository = run.repository()

    def work(database: Database, _values: Values) -> Values:
        answer: Values = retentionanswers.pruned(repository, database, SILENT, dry_run=run.check_mode)
        items = answer.get("items", [])
        before = [f"{item['kind']} {item['id']}" for item in items]
        after = [f"{item['kind']} {item['id']}" for item in items if item["keep"]]
        if before != after:
            run.diff(f"{database.name}: backups and archive", before, after)
        return {**answer, "summary": list(retentionrender.pruned(answer))}

    run.each(work)


if __name__ == "__main__":
    main()
