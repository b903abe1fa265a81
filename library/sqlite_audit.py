#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_audit
short_description: Say how a host's SQLite databases are protected, for an audit of the whole fleet
version_added: 0.1.0
description:
  - Compares what stands in the repository, what the host's configuration says, and what SQLite files the host has, with
    the policies that are handed in. Answers for each database and control, under ids that stay.
  - On a backup server it answers for all hosts whose backups are held there.
  - M(sqlite_audit_report) makes one report of all hosts' answers. The playbook C(retention_audit.yml) does both.
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: It changes nothing.
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
  held:
    description:
      - On a backup server, the directory of what it holds of other hosts.
      - With it, an empty list of I(databases) means that the server has none of its own, and is not asked for any.
    type: str
  configuration:
    description: The configuration of Litekeep on the host, which is compared with I(databases).
    type: str
    default: /etc/litekeep/litekeep.json
  discover:
    description: Folders in which databases are looked for that nobody protects. An empty list looks nowhere.
    type: list
    elements: str
    default: ["/"]
  exempt:
    description:
      - Paths, with shell patterns, in which nothing needs to be protected.
      - They come on top of what a system makes anew, such as C(/usr), C(/tmp), C(/var/cache) and C(/var/lib/dpkg).
    type: list
    elements: str
    default: []
  accept:
    description:
      - Findings that are known and accepted. Until that day is over they are notices in the report, with the reason.
    type: list
    elements: dict
    default: []
    suboptions:
      control:
        description: The control's id, for example V(LK06).
        type: str
        required: true
      database:
        description: Of this database only.
        type: str
      until:
        description: The last day, for example V(2026-12-31), or a time with its offset from UTC.
        type: str
        required: true
      reason:
        description: Why it is accepted.
        type: str
        required: true
requirements:
  - python3-zstandard on the host
seealso:
  - module: sqlite_audit_report
  - module: sqlite_backup_info
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Ask how the databases are protected
  sqlite_audit:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
    exempt: [/srv/scratch, "*.bak"]
  register: litekeep_audit
"""

RETURN = r"""
answers:
  description:
    - One answer for the host's own databases, and one for what it holds of others, where it is a backup server.
    - What is in them is published with the report, see M(sqlite_audit_report).
  returned: success
  type: list
  elements: dict
  sample:
    - host: db1
      kind: database host
      state: answered
      findings: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep.auditanswers import host_answer, repository_answer
from ansible.module_utils.litekeep.config import Config, load_config
from ansible.module_utils.litekeep.errors import LitekeepError
from ansible.module_utils.litekeep.waivers import check_waivers
from ansible.module_utils.litekeep_module import Run, Values, databases_option, repository_options

_ACCEPT = {
    "control": {"type": "str", "required": True},
    "database": {"type": "str"},
    "until": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
}


def main() -> None:
    """Look and answer."""
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(),
            **repository_options(),
            "held": {"type": "str"},
            "configuration": {"type": "str", "default": "/etc/litekeep/litekeep.json"},
            "discover": {"type": "list", "elements": "str", "default": ["/"]},
            "exempt": {"type": "list", "elements": "str", "default": []},
            "accept": {"type": "list", "elements": "dict", "default": [], "options": _ACCEPT},
        },
        supports_check_mode=True,
    )
    run, given = Run(module), module.params
    config = run.config()
    answers: list[Values] = []
    if given["databases"] or given["held"] is None:
        policies = {database.name: database for database in run.policies(given["databases"])}
        known = Config(config.repository, config.host, policies, _remotes(given["configuration"]))
        accepted = run.parsed(lambda: check_waivers(given["accept"], "accept"))
        answers.append(host_answer(known, given["discover"], given["exempt"], given["configuration"], accepted))
    if given["held"] is not None:
        answers.append(run.parsed(lambda: repository_answer(config.host, given["held"])))
    module.exit_json(changed=False, answers=answers)


def _remotes(configuration: str) -> Values:
    """Where the host really sends its backups; what is wrong with its configuration is a finding of its own."""
    try:
        return dict(load_config(configuration).remotes)
    except LitekeepError:
        return {}


if __name__ == "__main__":
    main()
