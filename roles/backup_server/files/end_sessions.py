# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End the sessions that were opened before the keys of their account changed. Run on the server by the role
backup_server.

    end_sessions.py KEYS GROUP

A session outlives the key that opened it. So of every account of GROUP, all processes are killed that are older than
its key file KEYS/ACCOUNT, and all where there is no such file. Prints what was ended.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator

# Seconds between the look at a key and the first process of the session that it opens, at most.
_SLACK = 2.0
_TRIES = 50


def processes(uid: int) -> Iterator[tuple[int, float]]:
    """Those of a user, and their age in seconds."""
    with open("/proc/uptime", encoding="ascii") as stream:
        uptime = float(stream.read().split()[0])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.stat(f"/proc/{pid}").st_uid != uid and uid not in _uids(pid):
                continue
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
                state, *fields = stream.read().rpartition(")")[2].split()
            if state != "Z":
                yield int(pid), uptime - int(fields[18]) / os.sysconf("SC_CLK_TCK")


def _uids(pid: str) -> list[int]:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
        line = next((line for line in stream if line.startswith("Uid:")), "Uid:")
    return [int(word) for word in line.split()[1:]]


def end(account: str, path: str) -> int:
    """Returns how many processes were killed."""
    uid = pwd.getpwnam(account).pw_uid
    ended: set[int] = set()
    for _try in range(_TRIES if uid else 0):
        keyless = not os.path.exists(path)
        # A file that is gone has changed its folder.
        age = time.time() - os.stat(os.path.dirname(path) if keyless else path).st_ctime
        for pid, process_age in list(processes(uid)):
            if keyless or process_age >= age - _SLACK:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    ended.add(pid)
        # Once more, when no session can begin any more that was let in by a key that is gone.
        if age > _SLACK:
            break
        time.sleep(0.2)
    return len(ended)


def main(keys: str, group: str) -> None:
    """Every account of the group."""
    for account in sorted(grp.getgrnam(group).gr_mem):
        with contextlib.suppress(KeyError):
            ended = end(account, os.path.join(keys, account))
            if ended:
                print(f"{account}: {ended} processes ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
