"""Notes which of our modules a Python process enters. Python runs it by itself where its folder is on PYTHONPATH.

The first byte of `$HARVESTER_WALKS/flag` is the number of the walk under way, 0 for none. Each function of ours that is
entered for the first time in a walk is a line in `$HARVESTER_WALKS/entered`: walk, process, thread, module, function.
"""

import mmap
import os
import sys
import threading
from types import FrameType

FOLDER = os.environ.get("HARVESTER_WALKS", "")
OURS = ("harvester.", "harvester_api.", "harvester_worker.", "harvester_adapters.")


def install() -> None:
    """Watch every call of this process, and of those that are forked from it."""
    with open(f"{FOLDER}/flag", "rb") as file:  # noqa: PTH123 - pathlib would be imported into every process
        flag = mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ)
    entered = os.open(f"{FOLDER}/entered", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen: set[tuple[int, int, str, str]] = set()

    def enter(frame: FrameType, event: str, _: object) -> None:
        walk = flag[0]
        if not walk or event != "call":
            return
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(OURS):
            return
        key = (walk, os.getpid(), module, frame.f_code.co_qualname)
        if key not in seen:
            seen.add(key)
            line = "\t".join((*map(str, key[:2]), threading.current_thread().name, *key[2:]))
            os.write(entered, f"{line}\n".encode())

    threading.setprofile(enter)
    sys.setprofile(enter)


if FOLDER:
    install()
