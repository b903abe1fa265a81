# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A place off the host, through rclone: listing, writing, reading. Nothing here knows what a backup is.

Secrets stand in rclone's own configuration file and nowhere else: not in arguments, not in the environment.

rclone has timeouts and attempts of its own, which add up: a server that takes requests and never answers holds it for
twelve times its timeout. So each rclone is watched, and ended when it stands still. What counts is what it really
moves, as the kernel knows it, and not only what goes through our pipes: it reads ahead, hashes before it sends and
lists without a word, and a slow line must not be taken for a dead one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, NoReturn

from .config import Remote
from .errors import RemoteError, UsageError
from .files import CHUNK

# "rclone", List of exit codes: a directory, or a file, that is not there.
_NOT_THERE = (3, 4)
_LEVEL = re.compile(
    r"^(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?(?:<\d>)?"
    r"(?:(?:ERROR|CRITICAL|NOTICE|INFO)\s*:?\s*|Failed to \w+(?: with \d+ errors)?: (?:last error was: )?)?"
)
_SAFE = "the local backups and the archive are whole; what did not arrive is sent again"
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy")
# Seconds that rclone has to clean up.
_FAREWELL = 5.0
# How often a folder is listed again from which others went away meanwhile.
_LISTINGS = 5
# rclone stands still when it moves less than these bytes in three times its timeout. Requests that are repeated in vain
# stay below: 400 bytes each, once per timeout.
_PATIENCE = 3
_LITTLE = 4096
_LOOK = 0.25
_ERROR_TEXT = 1 << 16


class BrokenOffError(RemoteError):
    """rclone was ended before it was done: it stood still, or the work was to end."""


class Store:
    """A remote as this host may use it. One that writes and one that reads may be used in two threads."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._ended = threading.Event()
        self._patience = float(_PATIENCE * remote.timeout)

    def where(self, path: str) -> str:
        """How rclone names a path below the remote."""
        base = self.remote.path
        return base + path if base.endswith((":", "/")) else f"{base}/{path}"

    def files(self, folder: str) -> dict[str, int]:
        """Sizes of all files below a folder, by their path in it; none where there is no such folder.

        Raises RemoteError.
        """
        for _attempt in range(_LISTINGS):
            try:
                return self._listed(folder, "--recursive", "--files-only")
            except _NotThereError:
                # Or is it one below it? A server that seals removes the folders that it has emptied.
                if not self._is_there(folder):
                    return {}
        raise self._failed("list", f"folders below {folder} went away while they were listed, {_LISTINGS} times")

    def _is_there(self, folder: str) -> bool:
        try:
            self._listed(folder)
        except _NotThereError:
            return False
        return True

    def _listed(self, folder: str, *options: str) -> dict[str, int]:
        words = ["lsjson", *options, "--no-modtime", "--no-mimetype", self.where(folder)]
        answer = b"".join(self._output(words, "list"))
        try:
            return _sizes(json.loads(answer))
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise self._failed("list", f"rclone answered something else than a list: {problem!r}") from problem

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file out of its content. Raises RemoteError; what stands there then may be a part."""
        with self._run(["rcat", self.where(path)], "write", stdin=subprocess.PIPE) as process:
            stream = _pipe(process.stdin)
            with contextlib.suppress(BrokenPipeError):
                for block in blocks:
                    stream.write(block)
                stream.close()

    def send(self, folder: str, names: Sequence[str], to: str) -> None:
        """Copy files of a local folder. Raises RemoteError; what stands there then may be a part."""
        with _list_of(names) as wanted:
            words = ["copy", "--no-traverse", "--ignore-times", "--files-from-raw", wanted, folder, self.where(to)]
            self._call([*words, *self._bandwidth()], "write")

    def read(self, path: str, start: int = 0, size: int = -1) -> Iterator[bytes]:
        """The content of a file, which is not empty, or so many bytes of it. Raises RemoteError."""
        folder, name = os.path.split(path)
        empty = True
        try:
            for block in self._output(["cat", f"--offset={start}", f"--count={size}", self.where(path)], "read"):
                empty = False
                yield block
        except _NotThereError as problem:
            raise self._missing(path) from problem
        # On S3, rclone takes a file that is not there for an empty folder, and is content.
        if empty and name not in self.files(folder):
            raise self._missing(path)

    def fetch(self, folder: str, names: Sequence[str], to: str, transfers: int = 8) -> None:
        """Copy files into a local folder. Raises RemoteError, OSError; some may stand there then."""
        with _list_of(names) as wanted:
            words = ["copy", "--no-traverse", "--files-from-raw", wanted, "--transfers", str(transfers)]
            try:
                self._call([*words, self.where(folder), to], "read")
            except _NotThereError as problem:
                raise self._missing(folder) from problem
        # rclone passes over those that are not there.
        for name in names:
            if not os.path.exists(os.path.join(to, name)):
                raise self._missing(f"{folder}/{name}")

    def hurry(self, seconds: float) -> None:
        """From now on, what stands still for so long is ended."""
        self._patience = min(self._patience, seconds)

    def end(self) -> None:
        """End what runs; what is asked for afterwards is refused."""
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether ``end`` was called."""
        return self._ended.is_set()

    def _bandwidth(self) -> list[str]:
        return ["--bwlimit", self.remote.bandwidth] if self.remote.bandwidth else []

    def _call(self, words: Sequence[str], what: str) -> None:
        with self._run(words, what):
            pass

    def _output(self, words: Sequence[str], what: str) -> Iterator[bytes]:
        with self._run(words, what, stdout=subprocess.PIPE) as process:
            stream = _pipe(process.stdout)
            yield from iter(lambda: stream.read(CHUNK), b"")

    @contextlib.contextmanager
    def _run(
        self, words: Sequence[str], what: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[bytes]]:
        """rclone, until it has ended well. An error of the caller ends it."""
        program = shutil.which("rclone")
        if program is None:
            raise _no_rclone()
        if self.ended:
            raise self._broken_off(what, 0)
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [program, *self._options(), *words], stdin=stdin, stdout=stdout, stderr=said, env=_environment()
            )
            watch = _Watch(process, self._standing)
            try:
                yield process
                code = process.wait()
            except BaseException:
                # Before its pipes are closed: a part of a file is not to end like a whole one.
                _end(process)
                raise
            finally:
                watch.over()
                _close(process)
            if code:
                self._refuse(what, code, said, watch)

    def _standing(self, seconds: float) -> bool:
        """Whether a standstill of so many seconds is enough."""
        return self._ended.is_set() or seconds >= self._patience

    def _options(self) -> list[str]:
        seconds = self.remote.timeout
        return ["--config", self.remote.rclone, "--ask-password=false", "--retries", "1", "--low-level-retries", "2",
                "--use-server-modtime", "--contimeout", f"{seconds}s", "--timeout", f"{seconds}s",
                "--log-level", "ERROR"]  # fmt: skip

    def _refuse(self, what: str, code: int, said: IO[bytes], watch: _Watch) -> NoReturn:
        if watch.has_ended_it:
            raise self._broken_off(what, watch.still)
        if code in _NOT_THERE:
            raise _NotThereError
        raise self._failed(what, _last_words(said) or f"rclone {_fate(code)}")

    def _broken_off(self, what: str, still: float) -> BrokenOffError:
        if self.ended:
            return BrokenOffError(
                f"What was under way to {self.remote.name} was broken off", found="the work was to end", safe=_SAFE
            )
        return BrokenOffError(
            f"The remote {self.remote.name} stood still when it was to {what}",
            expected=f"something comes or goes within {self._patience:.0f} s",
            found=f"nothing for {still:.0f} s, so rclone was ended",
            safe=_SAFE,
            next_step=self._command(),
        )

    def _failed(self, what: str, found: str) -> RemoteError:
        return RemoteError(
            f"The remote {self.remote.name} refused to {what}",
            expected=f"rclone can {what} in {self.remote.path}",
            found=found,
            safe=_SAFE,
            next_step=self._command(),
        )

    def _missing(self, path: str) -> RemoteError:
        return self._failed("read", f"there is no {path}")

    def _command(self) -> str:
        return f"rclone --config {self.remote.rclone} lsd {self.remote.path}"


class _NotThereError(Exception):
    """A directory or a file that is not on the remote."""


class _Watch:
    """Ends a process that stands still.

    enough: whether so many seconds of standstill are. still: how long it stood when it was ended. Seconds in which this
    process itself did not run (it was stopped, or the machine slept) do not count. Where the kernel does not count what
    a process moves, only ``enough(0)`` is asked.
    """

    def __init__(self, process: subprocess.Popen[bytes], enough: Callable[[float], bool]) -> None:
        self._process, self._enough = process, enough
        self._over = threading.Event()
        self.has_ended_it = False
        self.still = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def over(self) -> None:
        """Watch no longer. The process must have ended."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        mark = waiting = 0
        while not self._over.wait(_LOOK):
            passed = _passed(self._process.pid)
            if passed is not None and passed - waiting <= mark + _LITTLE:
                # What the kernel has taken may be on its way for long.
                waiting = _waiting(self._process.pid)
            if passed is None or passed - waiting > mark + _LITTLE:
                mark, self.still = (passed or 0) - waiting, 0.0
            else:
                mark, self.still = min(mark, passed - waiting), self.still + _LOOK
            if self._enough(self.still):
                self.has_ended_it = True
                _end(self._process)
                return


def _passed(pid: int) -> int | None:
    """Bytes that a process has read and written so far, files and connections (proc_pid_io(5)); None where nobody
    counts."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as stream:
            return sum(int(line.split()[1]) for line in stream if line.startswith(("rchar:", "wchar:")))
    except (OSError, ValueError):
        return None


def _waiting(pid: int) -> int:
    """Bytes that a process has written to connections, and that have not arrived there (proc_pid_net(5), tx_queue)."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        sockets = _open_files(f"/proc/{pid}/fd")
        for name in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as stream:
                fields = (line.split() for line in stream.readlines()[1:])
                total += sum(int(field[4].split(":")[0], 16) for field in fields if f"socket:[{field[9]}]" in sockets)
    return total


def _open_files(folder: str) -> set[str]:
    """What the descriptors in a process's ``fd`` folder stand for; one that is closed meanwhile is not among them."""
    found = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found


@contextlib.contextmanager
def _list_of(names: Sequence[str]) -> Iterator[str]:
    """A file with a name in each line, as ``--files-from-raw`` takes it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="litekeep-", suffix=".list") as stream:
        stream.write("".join(f"{name}\n" for name in names))
        stream.flush()
        yield stream.name


def _sizes(entries: object) -> dict[str, int]:
    if not isinstance(entries, list):
        raise TypeError(type(entries).__name__)
    return {str(entry["Path"]): int(entry["Size"]) for entry in entries}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("the process was started without that pipe")
    return stream


def _environment() -> Mapping[str, str]:
    """Nothing that could change what the configuration file says, or hold a secret."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_FAREWELL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _fate(code: int) -> str:
    """How a process ended that said nothing. code: as Popen has it."""
    if code > 0:
        return f"ended with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _last_words(said: IO[bytes]) -> str:
    """The end of what rclone said, without dates and levels. One error may take two lines."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - _ERROR_TEXT))
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(_LEVEL.sub("", line)[:300] for line in lines[-2:]))


def _no_rclone() -> UsageError:
    return UsageError(
        "rclone is not installed",
        expected="the distribution's package rclone, for backups off the host",
        safe="the local backups go on",
        next_step="run: apt-get install rclone (or the playbook install.yml)",
    )
