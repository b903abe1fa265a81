# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The four forms of an audit's report, as files."""

from __future__ import annotations

import json
import os
from typing import Any

from . import reportcsv, reporthtml, reportprom
from .errors import UsageError
from .files import write_durably

JSON, CSV, PROM, HTML = NAMES = ("audit.json", "audit.csv", "audit.prom", "audit.html")


def write_reports(report: dict[str, Any], folder: str) -> dict[str, str]:
    """Write all four into ``folder``, each whole or not at all. Returns their paths by name. Raises UsageError."""
    texts = {
        JSON: json.dumps(report, indent=1) + "\n",
        CSV: reportcsv.table(report),
        PROM: reportprom.textfile(report),
        HTML: reporthtml.page(report),
    }
    paths = {name: os.path.join(folder, name) for name in NAMES}
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in texts.items():
            write_durably(paths[name], text, mode=0o644)
    except OSError as problem:
        raise UsageError(
            f"The reports cannot be written into {folder}",
            found=str(problem.strerror),
            safe="nothing else was changed",
            next_step="name another folder",
        ) from problem
    return paths
