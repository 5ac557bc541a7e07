"""What a function's code in C sets is not the next run's, however soon that begins."""

import subprocess
import sys

PROGRAM = """
import ctypes, os, signal, subprocess
from harvester_worker.isolation.descendants import Descendants
from harvester_worker.slot.signals import SlotSignals

libc = ctypes.CDLL(None)
libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
signals, family = SlotSignals(lambda: None), Descendants()
{}
"""


def test_the_handlers_are_the_slots_when_a_run_begins():
    body = "signals.own(); libc.signal(signal.SIGTERM, 0); signals.own(); os.kill(os.getpid(), signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", PROGRAM.format(body)], check=False).returncode == 0


def test_the_next_runs_programs_have_exit_codes():
    body = "libc.signal(signal.SIGCHLD, 1); family.reap(); print(subprocess.run(['false']).returncode)"
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(body)], check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"
