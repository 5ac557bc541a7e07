"""The slot's environment: what a slot process has when it starts, and keeps for as long as it lives.

Owns its devices, its thread limits and its seeds. Must not know runs.
"""

import os
import sys
from io import TextIOWrapper

import msgspec

from harvester_worker.devices import variables
from harvester_worker.isolation.installed import is_installed

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from one slot process to the other."""

    cpus: int
    gpus: tuple[str, ...] | None  # None: this pilot has nothing to say about devices


class SlotEnvironment:
    """The surroundings of the slots of one pilot.

    To be made in the zygote, as the last thing before it forks: what all slots have in common is done here once, and a
    slot writes to fewer pages of the memory that it shares with the zygote.
    """

    def __init__(self) -> None:
        # Modules that somebody edits: what the zygote found in their folders is forgotten.
        for path in [path for path in sys.path_importer_cache if not is_installed(path + os.sep)]:
            del sys.path_importer_cache[path]
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        self._limits = [name for name in THREAD_LIMITS if name not in os.environ]
        for name in self._limits:
            os.environ[name] = "1"
        self.modules = frozenset(sys.modules)
        """Names of the modules that each slot has from the zygote."""

    def arrange(self, surroundings: Surroundings) -> None:
        """Give this process, a new slot, its surroundings, and what no two processes must have in common."""
        if surroundings.gpus is not None:
            for name, value in variables.narrowed(os.environ, surroundings.gpus, amd=variables.is_amd()).items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        if surroundings.cpus > 1:
            for name in self._limits:
                os.environ[name] = str(surroundings.cpus)
        _draw_own_numbers()


def _draw_own_numbers() -> None:
    """Seed what the zygote may have imported, by a `.pth` file; Python's own `random` does so at each fork."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
