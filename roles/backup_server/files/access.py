# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may send to this server, and who may read: the key files of sshd, out of the inventory and of what this server
remembers. Run on the server by the role backup_server.

    access.py KEYS MEMORY GROUP [--check] < REQUEST

KEYS/lk-NAME is the key file of a host's account. MEMORY/fenced/NAME holds keys that are never admitted again,
MEMORY/admitted/NAME the key of a host that no inventory names yet, MEMORY/heirs/NAME keys that may read what a fenced
host has sent. Prints what changes; notes go to standard error. Ends with 2 when the request cannot be granted.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

# Requests that no sender may make ("man sftp-server", -P): it may make files and folders, write, and read.
REFUSED = "remove,rename,posix-rename,rmdir,setstat,fsetstat,lsetstat,symlink,hardlink"
WRITER = f'restrict,command="internal-sftp -P {REFUSED}"'
READER = 'restrict,command="internal-sftp -R"'

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,27}")
_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3})(?:[ \t]+(.*))?")
_LINE = re.compile(r'restrict,command="internal-sftp (-P [a-z,-]+|-R)" (.+)')


class RefusedError(Exception):
    """What was asked for is not done."""


class Key(NamedTuple):
    """A public key: type and data, and a comment, which makes no difference."""

    data: str
    comment: str

    @property
    def line(self) -> str:
        """As in a file."""
        return f"{self.data} {self.comment}".strip()


def key_from(text: str) -> Key:
    """The key of a line. What it says comes from another host: nothing but a key gets through."""
    found = _KEY.fullmatch(text.strip())
    if found is None:
        raise RefusedError(f"This is no public key of SSH: {ascii(text)[:200]}")
    return Key(found[1], re.sub(r"[^A-Za-z0-9@._ -]", "", found[2] or "")[:60].strip())


def name_from(text: str) -> str:
    """A name that makes an account and a folder."""
    if not _NAME.fullmatch(text):
        raise RefusedError(
            f"This is no name for a host of at most 28 letters, digits, dots, dashes, underscores: {text!a}"
        )
    return text


def is_true(value: object) -> bool:
    """As Ansible's filter ``bool``: what a specification calls a bool may still be a text."""
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t")


class Access:
    """What stands on the server, and what it becomes."""

    def __init__(self, keys: str, memory: str, group: str, check: bool) -> None:
        self.keys, self.memory, self.group, self.check = keys, memory, group, check

    def remembered(self, kind: str, name: str) -> list[Key]:
        """Keys of a file of the memory."""
        return [key_from(line) for line in _lines(os.path.join(self.memory, kind, name))]

    def banned(self) -> set[str]:
        """Keys that are never admitted again, under whatever name."""
        return {key.data for name in self._names("fenced") for key in self.remembered("fenced", name)}

    def _names(self, kind: str) -> list[str]:
        try:
            return sorted(os.listdir(os.path.join(self.memory, kind)))
        except FileNotFoundError:
            return []

    def known(self) -> set[str]:
        """Every host of which the server knows anything."""
        found = {name for kind in ("fenced", "admitted", "heirs") for name in self._names(kind)}
        accounts = os.listdir(self.keys) if os.path.isdir(self.keys) else []
        with contextlib.suppress(KeyError):
            accounts += grp.getgrnam(self.group).gr_mem
        return found | {account[len("lk-") :] for account in accounts if account.startswith("lk-")}

    def file_of(self, name: str) -> tuple[list[Key], list[Key]]:
        """Who may write and who may read, as sshd has it now."""
        found = [_LINE.fullmatch(line) for line in _lines(self._key_file(name))]
        both = [(match[1], key_from(match[2])) for match in found if match]
        return [key for may, key in both if may != "-R"], [key for may, key in both if may == "-R"]

    def _key_file(self, name: str) -> str:
        return os.path.join(self.keys, f"lk-{name}")

    def remember(self, kind: str, name: str, keys: Sequence[Key]) -> None:
        """Keep these keys, or forget them all."""
        folder = os.path.join(self.memory, kind)
        if keys and not self.check:
            os.makedirs(folder, mode=0o755, exist_ok=True)
        words = {"fenced": "is never admitted again", "admitted": "is admitted", "heirs": "may read"}
        self._write(os.path.join(folder, name), [key.line for key in keys], f"{name}: {words[kind]}")

    def grant(self, name: str, writers: Iterable[Key], readers: Iterable[Key]) -> None:
        """Write the key file of a host. Banned keys get nothing; nobody stands there twice."""
        seen = self.banned()
        lines = []
        for options, keys in ((WRITER, writers), (READER, sorted(readers))):
            for key in keys:
                if key.data not in seen:
                    seen.add(key.data)
                    lines.append(f"{options} {key.line}")
        self._write(self._key_file(name), lines, name)

    def _write(self, path: str, lines: Sequence[str], what: str) -> None:
        before = _lines(path)
        if list(lines) == before:
            return
        for sign, ours, others in (("-", before, lines), ("+", lines, before)):
            for line in ours:
                if line not in others:
                    print(f"{what}: {sign} {line}")
        if self.check:
            return
        if not lines:
            os.unlink(path)
            return
        beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
        with open(beside, "w", encoding="ascii") as stream:
            stream.write("".join(f"{line}\n" for line in lines))
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        os.rename(beside, path)
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return [line for line in stream.read().splitlines() if line]
    except FileNotFoundError:
        return []


def apply(access: Access, request: dict[str, Any]) -> None:
    """All hosts, as the inventory has them; those that it does not name, as the server remembers them."""
    hosts = {name_from(host["name"]): host for host in request["hosts"]}
    everybody = [key_from(text) for text in request["readers"]]
    banned = access.banned()
    for name in sorted(access.known() | set(hosts)):
        host = hosts.get(name)
        admitted = access.remembered("admitted", name)
        readers = [*everybody, *access.remembered("heirs", name)]
        forget = False
        if host is None:
            writers = admitted
        else:
            readers += [key_from(text) for text in host.get("readers") or []]
            given = [key_from(host["key"])] if host.get("key") else []
            if is_true(host.get("fenced")):
                ban(access, name, given or access.file_of(name)[0])
            writers = [] if is_true(host.get("fenced")) else given
            if any(key.data in banned for key in writers):
                sys.stderr.write(
                    f"{name}: its key in backup_server_hosts was fenced on this server, and is not admitted. "
                    f"Give {name} a new key, or take it out of {access.memory}/fenced/ if it is safe after all.\n"
                )
                writers = admitted
            else:
                forget = bool(admitted)
        access.grant(name, writers, readers)
        if forget:
            access.remember("admitted", name, [])


def ban(access: Access, name: str, keys: Iterable[Key]) -> None:
    """Remember keys that are never admitted again."""
    gone = {key.data: key for key in [*keys, *access.remembered("fenced", name)]}
    access.remember("fenced", name, sorted(gone.values()))


def fence(access: Access, request: dict[str, Any]) -> None:
    """The host sends no more, and its heir may read what it has sent."""
    name = name_from(request["name"])
    if name not in access.known():
        sys.stderr.write(f"{name}: nobody of that name has ever sent anything to this server\n")
        return
    heirs = [key_from(request["heir"])] if request["heir"].strip() else []
    spared = {key.data for key in heirs}
    admitted = access.remembered("admitted", name)
    writers, readers = access.file_of(name)
    theirs = [key_from(host["key"]) for host in request["hosts"] if host["name"] == name and host.get("key")]
    # First what must not be lost: whatever interrupts this, the next run of the role does not let it in again.
    ban(access, name, [key for key in [*theirs, *admitted, *writers] if key.data not in spared])
    known = {key.data: key for key in [*access.remembered("heirs", name), *heirs]}
    access.remember("heirs", name, sorted(known.values()))
    access.remember("admitted", name, [key for key in admitted if key.data in spared])
    access.grant(name, [key for key in writers if key.data in spared], [*readers, *known.values()])


def admit(access: Access, request: dict[str, Any]) -> None:
    """A host may send, whose name the inventory does not need to know yet."""
    name, key = name_from(request["name"]), key_from(request["key"])
    if key.data in access.banned():
        raise RefusedError(
            f"The key of {name} was fenced on this server: it is in {access.memory}/fenced/. "
            "Make a new one on that host, or take it out of there if it is safe after all."
        )
    writers, readers = access.file_of(name)
    if [writer.data for writer in writers] != [key.data]:
        access.remember("admitted", name, [key])
        writers = [key]
    everybody = [key_from(text) for text in request["readers"]]
    access.grant(name, writers, {*readers, *everybody, *access.remembered("heirs", name)})


def main(keys: str, memory: str, group: str, *options: str) -> int:
    """Returns the exit code."""
    request = json.load(sys.stdin)
    work = {"apply": apply, "fence": fence, "admit": admit}[request["what"]]
    try:
        work(Access(keys, memory, group, "--check" in options), request)
    except RefusedError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
