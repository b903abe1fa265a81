# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A name for a database that scripts/quickstart was given by its path: ``choose_name.py DATABASE HOST_FOLDER``.

It is the file's, made safe. When the repository holds another database's backups under it, the path's hash sets this
one apart: two files called app.db must not end up in one row of backups.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path


def sources(folder: Path) -> set[str]:
    """The paths that the backups in this folder were taken from."""
    found = set()
    for manifest in folder.glob("backups/*/manifest.json"):
        try:
            found.add(json.loads(manifest.read_bytes())["source"]["path"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged manifest says nothing
    return found


def choose_name(database: Path, host_folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", database.stem).strip("-._")[:48] or "database"
    real = os.path.realpath(database)
    if sources(host_folder / name) <= {str(database), real}:
        return name
    return f"{name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}"


if __name__ == "__main__":
    sys.stdout.write(choose_name(Path(sys.argv[1]), Path(sys.argv[2])) + "\n")
