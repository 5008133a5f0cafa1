"""Fault 13. Abstract names have no permissions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fault(13, "H", "namespaced name on Linux; an entry starting with @ in /proc/net/unix", "none"),
    pytest.mark.quick,
]
INSTANCE = """
import asyncio, sys
from daemoneye_eventbus import Broker, EventBus
async def main(name):
    async with Broker(instance=name) as broker, EventBus.connect(instance=name) as bus:
        await bus.flush()
        print(broker.path, flush=True)
        print([l.split()[-1] for l in open("/proc/net/unix") if name in l], flush=True)
asyncio.run(main(sys.argv[1]))
"""


def test_every_name_is_a_file(bench, seen, folder):
    b = bench()
    name = folder.name
    done = subprocess.run(
        [sys.executable, "-c", INSTANCE, name], capture_output=True, text=True, timeout=20, check=True
    )
    path, names = done.stdout.splitlines()
    try:
        assert path == f"/tmp/daemoneye-{name}.sock"
        assert f"'{path}'" in names
        assert "@" not in names
    finally:
        os.unlink(path + ".lock")
    abstract = [line for line in Path("/proc/net/unix").read_text().splitlines() if "@" in line and b.path in line]
    assert abstract == []
    seen("no abstract name")
