# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command ``audit``: words in, a report out."""

from __future__ import annotations

import json
import os
import socket

from . import auditrender, fleet
from .auditanswers import host_answer, repository_answer
from .reports import write_reports
from .run import Run, say
from .timefmt import now


class AuditCommands(Run):
    """audit."""

    def run_audit(self) -> int:
        """``audit``: of this host, or of a repository and all hosts in it."""
        options = self.options
        if options.audited is not None:
            name = options.host or socket.gethostname().split(".")[0]
            answer = repository_answer(name, os.path.abspath(options.audited))
        else:
            # Who names one database means that one.
            roots = options.discover or ([] if options.database is not None else ["/"])
            answer = host_answer(self.config, roots, options.exempt)
        report = fleet.report([answer], options.fail_on, now())
        if options.reports is not None:
            paths = write_reports(report, options.reports)
            self.progress.close()
        if self.as_json:
            say(json.dumps(report, indent=2))
        else:
            for line in auditrender.audited(report):
                say(line)
            if options.reports is not None:
                say("reports: " + ", ".join(paths.values()))
        return 0 if report["compliant"] else 3
