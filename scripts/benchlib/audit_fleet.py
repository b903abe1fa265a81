# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A fleet that is simulated on one machine: real backups of as many hosts as are asked for, names in an inventory."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

from litekeep.manifest import NAME as MANIFEST
from litekeep.manifest import checksum
from litekeep.timefmt import now, to_id, to_text

from .place import NAME

POLICY: dict[str, Any] = {
    "retention": {"keep_daily": 30, "keep_monthly": 12},
    "objectives": {"rpo": "26h", "rto": "30m"},
}


def copies(folder: Path, original: Path, count: int) -> None:
    """``count`` daily backups below ``folder``, the last of an hour ago. Their data are links, their manifests not."""
    values = json.loads((original / MANIFEST).read_text())
    data = [file["name"] for file in values["files"]]
    for number in range(count):
        moment = now() - dt.timedelta(days=count - 1 - number, hours=1)
        values["id"] = f"{to_id(moment)}-full"
        values["sequence"] = number + 1
        values["times"]["snapshot"] = to_text(moment)
        values["checksum"] = checksum(values)
        backup = folder / values["id"]
        backup.mkdir(parents=True)
        for name in data:
            os.link(original / name, backup / name)
        (backup / MANIFEST).write_text(json.dumps(values))


def repository(root: Path, original: Path, databases: int, backups: int) -> None:
    """A backup server's: ten databases a host."""
    for number in range(databases):
        copies(root / f"host{number // 10:04}" / f"db{number % 10}" / "backups", original, backups)


def fleet(folder: Path, original: Path, hosts: int, backups: int) -> Path:
    """Hosts that have a folder each, with one database and its backups. Returns the inventory."""
    source = json.loads((original / MANIFEST).read_text())["source"]["path"]
    names = [f"host{number:04}" for number in range(hosts)]
    for name in names:
        copies(folder / name / "repository" / name / NAME / "backups", original, backups)
        config = {
            "repository": str(folder / name / "repository"),
            "host": name,
            "databases": {NAME: {"path": source, **POLICY}},
        }
        (folder / name / "litekeep.json").write_text(json.dumps(config))
    inventory = {
        "all": {
            "hosts": {name: {} for name in names},
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "sqlite_backup_repository": f"{folder}/{{{{ inventory_hostname }}}}/repository",
                "audit_configuration": f"{folder}/{{{{ inventory_hostname }}}}/litekeep.json",
                "audit_discover": [f"{folder}/{{{{ inventory_hostname }}}}"],
                "sqlite_backup_databases": [{"name": NAME, "path": source, **POLICY}],
            },
        }
    }
    path = folder / "inventory.json"
    path.write_text(json.dumps(inventory))
    return path
