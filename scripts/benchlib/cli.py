# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/bench COMMAND``: which benchmarks there are, and the Python that they run with."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from . import archive, audit, backup, push, soak
from .place import ROOT, BenchError

EPILOG = """\
Everything is generated from a seed, in a directory of its own under $TMPDIR (default /tmp) that is removed at the end.
Figures are for information. Exit code 1: a result was wrong, or a soak did not hold; 2: it could not be measured.
For figures that mean something: a machine that does nothing else, and no tmpfs.
"""


class Command(NamedTuple):
    """One benchmark. run: carries it out and returns the exit code."""

    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# A new benchmark is a room of this package and a line here.
COMMANDS = {
    "backup": Command(backup.SUMMARY, backup.add_arguments, backup.run),
    "archive": Command(archive.SUMMARY, archive.add_arguments, archive.run),
    "push": Command(push.SUMMARY, push.add_arguments, push.run),
    "audit": Command(audit.SUMMARY, audit.add_arguments, audit.run),
    "soak": Command(soak.SUMMARY, soak.add_arguments, soak.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark. Returns 0, 1 when a result was wrong, 2 when it could not be measured."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser()
    if not words:
        parser.print_help()
        return 0
    options = parser.parse_args(words)
    try:
        use_checkout_python(ROOT / ".venv", words)
        signal.signal(signal.SIGTERM, _terminated)
        return COMMANDS[options.command].run(options)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Litekeep on this machine against the tools that it stands beside.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.arguments(commands.add_parser(name, help=command.summary, description=command.summary))
    return parser


def use_checkout_python(venv: Path, words: Sequence[str]) -> None:
    """Go on in the checkout's virtual environment. BenchError when there is none, or it lacks what is needed."""
    python = venv / "bin" / "python"
    if not (venv / "pyvenv.cfg").is_file() or not os.access(python, os.X_OK):
        raise BenchError(f"there is no {venv}: make it with scripts/quickstart or scripts/test, then run this again")
    if Path(sys.prefix).resolve() != venv.resolve():
        sys.stdout.flush()
        os.execv(python, [str(python), str(ROOT / "scripts" / "bench"), *words])
    if importlib.util.find_spec("zstandard") is None:
        raise BenchError(f"{venv} lacks zstandard: run {python} -m pip install -r {ROOT / 'requirements.txt'}")


def _terminated(_number: int, _frame: object) -> NoReturn:
    """Leave through all clean-ups: no gigabytes stay behind, no writer goes on."""
    raise SystemExit(128 + signal.SIGTERM)
