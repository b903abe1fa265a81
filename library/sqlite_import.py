#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_import
short_description: Import exported rows into SQLite databases
version_added: 0.1.0
description:
  - Puts the rows of files that M(sqlite_export) wrote into tables, all files of a database in one transaction. All rows
    come in, or none.
  - A file is read and proven by its own count and hash before anything is written. A damaged, cut off or foreign one
    fails, and nothing is changed.
  - The application may run. It waits while rows are written; a large import is for a quiet hour.
attributes:
  check_mode:
    description: Does it all and takes it back, so that the numbers are exact, and fails where the real run does.
    support: full
    details:
      - Other writers wait while it is done, as they do in the real run.
      - Files that earlier tasks would bring are not there in check mode, and fail.
  diff_mode:
    description: Shows the files, and what becomes of their rows.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: partial
    details:
      - With V(ignore) in O(conflict), where rows have a key. With V(abort) a second run fails at the first row. With
        V(replace) it writes the same rows again, and reports that as a change.
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
      files:
        description:
          - The files on the host, by their full paths. Which table each belongs to stands in it.
          - A table that others point to may come before or after them.
        type: list
        elements: str
        required: true
      table:
        description: Another table than was exported. Only with one file.
        type: str
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
  conflict:
    description:
      - What becomes of a row whose key or unique value is in the table.
      - V(abort) fails, and nothing is changed.
      - V(ignore) keeps the row of the table.
      - V(replace) overwrites the row with the same key, in place, so that rows that point to it stay.
    type: str
    choices: [abort, ignore, replace]
    default: abort
  create:
    description: Make a table that is not there, with the columns and the key of its file.
    type: bool
    default: false
  triggers:
    description:
      - V(fire) lets the triggers of the tables work as for every row.
      - V(skip) leaves them out, for rows that have been through them already.
    type: str
    choices: [fire, skip]
    default: fire
  foreign_keys:
    description:
      - V(check) does nothing, and fails, when a row would point to one that is not there.
      - V(ignore) lets that be, for applications that do the same.
    type: str
    choices: [check, ignore]
    default: check
requirements:
  - python3-zstandard on the host, for compressed files
seealso:
  - module: sqlite_export
  - module: sqlite_undelete
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Import two tables, and leave rows alone that are there
  sqlite_import:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        files: [/var/tmp/export/customers.jsonl, /var/tmp/export/orders.jsonl]
    conflict: ignore

- name: Load an export into a new table, to look into it
  sqlite_import:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        files: [/var/tmp/export/customers.jsonl]
        table: customers_of_yesterday
    create: true
"""

RETURN = r"""
databases:
  description: What became of each database, in the order of the list.
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
      description: Whether rows were written or a table made; in check mode, whether they would be.
      returned: always
      type: bool
      sample: true
    dry_run:
      description: Whether it was all taken back, as it is in check mode.
      returned: success
      type: bool
      sample: false
    files:
      description:
        - What became of each file's C(rows), which were C(inserted), C(ignored) as they were there, or C(replaced).
          C(created) where its table was made. C(triggers) could fire.
      returned: success
      type: list
      elements: dict
      sample:
        - path: /var/tmp/export/customers.jsonl
          table: customers
          created: false
          rows: 50000
          inserted: 49990
          ignored: 10
          replaced: 0
          triggers: []
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: 50,000 rows of /var/tmp/export/customers.jsonl into customers"]
    error:
      description: Why nothing was done. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: usage
        exit_code: 2
        message: Row 1 of /var/tmp/export/customers.jsonl is in customers already, or in conflict with another row of it
        found: "UNIQUE constraint failed: customers.id"
        safe: "nothing was changed: the whole transaction was taken back"
        next: "--conflict ignore keeps what is there, --conflict replace overwrites the row with the same key"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.importer import Order
from ansible.module_utils.litekeep_module import (
    SILENT,
    Run,
    Values,
    databases_option,
    full_path,
    repository_options,
    writing_options,
)


def before(file: Values) -> str:
    """A file in the lines of the diff."""
    return f"{file['table']}: {'no such table' if file['created'] else 'without the rows of'} {file['path']}"


def after(file: Values) -> str:
    """What became of its rows."""
    counts = ", ".join(f"{file[key]} {key}" for key in ("inserted", "replaced", "ignored") if file[key])
    return f"{file['table']}: {'a new table, ' if file['created'] else ''}{counts or 'no rows'} of {file['path']}"


def main() -> None:
    """Import, or try it in check mode, and report."""
    more = {
        "files": {"type": "list", "elements": "str", "required": True},
        "table": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(**more),
            **repository_options(),
            "conflict": {"type": "str", "choices": ["abort", "ignore", "replace"], "default": "abort"},
            "create": {"type": "bool", "default": False},
            **writing_options(),
        },
        supports_check_mode=True,
    )
    run = Run(module, *more)

    def take_in(database: Database, keys: Values) -> Values:
        if not keys["files"]:
            module.warn(f"{database.name}: files is an empty list, so nothing is imported")
        order = Order(
            paths=tuple(full_path(path, f"{database.name}: files") for path in keys["files"]),
            table=keys["table"],
            conflict=module.params["conflict"],
            create=module.params["create"],
            triggers=module.params["triggers"],
            foreign_keys=module.params["foreign_keys"] == "check",
            dry_run=module.check_mode,
        )
        answer = dataanswers.import_answer(database, order, SILENT)
        if answer["changed"]:
            run.diff(database.name, map(before, answer["files"]), map(after, answer["files"]))
        return {**answer, "summary": list(datarender.imported(answer))}

    run.each(take_in)


if __name__ == "__main__":
    main()
