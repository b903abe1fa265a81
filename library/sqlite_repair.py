#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_repair
short_description: Make new SQLite databases out of damaged ones
version_added: 0.1.0
description:
  - Builds a new file out of the damaged one, beside it, checks it, and only then puts it in the damaged one's place.
    What stood there is kept, all four files of it, in C(PATH.before-restore-TIME/), and M(sqlite_restore) with
    V(rolled_back) puts it back.
  - A restore is the better way wherever there is a clean restore point. M(sqlite_triage) says what is damaged.
  - Refuses while any process has the database open, and the service that archives it is one of them. It starts and
    stops no services.
attributes:
  check_mode:
    description: Says what is wrong with the database, and fails where it is known that the real run does.
    support: partial
    details:
      - What can be read out of damaged pages shows only when it is done. There is no RV(databases[].result), and no
        difference.
      - A database that is open gives a warning instead of a failure.
  diff_mode:
    description: Shows the files that are replaced, and what takes their place.
    support: full
  idempotent:
    description: A repair is an action. Each run carries it out.
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
      target:
        description:
          - Another path for the new file. Nothing may stand there, and the damaged database stays where it is.
          - The database's own place when left out.
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
  method:
    description:
      - V(reindex) makes every index anew out of the tables, where M(sqlite_triage) says V(index). No row is lost; where
        one would be, it fails, and the database is as it was.
      - V(salvage) reads out what can be read. Rows may be missing, wrong, or back from among the deleted ones. It is
        for when there is nothing to restore from; look at RV(databases[].differences) before the result is used.
        Rows whose table is not known are in a table C(lost_and_found).
    type: str
    choices: [reindex, salvage]
    required: true
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_triage
  - module: sqlite_restore
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Make damaged indexes anew, with the services stopped
  sqlite_repair:
    databases: "{{ sqlite_backup_databases | selectattr('name', 'equalto', 'events') }}"
    host: "{{ inventory_hostname }}"
    method: reindex

- name: Read out what can be read, into a file beside
  sqlite_repair:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        target: /var/lib/mcp/events-salvaged.db
    host: "{{ inventory_hostname }}"
    method: salvage
  register: salvage

- name: Show how that differs from the newest backup
  ansible.builtin.debug:
    msg: "{{ salvage.databases[0].summary }}"
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
    action:
      description: The method.
      returned: success
      type: str
      sample: reindex
    changed:
      description: Whether a new file was made; in check mode, whether one would be.
      returned: always
      type: bool
      sample: true
    triage:
      description: What is wrong, in check mode, as M(sqlite_triage) returns it.
      returned: in check mode
      type: dict
    result:
      description:
        - What was done, none in check mode. C(backup) says what it was made of.
        - C(quarantine) is the folder with the replaced files, none when there were none.
      returned: success
      type: dict
      sample:
        target: /var/lib/mcp/events.db
        backup: reindex of /var/lib/mcp/events.db
        quarantine: /var/lib/mcp/events.db.before-restore-20261122T030000.217Z
        swapped: true
        notes: []
    rows:
      description: Rows per table of the new file.
      returned: success
      type: dict
      sample: {events: 100000, notes: 2000}
    against:
      description: The newest restore point, which the new file was compared with; none when there is none.
      returned: success
      type: str
      sample: 20261122T020000.123Z-full
    differences:
      description: The tables that differ, with the rows that are C(gone), C(came) and are C(changed) since.
      returned: success
      type: list
      elements: dict
      sample:
        - {table: events, before: true, now: true, gone: 31, came: 17, changed: 0, note: ""}
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: /var/lib/mcp/events.db was made by reindex and passes its checks"]
    error:
      description: Why nothing was replaced. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: in_use
        exit_code: 6
        message: /var/lib/mcp/events.db is in use
        found: mcp-server (process 811, /var/lib/mcp/events.db)
        safe: the damaged database is as it was; the backups stand
        next: systemctl stop mcp-server.service
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import dataanswers, datarender
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.errors import SourceError, UsageError, VerificationError
from ansible.module_utils.litekeep.fileset import FileSet
from ansible.module_utils.litekeep.repair import SAFE
from ansible.module_utils.litekeep.triage import HEADER, MISSING, PAGES
from ansible.module_utils.litekeep_module import (
    SILENT,
    Run,
    Values,
    databases_option,
    repository_options,
    warn_of_openers,
)


def refuse(database: Database, method: str, target: str | None, triage: Values) -> None:
    """What is known to fail. Raises what the repair would raise."""
    if target is not None and FileSet(os.path.realpath(target)).present():
        raise UsageError(
            f"{target} already exists", expected="a free path", safe=SAFE, next_step="choose another target"
        )
    if triage["damage"] == MISSING:
        raise SourceError(
            f"There is nothing to repair at {database.path}",
            found="; ".join(triage["messages"]),
            safe="the backups stand",
            next_step=f"litekeep restore {database.name}",
        )
    if method == "reindex" and triage["damage"] in (PAGES, HEADER):
        raise VerificationError(
            f"{database.path} has more damaged than its indexes",
            expected="damage: index",
            found=f"{triage['damage']}: {'; '.join(triage['messages'][:3])}",
            safe=SAFE,
            next_step=f"litekeep restore {database.name}, or litekeep repair {database.name} --method salvage",
        )


def main() -> None:
    """Repair, or say what is wrong in check mode, and report."""
    more = {"target": {"type": "str"}}
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(**more),
            **repository_options(),
            "method": {"type": "str", "choices": ["reindex", "salvage"], "required": True},
        },
        supports_check_mode=True,
    )
    run = Run(module, *more)
    repository = run.repository()
    method = module.params["method"]

    def show(database: Database, target: str | None) -> None:
        place = os.path.realpath(database.path if target is None else target)
        old = [place + suffix for suffix in FileSet(place).present()]
        kept = [f"kept: {name}, in {place}.before-restore-TIME/" for name in old]
        run.diff(database.name, old or [f"{place}: nothing"], [f"{place}: a new file by {method}", *kept])

    def predict(database: Database, target: str | None) -> Values:
        triage = dataanswers.triage_answer(repository, database, SILENT)
        refuse(database, method, target, triage)
        warn_of_openers(module, os.path.realpath(database.path))
        show(database, target)
        return {
            "database": database.name,
            "action": method,
            "changed": True,
            "triage": triage,
            "result": None,
            "rows": triage["rows"],
            "against": None,
            "differences": [],
            "summary": list(datarender.triaged(triage)),
        }

    def repair(database: Database, keys: Values) -> Values:
        target = keys["target"]
        if module.check_mode:
            return predict(database, target)
        show(database, target)
        answer = dataanswers.repair_answer(repository, database, method, target, SILENT)
        return {**answer, "summary": list(datarender.repaired(answer))}

    run.each(repair)


if __name__ == "__main__":
    main()
