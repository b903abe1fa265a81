# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What figures were measured on. No host name and no user name: a report is there to be shown."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .place import BenchError, environment

PACKAGES = ("sqlite3", "zstd")  # commands and packages have the same names


def require_commands(names: Sequence[str] = PACKAGES) -> None:
    """BenchError, with what to install, when a command is not on PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise BenchError(f"missing here: {' '.join(missing)}. Install: sudo apt-get install {' '.join(missing)}")


def describe(folder: Path) -> dict[str, str]:
    """The machine, the file system of ``folder``, and the versions that count; one line each."""
    kind, source = file_system(Path("/proc/self/mountinfo").read_text(errors="replace"), os.stat(folder).st_dev)
    return {
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB",
        "system": f"{distribution()}, Linux {platform.release()}",
        "file system": f"{kind} on {source}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()) + " at the start",
        **versions(),
    }


def versions() -> dict[str, str]:
    """Of the two commands, and of what Litekeep runs on."""
    import zstandard  # not at the top: --help works without the virtual environment

    from litekeep import __version__

    library = ".".join(map(str, zstandard.ZSTD_VERSION))
    return {
        "sqlite3": said("sqlite3", "--version").split()[0],
        "zstd": _version(said("zstd", "--version")),
        "litekeep": (
            f"{__version__} with Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
            f"zstandard {zstandard.__version__} (zstd {library})"
        ),
    }


def _version(text: str) -> str:
    match = re.search(r"\d+(\.\d+)+", text)
    return match[0] if match else text.strip()


def said(*words: str) -> str:
    """What a short command prints."""
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        env=environment(Path("/nonexistent")),
    ).stdout


def processor() -> str:
    """The processor's name, as far as the kernel tells it."""
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    return match[1] if match else platform.machine()


def distribution() -> str:
    """For example Debian GNU/Linux 12 (bookworm)."""
    try:
        match = re.search(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.system()


def file_system(mountinfo: str, device: int) -> tuple[str, str]:
    """Type and source of the mount with that device number (proc_pid_mountinfo(5))."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        mount, _separator, rest = line.partition(" - ")
        if mount.split()[2] == wanted:
            kind, source = rest.split()[:2]
            return kind, source
    return "unknown", "unknown"
