#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_undelete
short_description: Put rows back into SQLite databases that were there at a moment and are not now
version_added: 0.1.0
description:
  - Restores the state of a moment beside the database, compares it with the live one by primary key (or rowid), and
    puts back what is missing in one transaction. The application may run; it waits while the rows are written.
  - What is there now is never overwritten. Rows that cannot come back, and rows with another content now, are reported,
    and do not make the module fail.
  - A table that was dropped is made again, with its indexes and triggers.
  - Rows that were deleted on purpose since that moment come back, too. Choose the moment right before the mistake, and
    name the tables.
attributes:
  check_mode:
    description: Does it all and takes it back, so that the numbers are exact, and fails where the real run does.
    support: full
    details:
      - Other writers wait while it is done, as they do in the real run.
  diff_mode:
    description: Shows the tables, with the rows that are missing before and after.
    support: full
  idempotent:
    description: A second run finds nothing missing, but for rows that cannot come back, and changes nothing.
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
      to:
        description:
          - The moment before the rows went, as in V(2026-11-22T02:00:00Z) or V(2026-11-22T03:00:00+01:00). The offset
            from UTC is needed.
          - Or the id of a backup, or of a restore point, as M(sqlite_commits) shows them.
        type: str
        required: true
      nearest:
        description: Take the nearest earlier moment where the one in O(databases[].to) cannot be restored.
        type: bool
        default: false
      tables:
        description: Only these tables. All of them when left out.
        type: list
        elements: str
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
  triggers:
    description:
      - V(fire) lets the triggers of the tables work as for every row. Where they would make the rows others than they
        were, nothing is done, and the module fails.
      - V(skip) leaves them out.
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
  - python3-zstandard on the host
seealso:
  - module: sqlite_commits
  - module: sqlite_restore
  - module: sqlite_export
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Put back the customers that a script deleted after 14:29
  sqlite_undelete:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        to: "2026-11-22T14:29:00+01:00"
        tables: [customers, orders]
    host: "{{ inventory_hostname }}"
  register: undelete

- name: Show what could not come back
  ansible.builtin.debug:
    msg: "{{ undelete.databases[0].tables | map(attribute='conflicts') | flatten }}"
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
      description: Whether rows or tables were put back; in check mode, whether they would be.
      returned: always
      type: bool
      sample: true
    dry_run:
      description: Whether it was all taken back, as it is in check mode.
      returned: success
      type: bool
      sample: false
    point:
      description:
        - The state that was compared with. C(requested) is the moment that was asked for, none for an id; C(recovered)
          the moment whose state this is; C(next) the first later state that can be restored.
      returned: success
      type: dict
      sample:
        id: 20261122T015900.001Z@2.811
        requested: "2026-11-22T13:29:00.000Z"
        recovered: "2026-11-22T13:29:00.000Z"
        next: "2026-11-22T13:29:00.412Z"
        last_commit_observed: "2026-11-22T13:28:58.120Z"
        timeline: 20261122T015900.001Z
        segments: 3605
        base: 20261122T020000.123Z-full
    tables:
      description:
        - What became of each table. C(missing) rows of then have no row with their key now, and C(put_back) of them are
          there again; C(conflicts) says why the others are not, the first ones by their keys. C(sample) shows some.
        - C(changed) rows have another content now, and keep it; C(changed_keys) are some of theirs.
        - C(made_again) where the table itself was gone. C(note) says why a table was left alone.
      returned: success
      type: list
      elements: dict
      sample:
        - table: customers
          missing: 50000
          put_back: 49999
          conflicts: ["id=7: UNIQUE constraint failed: customers.email"]
          changed: 2
          changed_keys: ["id=11", "id=12"]
          sample: ["id=7, email=ada@example.org"]
          made_again: false
          note: ""
    put_back:
      description: Rows of all tables that are there again.
      returned: success
      type: int
      sample: 49999
    triggers:
      description: Triggers that could fire.
      returned: success
      type: list
      elements: str
      sample: [customers_count]
    rows_of_triggers:
      description: Rows that they wrote.
      returned: success
      type: int
      sample: 49999
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: 49,999 rows put back"]
    error:
      description: Why nothing was done. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: verification
        exit_code: 3
        message: "50000 rows of customers would not be what they were: triggers change them"
        expected: rows equal to those of then
        found: "triggers: customers_stamp"
        safe: "nothing was changed: the whole transaction was taken back"
        next: add --triggers skip, which leaves the triggers out, and see what else they would have done
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.undelete import Wish
from ansible.module_utils.litekeep_module import (
    SILENT,
    Run,
    Values,
    databases_option,
    repository_options,
    writing_options,
)


def lines(tables: list[Values], after: bool) -> list[str]:
    """Each table that is touched, in the lines of the diff."""
    found = []
    for table in tables:
        missing = table["missing"] - (table["put_back"] if after else 0)
        gone = ", the table itself is gone" if table["made_again"] and not after else ""
        if table["put_back"] or table["made_again"]:
            found.append(f"{table['table']}: {missing} rows missing{gone}")
    return found


def main() -> None:
    """Put back, or try it in check mode, and report."""
    more = {
        "to": {"type": "str", "required": True},
        "nearest": {"type": "bool", "default": False},
        "tables": {"type": "list", "elements": "str"},
    }
    module = AnsibleModule(
        argument_spec={"databases": databases_option(**more), **repository_options(), **writing_options()},
        supports_check_mode=True,
    )
    run = Run(module, *more)
    repository = run.repository()

    def undelete(database: Database, keys: Values) -> Values:
        wish = Wish(
            to=keys["to"],
            tables=tuple(keys["tables"] or ()),
            nearest=keys["nearest"],
            triggers=module.params["triggers"],
            foreign_keys=module.params["foreign_keys"] == "check",
            dry_run=module.check_mode,
        )
        answer = dataanswers.undelete_answer(repository, database, wish, SILENT)
        if answer["changed"]:
            run.diff(database.name, lines(answer["tables"], False), lines(answer["tables"], True))
        # Whose next step is a word of the command line.
        summary = [line for line in datarender.undeleted(answer) if "--dry-run" not in line]
        return {**answer, "summary": summary}

    run.each(undelete)


if __name__ == "__main__":
    main()
