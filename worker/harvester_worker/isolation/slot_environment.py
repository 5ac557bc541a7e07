"""Surroundings: what a slot process finds around itself when it starts, and keeps for as long as it lives."""

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


def arrange(surroundings: Surroundings) -> None:
    """Give this process its surroundings, and what no two processes must have in common."""
    if surroundings.gpus is not None:
        for name, value in variables.narrowed(os.environ, surroundings.gpus, amd=variables.is_amd()).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, str(max(1, surroundings.cpus)))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    _look_at_folders_anew()
    _draw_own_numbers()


def _look_at_folders_anew() -> None:
    """Forget what the zygote found in the folders of the path that somebody writes modules into."""
    for path in [path for path in sys.path_importer_cache if not is_installed(path + os.sep)]:
        del sys.path_importer_cache[path]


def _draw_own_numbers() -> None:
    """Seed what the zygote may have imported, by a `.pth` file; Python's own `random` does so at each fork."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
