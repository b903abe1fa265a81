# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Owner, mode, ACL and SELinux label: a restored file must belong to whom the old one belonged."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attributes:
    """What a file has beside its content. xattrs hold the POSIX ACL and the SELinux label, too."""

    uid: int
    gid: int
    mode: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def apply(self, path: str) -> list[str]:
        """Give them to a file; returns what could not be given, in words.

        Never through a link: the directory around belongs to the application, which could lay one in the way.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return self._give(descriptor)
        finally:
            os.close(descriptor)

    def _give(self, descriptor: int) -> list[str]:
        refused = []
        found = os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (self.uid, self.gid):
            try:
                os.fchown(descriptor, self.uid, self.gid)
            except OSError as problem:
                refused.append(
                    f"the owner {self.uid}:{self.gid} could not be given ({problem.strerror}); "
                    f"the file belongs to {found.st_uid}:{found.st_gid}"
                )
        os.fchmod(descriptor, self.mode)
        for name, value in self.xattrs.items():
            try:
                os.setxattr(descriptor, name, value)
            except OSError as problem:
                refused.append(f"{name}: {problem.strerror}")
        return refused


def attributes_of(path: str) -> Attributes:
    """The attributes of an existing file."""
    found = os.stat(path)
    xattrs: dict[str, bytes] = {}
    try:
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                xattrs[name] = os.getxattr(path, name)
    except OSError as problem:
        if problem.errno != errno.ENOTSUP:
            raise
    return Attributes(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), xattrs)


def attributes_from_manifest(source: Mapping[str, object], directory: str) -> Attributes:
    """The attributes of a source that no longer exists: names as recorded, unknown ones from the directory.

    Names and not numbers, because a rebuilt host numbers its users anew.
    """
    around = os.stat(directory)
    uid, gid, mode = around.st_uid, around.st_gid, 0o600
    with contextlib.suppress(KeyError, TypeError):
        uid = pwd.getpwnam(str(source["owner"])).pw_uid
    with contextlib.suppress(KeyError, TypeError):
        gid = grp.getgrnam(str(source["group"])).gr_gid
    with contextlib.suppress(KeyError, ValueError):
        mode = int(str(source["mode"]), 8) & 0o777
    return Attributes(uid, gid, mode)
