#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_triage
short_description: Find out what is wrong with SQLite databases
version_added: 0.1.0
description:
  - Copies each database and works on the copy, so that the way to bring it back can be chosen. The application may run.
  - Damage does not make the module fail. What was found stands in RV(databases[].damage).
  - The copies need up to twice the size of the database in O(databases[].staging). They are gone afterwards.
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
  - module: sqlite_repair
  - module: sqlite_restore
  - module: sqlite_verify
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Find out what is wrong
  sqlite_triage:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
  register: triage

- name: Stop where rows are lost
  ansible.builtin.assert:
    that: triage.databases | rejectattr('damage', 'in', ['sound', 'foreign keys', 'index']) | length == 0
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
    path:
      description: The database file.
      returned: success
      type: str
      sample: /var/lib/mcp/events.db
    damage:
      description:
        - V(sound).
        - V(foreign keys) when it is sound, and rows point to rows that are not there.
        - V(index) when every row is there, and only indexes or free pages are damaged.
        - V(pages) when rows are lost or wrong.
        - V(header) when SQLite cannot open it.
        - V(missing) when there is no file, or an empty one.
      returned: success
      type: str
      sample: index
    meaning:
      description: That in words.
      returned: success
      type: str
      sample: "only indexes or free pages are damaged: a new file made out of the tables has every row"
    messages:
      description: What SQLite says.
      returned: success
      type: list
      elements: str
      sample: ["row 3 missing from index events_kind"]
    rows:
      description: Rows of the tables that can be read, none for one that cannot be read to its end.
      returned: success
      type: dict
      sample: {events: 100000, notes: null}
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: index: only indexes or free pages are damaged: a new file made out of the tables has every row"]
    error:
      description: Why it could not be found out. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: no_space
        exit_code: 7
        message: There is not enough room
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options


def main() -> None:
    """Look and report."""
    module = AnsibleModule(
        argument_spec={"databases": databases_option(), **repository_options()}, supports_check_mode=True
    )
    run = Run(module)
    repository = run.repository()

    def look(database: Database, _keys: Values) -> Values:
        answer = dataanswers.triage_answer(repository, database, SILENT)
        return {**answer, "changed": False, "summary": list(datarender.triaged(answer))}

    run.each(look)


if __name__ == "__main__":
    main()
