# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last words of scripts/quickstart: what `litekeep status --json`, on standard input, says of the newest backup."""

from __future__ import annotations

import json
import sys
from typing import Any


def lines(status: dict[str, Any]) -> list[str]:
    """Stops when there is no verified backup: then nothing reassuring must be said."""
    newest = status["newest"]
    if newest is None or newest["state"] != "verified":
        raise SystemExit("quickstart: there is no verified backup: " + "; ".join(status["findings"]))
    rows = ", ".join(f"{count} rows in {table}" for table, count in newest["rows"].items())
    return [
        "",
        f"Backup of {status['path']}",
        f"  lies in   {newest['path']}",
        f"  holds     {rows or 'no tables'}; {megabytes(newest['size'])}, stored in {megabytes(newest['stored_size'])}",
        f"  verified  {newest['last_verified']}: integrity and foreign keys checked, stored bytes read back",
    ]


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    (status,) = json.load(sys.stdin)["databases"]
    sys.stdout.write("\n".join(lines(status)) + "\n")
