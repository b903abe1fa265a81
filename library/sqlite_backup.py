#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup
short_description: Take verified backups of SQLite databases
version_added: 0.1.0
description:
  - Takes a full backup of each database while the application goes on working.
  - A backup counts only after the copy passed SQLite's checks and the stored bytes were read back.
  - With O(max_age) a backup is taken only when the newest verified one is older.
  - A database that is already damaged fails. Its copy is kept, marked bad, and never counts as a restore point.
attributes:
  check_mode:
    description: Says whether a backup is due, writes nothing, and fails where the source cannot be backed up.
    support: full
    details:
      - Damage inside the database and lack of space show only when a backup is taken.
  diff_mode:
    description: Shows the newest backup and its rows before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: partial
    details:
      - With O(max_age). Without it every run takes a backup.
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
  max_age:
    description:
      - Take a backup only when the newest verified one is older, for example V(20h).
      - Always take one when left out.
    type: str
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_verify
  - module: sqlite_restore
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Back up all databases of the host, at most once a day
  sqlite_backup:
    databases: "{{ sqlite_backup_databases }}"
    max_age: 20h

- name: Back up one database before its application is upgraded
  sqlite_backup:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
    repository: /srv/backup/litekeep
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
      description: Whether a backup was taken; in check mode, whether one would be.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why a backup was or was not needed.
      returned: success
      type: str
      sample: the newest verified backup is 23 h 59 min old, the limit is 20 h
    previous:
      description: Id of the newest verified backup before this run, none when there was none.
      returned: success
      type: str
      sample: 20261121T020000.087Z-full
    backup:
      description: The newest verified backup now. Sizes in bytes; in check mode it is the previous one.
      returned: success
      type: dict
      sample:
        id: 20261122T020000.123Z-full
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
    checks:
      description: The checks that this backup passed.
      returned: success
      type: dict
      sample:
        integrity: {result: ok, messages: [], seconds: 0.281}
        foreign_keys: {result: ok, messages: [], seconds: 0.004}
        read_back: {result: ok, messages: [], seconds: 0.066}
    seconds:
      description: How long the backup took, 0 when none was taken.
      returned: success
      type: float
      sample: 0.512
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: verified backup 20261122T020000.123Z-full in 0.5 s"]
    error:
      description: What went wrong. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: source
        exit_code: 8
        message: /var/lib/mcp/event.db does not exist
        expected: a SQLite database
        found: "in /var/lib/mcp: events.db"
        safe: no file was created; earlier backups stand
        next: correct the path
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import answers, render
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.timefmt import parse_duration
from ansible.module_utils.litekeep_module import SILENT, Run, Values, databases_option, repository_options, rows_text


def described(backup: Values | None) -> list[str]:
    """A backup in the lines of the diff."""
    if backup is None:
        return ["newest backup: none"]
    return [f"newest backup: {backup['id']}", f"taken: {backup['snapshot']}", f"rows: {rows_text(backup['rows'])}"]


def main() -> None:
    """Predict, act unless in check mode, report."""
    module = AnsibleModule(
        argument_spec={"databases": databases_option(), **repository_options(), "max_age": {"type": "str"}},
        supports_check_mode=True,
    )
    run = Run(module)
    repository = run.repository()
    given = module.params["max_age"]
    max_age = None if given is None else run.parsed(lambda: parse_duration(given, "max_age"))

    def backup(database: Database, _keys: Values) -> Values:
        answer = answers.backup(repository, database, SILENT, max_age, dry_run=True)
        before, after = answer["backup"], ["newest backup: a new full backup", "taken: now", "rows: as they are then"]
        if answer["changed"] and not module.check_mode:
            answer = answers.backup(repository, database, SILENT, max_age)
            after = described(answer["backup"])
        if answer["changed"]:
            run.diff(database.name, described(before), after)
        previous = before["id"] if before else None
        return {**answer, "previous": previous, "summary": list(render.backup(answer))}

    run.each(backup)


if __name__ == "__main__":
    main()
