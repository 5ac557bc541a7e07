"""What functions print: kept up to a budget, and never waited for."""

import os
import subprocess
import sys

import pytest

PRINTS = """
import os, sys
from harvester_worker.pool.output_limit import Outlet
outlet = Outlet(to=1, budget_bytes=1000)
if os.fork() == 0:
    outlet.become_output()
    {}
    os._exit(0)
outlet.open()
os.wait()
outlet.close()
"""


@pytest.mark.parametrize(
    ("does", "kept"),
    [
        ("os.write(1, b'to the one'); os.write(2, b' and the other')", b"to the one and the other"),
        ("[os.write(1, b'x' * 100_000) for _ in range(100)]", b"x" * 1000),
    ],
)
def test_what_is_printed_is_kept_up_to_the_budget(does, kept):
    done = subprocess.run([sys.executable, "-c", PRINTS.format(does)], capture_output=True, check=True)
    output, _, word = done.stdout.partition(b"\n[harvester] ")
    assert output == kept
    assert word == (b"functions have printed 1000 bytes here: no more is kept\n" if len(kept) == 1000 else b"")


def test_who_prints_does_not_wait_for_an_output_that_nobody_takes():
    reader, writer = os.pipe()
    os.close(reader)
    does = "[os.write(1, b'x' * 100_000) for _ in range(100)]"
    done = subprocess.run([sys.executable, "-c", PRINTS.format(does)], stdout=writer, check=False, timeout=10)
    os.close(writer)
    assert done.returncode == 0
