# SPDX-License-Identifier: GPL-3.0-or-later
"""A systemctl for machines without systemd: its units are real processes, described in JSON files.

Knows what ansible.builtin.systemd_service asks for: show, start, stop. The real one is Molecule's affair.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path(os.environ["FAKE_UNITS"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def show(unit: dict) -> str:
    if unit["state"] == "active" and not alive(unit["pid"]):
        unit["state"] = "failed"
    return unit["state"]


def start(unit: dict) -> None:
    if unit["state"] == "deactivating":
        return  # the job waits until it has stopped
    process = subprocess.Popen(unit["command"], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()  # it says when it is ready, as with Type=notify
    unit.update(state="active", pid=process.pid)


def stop(unit: dict) -> None:
    if unit.get("stubborn"):
        unit["state"] = "deactivating"
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(unit["pid"], signal.SIGTERM)
    while alive(unit["pid"]):
        time.sleep(0.01)
    unit["state"] = "inactive"


def main() -> None:
    action, name = (word for word in sys.argv[1:] if not word.startswith("-"))
    file = UNITS / f"{name}.json"
    if not file.exists():
        print("LoadState=not-found\nActiveState=inactive")
        return
    unit = json.loads(file.read_text())
    if action == "show":
        print(f"Id={name}\nLoadState=loaded\nActiveState={show(unit)}\nUnitFileState={unit.get('enabled', 'disabled')}")
    else:
        with open(UNITS / "log", "a", encoding="utf-8") as log:
            log.write(f"{action} {name}\n")
        if (action == "start") != (show(unit) == "active"):
            {"start": start, "stop": stop}[action](unit)
    file.write_text(json.dumps(unit))


main()
