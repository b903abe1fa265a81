# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an SSH server runs below, so that no processor time of it is lost: ``python -m benchlib.push_keeper WORD...``.

A session whose connection breaks leaves its sftp server behind, which nobody waits for then. Here those are children of
this process (prctl(2), PR_SET_CHILD_SUBREAPER), and their time is counted with its own in /proc/PID/stat.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PDEATHSIG, SUBREAPER = 1, 36


def main() -> int:
    """Run the command until SIGTERM; whatever it has started is gone then, too."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(SUBREAPER, 1, 0, 0, 0) or prctl(PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_arguments: server.terminate())
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _status = os.waitpid(-1, 0)
            if pid == server.pid:
                server.returncode = 0
            if server.returncode is not None:
                end_children()
    return 0


def end_children() -> None:
    """Sessions that outlive the server."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
