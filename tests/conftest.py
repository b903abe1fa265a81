"""What tests of several folders share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What a shell starts with & ignores SIGINT, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder whose syncs cost nothing, where there is one: for tests of logic, which need no disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=shared, prefix="litekeep-"))
    yield folder
    shutil.rmtree(folder)
