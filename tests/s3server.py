"""A real S3 server, SeaweedFS, with an administrator, a host and a reader; and requests that rclone does not make."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from litekeep.config import Remote

REGION = "us-east-1"
# Who may do what; the names are the access keys.
IDENTITIES = {
    "admin": ["Admin", "Read", "List", "Write"],
    "host": ["Read", "List", "Write"],
    "reader": ["Read", "List"],
}
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True)
class Version:
    """One of an object, or a mark that says it was deleted."""

    key: str
    id: str
    is_latest: bool
    is_mark: bool


class S3Server:
    """Its data is below ``folder``. Every identity's secret is its name with ``-secret``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.port, *self._others = _free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve."""
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], "actions": actions}
            for name, actions in IDENTITIES.items()
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc")  # fmt: skip
        ports = [f"-{name}={port}" for name, port in zip(names, self._others)]
        sockets = [f"-{name}.localSocket={self.folder}/{name}.sock" for name in ("s3", "filer")]
        words = ["server", f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-s3",
                 f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.folder}/s3.json",
                 "-master.volumeSizeLimitMB=64", "-volume.max=500"]  # fmt: skip
        with open(self.folder / "weed.log", "ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("weed"), "-logtostderr", *words, *ports, *sockets],
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)}, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "weed.log").read_text()
            assert time.monotonic() < until, (self.folder / "weed.log").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            self.call("PUT", "/ready")
            self.call("PUT", "/ready/ready", body=b"ready")
        except (OSError, http.client.HTTPException, RefusedError):
            return False
        return True

    def stop(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def call(
        self, method: str, path: str, query: str = "", body: bytes = b"", who: str = "admin", **headers: str
    ) -> bytes:
        """One request, signed as "Signature Version 4" wants it. query: ``a=b&c=d``, sorted. Raises RefusedError."""
        stamp = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        path = urllib.parse.quote(path)
        fields = {
            "host": f"127.0.0.1:{self.port}",
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-amz-date": stamp,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        names = ";".join(sorted(fields))
        lines = [method, path, query, *(f"{name}:{fields[name]}" for name in sorted(fields)), "", names]
        request = "\n".join([*lines, fields["x-amz-content-sha256"]])
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{who}-secret".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        fields["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={who}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        )
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, f"{path}?{query}", body, fields)
            answer = connection.getresponse()
            found = answer.read()
        if answer.status >= 300:
            raise RefusedError(answer.status, found.decode(errors="replace"))
        return found

    def make_bucket(self, name: str) -> None:
        """An empty one."""
        self.call("PUT", f"/{name}")

    def make_append_only_bucket(self, name: str) -> None:
        """One that keeps every version for a day, whoever asks for less, and in which nobody may delete anything."""
        self.call("PUT", f"/{name}", x_amz_bucket_object_lock_enabled="true")
        rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>"
        lock = (
            f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        )
        self.call("PUT", f"/{name}", "object-lock=", lock.encode())
        denied = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": [f"arn:aws:s3:::{name}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [denied]}
        self.call("PUT", f"/{name}", "policy=", json.dumps(policy).encode())

    def versions(self, bucket: str) -> list[Version]:
        """All that was ever there, and is kept."""
        root = ET.fromstring(self.call("GET", f"/{bucket}", "versions="))
        assert root.findtext(f"{_NAMESPACE}IsTruncated") == "false"
        return [
            Version(
                each.findtext(f"{_NAMESPACE}Key", ""),
                each.findtext(f"{_NAMESPACE}VersionId", ""),
                each.findtext(f"{_NAMESPACE}IsLatest") == "true",
                each.tag == f"{_NAMESPACE}DeleteMarker",
            )
            for each in root
            if each.tag in (f"{_NAMESPACE}Version", f"{_NAMESPACE}DeleteMarker")
        ]

    def contents(self, bucket: str) -> dict[str, bytes]:
        """What stands there now, by key."""
        root = ET.fromstring(self.call("GET", f"/{bucket}", "list-type=2"))
        assert root.findtext(f"{_NAMESPACE}IsTruncated") == "false"
        keys = [each.text or "" for each in root.iter(f"{_NAMESPACE}Key")]
        return {key: self.call("GET", f"/{bucket}/{key}") for key in keys}

    def remote(
        self,
        bucket: str,
        sections: str = "",
        *,
        name: str = "s3",
        who: str = "host",
        secret: str = "",
        port: int = 0,
        more: str = "",
        **settings: object,
    ) -> Remote:
        """This server as a host uses it; without encryption, unless ``sections`` and ``path`` say so.

        sections: what else is in rclone's configuration. who: whose keys. secret: in the place of the right one. port:
        where it is reached instead. more: further lines about the server.
        """
        config = self.folder / f"{bucket}-{name}.conf"
        config.write_text(
            f"[s3]\ntype = s3\nprovider = Other\nendpoint = http://127.0.0.1:{port or self.port}\n"
            f"access_key_id = {who}\nsecret_access_key = {secret or f'{who}-secret'}\nno_check_bucket = true\n"
            f"{more}\n{sections}"
        )
        config.chmod(0o600)
        given: dict[str, object] = {"path": f"s3:{bucket}/host", "interval": 1, "timeout": 5, **settings}
        return Remote(name=name, rclone=str(config), **given)  # type: ignore[arg-type]


class RefusedError(Exception):
    """The server's answer is no."""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _number in range(count)]
        return [each.getsockname()[1] for each in found]


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """One that runs."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def encrypted(of: str, password: str = "the password", more: str = "") -> str:
    """A section of rclone's configuration, ``sealed``, that encrypts what it puts to another one."""
    hidden = [
        subprocess.run(["rclone", "obscure", "-"], input=text, capture_output=True, text=True, check=True).stdout
        for text in (password, f"{password}, salted")
    ]
    return f"[sealed]\ntype = crypt\nremote = {of}\npassword = {hidden[0]}password2 = {hidden[1]}{more}\n"
