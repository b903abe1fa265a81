# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is lost whose copies are in S3, encrypted. The runbook makes the container in its place; it is killed at every
step, with all that it has started, and started again."""

from __future__ import annotations

from pathlib import Path

import pytest
import testinfra
from recovering import Loss, Runbook, backed_up_under_load, lose, podman, text_of
from watching import running_timeline

SCENARIO = Path(__file__).resolve().parents[1]
APP, STORE, NEW = "litekeep-s3-app1", "litekeep-s3-store", "litekeep-s3-app2"
INTERVAL = 2  # seconds between two pushes, as in the inventory
testinfra_hosts = [f"podman://{STORE}"]
# When the output has these words: as each step begins, and in the middle of some.
KILLED_AT = [
    "PLAY [(2/9)",
    "PLAY [(3/9)",
    "TASK [example_app : Enable and start the service",
    "PLAY [(4/9)",
    "PLAY [(5/9)",
    "TASK [recovery : Bring what the restore points need",
    "PLAY [(6/9)",
    "PLAY [(7/9)",
    "PLAY [(8/9)",
    "PLAY [(9/9)",
    "TASK [recovery : Close the recovery",
]
SECRETS = ["secret-of-litekeep-s3", "zvBK0LbiqozyyJHujaN", "34cStwhyKnrnFQuMh6z"]


@pytest.fixture(scope="module")
def loss(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    app = testinfra.get_host(f"podman://{APP}")
    load = backed_up_under_load(APP, folder / "acknowledged")
    leaks = secrets_shown(app)
    failed = lose(APP)
    network = {"provision_method": "podman", "provision_network": f"litekeep-{SCENARIO.name}"}
    words = {"failed_host": APP, "replacement": NEW, "failed_at": text_of(failed)}
    runbook = Runbook(SCENARIO, folder, {**words, **network, "provision_image": "localhost/litekeep-debian13"})
    try:
        said = []
        for place in KILLED_AT:
            runbook.kill_at(place)
            said.append(runbook.output)
        said.append(runbook.run("-v"))
        reports = [file.read_text() for file in (folder / "reports").iterdir()]
        leaks += [secret for secret in SECRETS if any(secret in text for text in said + reports)]
        yield Loss(runbook, load, failed, runbook.report()), leaks
    finally:
        podman("rm", "--force", "--volumes", NEW, check=False)


@pytest.fixture
def new(loss):
    return testinfra.get_host(f"podman://{NEW}")


def secrets_shown(host):
    """Where a secret can be seen that is not the configuration for root alone."""
    rules = "/run/rules"  # a file: arguments of grep would be found, too
    host.check_output("printf '%%s\\n' %s %s %s > %s", *SECRETS, rules)
    found = host.run("journalctl --no-pager | grep -F -f %s", rules).stdout.splitlines()
    found += host.run("grep -rlF -f %s /etc/systemd /var/lib/litekeep /var/log", rules).stdout.splitlines()
    # While the sender works: the arguments and the environment of every process.
    look = "grep -alF -f %s /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null"
    found += host.run(f"for n in $(seq 40); do {look}; sleep 0.1; done", rules).stdout.splitlines()
    # What is looked for is there to be found.
    assert host.run("grep -lF -f %s /etc/litekeep/remotes/s3.conf", rules).rc == 0
    assert host.file("/etc/litekeep/remotes/s3.conf").mode == 0o600
    return found


def test_the_application_works_on_the_new_host(new, loss):
    loss[0].check_application(new)
    assert new.file("/etc/motd").content_string == f"{NEW} in the place of {APP}\n"


def test_only_what_came_after_the_recovered_moment_is_lost_and_the_report_says_so(new, loss):
    loss[0].check_rows(new, youngest=1 + INTERVAL + 20)


def test_what_stood_there_is_kept(new, loss):
    # The application's first file; and what a restore that went on after the runbook was killed had put there.
    kept = new.check_output("ls -d /var/lib/litekeep-example/events.db.before-restore-*").split()
    assert len(kept) <= 2
    assert loss[0].report["databases"][0]["kept"] == kept[-1]
    assert not new.file("/var/lib/litekeep-example/.litekeep-restore-events.db").exists


def test_backups_go_on_with_a_new_timeline_and_the_first_has_arrived(new, loss):
    assert running_timeline(new)["id"] != loss[0].report["databases"][0]["point"]["timeline"]
    first = loss[0].report["databases"][0]["new_backup"]
    assert first in new.check_output("litekeep list events --from s3")


def test_the_store_sees_no_names_and_no_content(host, loss):
    listing = host.check_output("echo 'fs.tree /buckets/backups' | weed shell -master=localhost:9333")
    assert "events" not in listing
    assert "manifest" not in listing


def test_no_secret_was_shown(new, loss):
    assert loss[1] == []
    assert secrets_shown(new) == []


def test_the_lost_hosts_key_is_refused(new, loss):
    conf = "/run/lost.conf"
    new.check_output(
        "sed 's/^access_key_id.*/access_key_id = %s/; s/^secret_access_key.*/secret_access_key = secret-of-%s/'"
        " /etc/litekeep/remotes/s3.conf > %s",
        *(APP, APP, conf),
    )
    try:
        refused = new.run("rclone --config %s --low-level-retries 1 lsf sealed:", conf)
        assert refused.rc != 0
        assert "AccessDenied" in refused.stderr or "InvalidAccessKeyId" in refused.stderr
    finally:
        new.run("rm -f %s", conf)
