#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_database_info
short_description: Describe live SQLite databases
version_added: 0.1.0
description:
  - Tells size, journal mode, versions and tables of each database, and which processes have it open.
  - Opens the database read-only. Does not check its content; M(sqlite_verify) with C(live=true) does.
  - A database that SQLite cannot read is described as such and does not make the module fail. A missing one does.
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
  rows:
    description: Also count the rows of every table. That reads the whole database once.
    type: bool
    default: false
notes:
  - SQLite itself keeps the files C(-wal) and C(-shm) beside a WAL database that is being read, with the owner and mode
    of the database. They may stay when nobody else has it open.
seealso:
  - module: sqlite_backup_info
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Who has the database open, and how large is its WAL?
  sqlite_database_info:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
  register: live

- name: Show it
  ansible.builtin.debug:
    msg: "{{ live.databases[0].openers }}, {{ live.databases[0].sizes['-wal'] }} bytes of WAL"
"""

RETURN = r"""
databases:
  description: Each database as it is now, in the order of the list.
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
      description: The file, with every symbolic link resolved.
      returned: success
      type: str
      sample: /var/lib/mcp/events.db
    readable:
      description: Whether SQLite can read it.
      returned: success
      type: bool
      sample: true
    problem:
      description: Why it cannot be read, otherwise empty.
      returned: success
      type: str
      sample: database disk image is malformed
    journal_mode:
      description: For example V(wal) or V(delete).
      returned: when readable
      type: str
      sample: wal
    page_size:
      description: Bytes a page.
      returned: when readable
      type: int
      sample: 4096
    page_count:
      description: Number of pages, those in the WAL included.
      returned: when readable
      type: int
      sample: 10080
    free_pages:
      description: How many of them are unused.
      returned: when readable
      type: int
      sample: 12
    application_id:
      description: The number that the application gave the file.
      returned: when readable
      type: int
      sample: 0
    user_version:
      description: The application's version of its schema.
      returned: when readable
      type: int
      sample: 7
    encoding:
      description: How text is stored.
      returned: when readable
      type: str
      sample: UTF-8
    schema_sha256:
      description: A hash of the schema.
      returned: when readable
      type: str
      sample: 5f0c2cd3b7c1ad0f7d7f3a8e2f4c1f0a7c5a1f55a4b52bb9f0dc0d6a3cf1e8a2
    rows:
      description: Rows per table, empty unless O(rows) asks for them.
      returned: when readable
      type: dict
      sample: {events: 100000, notes: 2000}
    sizes:
      description: Bytes of the database's file and of those beside it, 0 for what is not there.
      returned: success
      type: dict
      sample: {database: 41287680, "-wal": 4124152, "-shm": 32768, "-journal": 0}
    openers:
      description: Processes that have one of these files open.
      returned: success
      type: list
      elements: dict
      sample: [{pid: 811, command: mcp-server, file: /var/lib/mcp/events.db}]
    hidden_processes:
      description: Processes of other users that could not be looked into, 0 as root.
      returned: success
      type: int
      sample: 0
    sqlite_version:
      description: Version of SQLite in the Python that looked.
      returned: success
      type: str
      sample: 3.40.1
    sqlite_wal_reset_bug:
      description: Whether that version is one of 3.7.0 to 3.51.2, which can lose a WAL reset.
      returned: success
      type: bool
      sample: true
    error:
      description: Why there is nothing to describe.
      returned: failure
      type: dict
      sample: {kind: source, exit_code: 8, message: /var/lib/mcp/event.db does not exist}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.describe import describe
from ansible.module_utils.litekeep_module import Run, Values, databases_option


def main() -> None:
    """Look and report."""
    module = AnsibleModule(
        argument_spec={"databases": databases_option(), "rows": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )

    def look(database: Database, _keys: Values) -> Values:
        values = describe(database, module.params["rows"])
        return {"database": values.pop("name"), **values}

    Run(module).each(look)


if __name__ == "__main__":
    main()
