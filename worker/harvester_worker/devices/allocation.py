"""The allocation: what the environment of the batch job tells about where the pilot runs and until when.

It is given the environment and the clock; only `this_node` reads them itself.
"""

import functools
import os
import socket
from collections.abc import Mapping

import msgspec


class PilotLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the pilot runs, as it introduces itself."""

    python: str  # "3.11"
    node: str
    batch_job_id: str  # empty where the scheduler told none


def host(environ: Mapping[str, str], *, python: tuple[int, int], hostname: str) -> PilotLocation:
    """Return where the pilot runs."""
    return PilotLocation(
        python=f"{python[0]}.{python[1]}",
        node=_node(environ, hostname),
        batch_job_id=_batch_job_id(environ),
    )


def _batch_job_id(environ: Mapping[str, str]) -> str:
    # First the word of an adapter, which is the id as that one knows it: of classic PBS, with the server's name.
    told = _first(environ, "HARVESTER_BATCH_JOB_ID", "SLURM_JOB_ID")
    # PBS adds the server's name, with or without its domain; the PBS adapter knows batch jobs without it.
    return told or environ.get("PBS_JOBID", "").partition(".")[0]


@functools.cache
def this_node() -> str:
    """Return the name of the node that this process is on."""
    return _node(os.environ, socket.gethostname())


def _node(environ: Mapping[str, str], hostname: str) -> str:
    # Several slurmd on one machine (slurm-test does it) share the host name, not SLURMD_NODENAME.
    return _first(environ, "SLURMD_NODENAME", "HARVESTER_NODE_NAME") or hostname


def _first(environ: Mapping[str, str], *names: str) -> str:
    """Return the value of the first of these variables that is set."""
    return next((environ[name] for name in names if environ.get(name)), "")


def time_left_s(environ: Mapping[str, str], *, now_at: float, walltime_s: float) -> float:
    """Return how long the allocation lasts from now on, in seconds.

    Parameters
    ----------
    environ: SLURM_JOB_END_TIME or HARVESTER_JOB_END_TIME tell the end; the scheduler knows better, since backfill may
        have cut the time asked for.
    now_at: the present, in Unix seconds.
    walltime_s: what was asked for; it counts from now where the scheduler tells no end.
    """
    end = _first(environ, "SLURM_JOB_END_TIME", "HARVESTER_JOB_END_TIME")
    return float(end) - now_at if end.isdecimal() else walltime_s
