#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_audit_report
short_description: Make one report of what a fleet has answered about its SQLite databases
version_added: 0.1.0
description:
  - Puts the answers of M(sqlite_audit) together, compares what hosts say of their copies with what backup servers hold,
    and writes C(audit.json), C(audit.csv), C(audit.prom) and C(audit.html) into one folder.
  - Runs on the controller. Who did not answer is a finding.
  - It does not fail because of findings. Let the play do so, after this, by I(compliant).
attributes:
  check_mode:
    description: Says what the reports would say, and writes none.
    support: full
  diff_mode:
    description: Reports are written anew each time, so there is nothing to compare.
    support: none
  idempotent:
    description: The reports carry the time at which they were made.
    support: none
options:
  results:
    description: What M(sqlite_audit) returned, by the names of the inventory, unreachable hosts included.
    type: dict
    required: true
  servers:
    description: Which of these names are backup servers.
    type: list
    elements: str
    default: []
  reports:
    description: The folder for the reports. It is made where it is missing.
    type: str
    required: true
  fail_on:
    description: The least severity that makes the fleet not compliant.
    type: str
    choices: [critical, warning, notice, never]
    default: warning
seealso:
  - module: sqlite_audit
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Write the reports
  sqlite_audit_report:
    results: "{{ asked | items2dict(key_name='inventory_hostname', value_name='litekeep_audit') }}"
    reports: /var/www/reports
  vars:
    asked: "{{ groups['all'] | map('extract', hostvars) | selectattr('litekeep_audit', 'defined') }}"
"""

RETURN = r"""
compliant:
  description: Whether there is no finding at or above I(fail_on).
  returned: success
  type: bool
  sample: false
counts:
  description: How many hosts were asked, databases seen, databases without a warning, and findings of each severity.
  returned: success
  type: dict
  sample: {hosts: 5, databases: 7, green: 3, critical: 2, warning: 1, notice: 4}
verdict:
  description: All of it in one line.
  returned: success
  type: str
  sample: "not compliant: 5 asked, 7 databases, 3 of them green; findings: 2 critical, 1 warning, 4 notice"
summary:
  description: The findings in words, the worst first, up to 100 of them. Notices only where I(fail_on) is V(notice).
  returned: success
  type: list
  elements: str
  sample: ["critical  db1/events  LK03 freshness: there is no restore point"]
reports:
  description: The paths of the reports, by name.
  returned: success
  type: dict
  sample: {audit.json: /var/www/reports/audit.json}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import auditrender, fleet
from ansible.module_utils.litekeep.controls import FAIL_ON, NOTICE, WARNING
from ansible.module_utils.litekeep.reports import write_reports
from ansible.module_utils.litekeep.timefmt import now
from ansible.module_utils.litekeep_module import Run, Values

_SHOWN = 100


def main() -> None:
    """Put together, write, and tell."""
    module = AnsibleModule(
        argument_spec={
            "results": {"type": "dict", "required": True},
            "servers": {"type": "list", "elements": "str", "default": []},
            "reports": {"type": "str", "required": True},
            "fail_on": {"type": "str", "choices": list(FAIL_ON), "default": WARNING},
        },
        supports_check_mode=True,
    )
    given = module.params
    answers = [
        answer
        for name, result in given["results"].items()
        for answer in fleet.answers_of(name, result, name in given["servers"])
    ]
    report: Values = fleet.report(answers, given["fail_on"], now())
    paths = {} if module.check_mode else Run(module).parsed(lambda: write_reports(report, given["reports"]))
    module.exit_json(
        changed=not module.check_mode,
        compliant=report["compliant"],
        counts=report["summary"],
        verdict=auditrender.verdict(report),
        summary=list(auditrender.findings(report, NOTICE if given["fail_on"] == NOTICE else WARNING, _SHOWN)),
        reports=paths,
    )


if __name__ == "__main__":
    main()
