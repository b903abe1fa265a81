#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_export
short_description: Export rows of SQLite databases into files that can be proven and imported again
version_added: 0.1.0
description:
  - Writes one table, or all tables, of one consistent state into files on the host. The application may run.
  - The state is the live one, that of a backup, or that of any moment that can be restored.
  - With O(databases[].since) it writes what is new or another one since a moment, each kind in files of its own.
  - Every value comes back as it was by M(sqlite_import). A file has its name when it is complete, and says in its
    first line how many rows it has and what their hash is.
attributes:
  check_mode:
    description: Exports into a folder of its own and throws that away, so that the numbers are exact.
    support: full
    details:
      - That folder is in O(databases[].staging), or among Ansible's temporary files. It takes the room of the files.
      - Fails where the real run does. A directory that is missing gives a warning instead, because an earlier task
        that would make it has not in check mode.
  diff_mode:
    description: Shows the files, with the rows in each.
    support: full
  idempotent:
    description: An export is an action. Each run writes new files.
    support: none
    details:
      - An output that stands there is never overwritten, and makes the module fail. It may be all that is left of rows
        that are gone, and of a live database nobody can tell without exporting again whether it would be the same.
      - For another try, name another O(databases[].output), or remove the old one by a task that says so.
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
      output:
        description:
          - Where to, by its full path. A file for one O(databases[].table), otherwise a folder, which is made.
          - Its parent directory must be there. Files and folder belong to the user of the task alone.
        type: str
        required: true
      table:
        description: The table. All tables when left out, each in a file that bears its name.
        type: str
      at:
        description:
          - Which state. V(live) is the present one; V(latest) the newest that can be restored; or a moment, as in
            V(2026-11-22T02:00:00Z); or the id of a backup or a restore point.
        type: str
        default: live
      since:
        description:
          - A moment or an id, as in O(databases[].at). Exports rows of the live database whose key was not there then,
            and, in the folder C(changed) of the output, those that were others then.
          - Not together with O(databases[].at), O(databases[].table) or a range.
        type: str
      nearest:
        description: Take the nearest earlier moment where the one that was asked for cannot be restored.
        type: bool
        default: false
      from:
        description:
          - Only rows from this time on, as in V(2026-11-22T02:00:00Z), or a value as the column has it.
          - Without a table, tables without a known column of times are left out, and named.
        type: str
      to:
        description: Only rows until before this time.
        type: str
      time_column:
        description: The column that holds the times. That of O(databases[].time_columns) when left out.
        type: str
      time_unit:
        description: How it holds them. Found out from the data, and stated, when left out.
        type: str
        choices: [seconds, milliseconds, microseconds, nanoseconds, julianday, text]
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
  format:
    description:
      - V(jsonl) is a line of JSON a row, V(json) one array, V(csv) comma-separated values.
    type: str
    choices: [jsonl, json, csv]
    default: jsonl
  zstd:
    description: Whether the files are compressed.
    type: bool
    default: false
  plain:
    description: Leave the first line out, for programs that would stumble over it. Such a file cannot be imported.
    type: bool
    default: false
requirements:
  - python3-zstandard on the host, for compressed files, backups and moments
seealso:
  - module: sqlite_import
  - module: sqlite_undelete
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Export the orders of one day
  sqlite_export:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        output: /var/tmp/orders-20261122.csv.zst
        table: orders
        from: "2026-11-22T00:00:00+01:00"
        to: "2026-11-23T00:00:00+01:00"
        time_column: created_at
    format: csv
    zstd: true

- name: Export a table as it was before the mistake
  sqlite_export:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        output: /var/tmp/customers-before.jsonl
        table: customers
        at: "2026-11-22T14:29:00+01:00"
    host: "{{ inventory_hostname }}"

- name: Keep what was written since then
  sqlite_export:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        output: /var/tmp/events-since
        since: "2026-11-22T14:29:00+01:00"
    host: "{{ inventory_hostname }}"
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
      description: Whether files were written; in check mode, whether they would be.
      returned: always
      type: bool
      sample: true
    state:
      description: Which state was exported, V(live) or the id of a restore point.
      returned: success
      type: str
      sample: live
    moment:
      description: Whose state that is; of the live one, when it was read. Empty when there was nothing to export.
      returned: success
      type: str
      sample: "2026-11-22T13:31:04.120Z"
    files:
      description:
        - The files, each with its C(table), C(rows), and the C(sha256) of what follows its first line, uncompressed.
        - C(range) is none without one. Otherwise C(unit) is how the column holds its times, C(from) and C(to) what was
          asked for, C(lower) and C(upper) the same as the column has it, and C(left_out) the rows without such a time.
      returned: success
      type: list
      elements: dict
      sample:
        - table: orders
          path: /var/tmp/orders-20261122.csv.zst
          rows: 812
          sha256: 9d5ed678fe57bcca610140957afab571e3b8a51d8b4b0b7f2a9a4c1f8f0d2c11
          range:
            column: created_at
            unit: seconds since 1970 (UTC)
            from: "2026-11-22T00:00:00+01:00"
            to: "2026-11-23T00:00:00+01:00"
            lower: 1795302000
            upper: 1795388400
            left_out: 0
    skipped:
      description: Tables that were not exported, and why.
      returned: success
      type: dict
      sample: {search: an index over notes}
    point:
      description: The state to compare with, as M(sqlite_restore) has it.
      returned: when O(databases[].since) is given
      type: dict
    changed_rows:
      description: Files like RV(databases[].files), of the rows that were others then.
      returned: when O(databases[].since) is given
      type: list
      elements: dict
      sample: []
    differences:
      description: The tables that differ, with the rows that are C(gone), C(came) and are C(changed) since.
      returned: when O(databases[].since) is given
      type: list
      elements: dict
      sample:
        - {table: orders, before: true, now: true, gone: 31002, came: 17, changed: 0, note: ""}
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: exported from the live database"]
    error:
      description: Why it was not exported. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: usage
        exit_code: 2
        message: /var/tmp/orders-20261122.csv.zst already exists
        expected: a free path
        safe: nothing was changed; that file is as it was
        next: choose another --output, or move that file away first
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import DEFAULT_LEVEL, Database
from ansible.module_utils.litekeep.errors import UsageError
from ansible.module_utils.litekeep.export import Request
from ansible.module_utils.litekeep.exportfile import taken
from ansible.module_utils.litekeep_module import (
    SILENT,
    Run,
    Values,
    databases_option,
    full_path,
    repository_options,
)


def request_of(database: Database, keys: Values, params: Values) -> Request:
    """What is asked for. Raises UsageError."""
    whole = keys["at"] == "live" and all(keys[key] is None for key in ("table", "from", "to"))
    if keys["since"] is not None and not whole:
        raise UsageError(
            f"{database.name}: since exports all tables of the live database",
            expected="since without at, table, from and to",
            safe="nothing was changed",
            next_step="ask for one of the two",
        )
    return Request(
        table=keys["table"],
        at=keys["at"],
        nearest=keys["nearest"],
        start=keys["from"],
        end=keys["to"],
        column=keys["time_column"],
        unit=keys["time_unit"],
        format=params["format"],
        level=DEFAULT_LEVEL if params["zstd"] else None,
        plain=params["plain"],
    )


def moved(answer: Values, before: str, after: str) -> Values:
    """The same answer about files that stand elsewhere."""
    lists = {
        key: [{**file, "path": after + file["path"][len(before) :]} for file in answer[key]]
        for key in ("files", "changed_rows")
        if key in answer
    }
    return {**answer, **lists}


def main() -> None:
    """Export, or try it in check mode, and report."""
    units = ["seconds", "milliseconds", "microseconds", "nanoseconds", "julianday", "text"]
    more = {
        "output": {"type": "str", "required": True},
        "table": {"type": "str"},
        "at": {"type": "str", "default": "live"},
        "since": {"type": "str"},
        "nearest": {"type": "bool", "default": False},
        "from": {"type": "str"},
        "to": {"type": "str"},
        "time_column": {"type": "str"},
        "time_unit": {"type": "str", "choices": units},
    }
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(**more),
            **repository_options(),
            "format": {"type": "str", "choices": ["jsonl", "json", "csv"], "default": "jsonl"},
            "zstd": {"type": "bool", "default": False},
            "plain": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run = Run(module, *more)
    repository = run.repository()

    def into(database: Database, keys: Values, output: str) -> Values:
        request = request_of(database, keys, module.params)
        if keys["since"] is None:
            return dataanswers.export_answer(repository, database, request, output, SILENT)
        return dataanswers.since_answer(repository, database, keys["since"], output, request, SILENT)

    def tried(database: Database, keys: Values, output: str) -> Values:
        if os.path.lexists(output) and (keys["table"] is not None or not os.path.isdir(output) or os.listdir(output)):
            raise taken(output)
        parent = os.path.dirname(output)
        if not os.path.isdir(parent):
            module.warn(f"{parent} is no directory. The real run fails unless it is made before.")
        place = database.staging if database.staging and os.path.isdir(database.staging) else module.tmpdir
        with tempfile.TemporaryDirectory(prefix=".litekeep-check-", dir=place) as folder:
            beside = os.path.join(folder, "output")
            return moved(into(database, keys, beside), beside, output)

    def export(database: Database, keys: Values) -> Values:
        output = full_path(keys["output"], f"{database.name}: output")
        answer = (tried if module.check_mode else into)(database, keys, output)
        files = [*answer["files"], *answer.get("changed_rows", [])]
        lines = [f"{file['path']}: {file['rows']} rows of {file['table']}" for file in files]
        run.diff(database.name, [f"{output}: nothing"], lines or [f"{output}: an empty folder"])
        return {**answer, "summary": list(datarender.exported(answer))}

    run.each(export)


if __name__ == "__main__":
    main()
