"""The command line of pbs_cluster.py: verbs, options, and what was asked for as a record."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from machine import ClusterError
from pbs_namespaces import MOST_NODES
from pbs_site import PbsAsked

FOLDER = Path("/mnt/pbs")  # of the namespaces alone; PBS refuses what lies in folders that everybody may write to


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, default=FOLDER, help=f"the site's folder ({FOLDER})")
    parser = argparse.ArgumentParser(description="A real PBS on one machine, for tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    inside = verbs.add_parser("inside", help="run a command where a site can be: inside -- bash")
    inside.add_argument("command", nargs="+")
    up = verbs.add_parser("up", parents=[common], help="bring it up and wait until every node is free")
    up.add_argument("--prefix", default=os.environ.get("PBS_EXEC", "/opt/pbs"), help="where PBS is installed")
    for name, what in (("nodes", "moms"), ("cpus", "CPUs a node"), ("gpus", "GPUs a node"), ("memory", "MB a node")):
        default = getattr(PbsAsked, "memory_mb" if name == "memory" else name)
        up.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    up.add_argument("--order", default=PbsAsked.order, help="preempt_order: D, R, S, or several")
    up.add_argument("--kill-delay", type=int, default=PbsAsked.kill_delay_s, help="seconds from SIGTERM to SIGKILL")
    up.add_argument("--first-poll", type=int, default=PbsAsked.first_poll_s, help="$min_check_poll of the moms")
    for verb, what in (("down", "end all its processes and remove its folder"), ("status", "show daemons and nodes"),
                       ("env", 'print what to eval: eval "$(pbs_cluster.py env)"')):  # fmt: skip
        verbs.add_parser(verb, parents=[common], help=what)
    for verb, what in (("stop", "end one daemon with SIGKILL"), ("start", "start a stopped daemon again")):
        verbs.add_parser(verb, parents=[common], help=what).add_argument("name", help="server, sched, comm, n1 …")
    return parser.parse_args()


def asked_of(args: argparse.Namespace) -> PbsAsked:
    """Return what `up` was asked for. Raises `ClusterError` where PBS or PostgreSQL is not installed."""
    needed = [f"{args.prefix}/sbin/pbs_server", f"{args.prefix}/libexec/pbs_habitat", "psql"]
    if absent := [program for program in needed if shutil.which(program) is None]:
        raise ClusterError(f"not installed: {', '.join(absent)}; --prefix names the folder of an installed PBS")
    if args.nodes > MOST_NODES:
        raise ClusterError(f"--nodes {args.nodes} is more than there are addresses for: {MOST_NODES}")
    return PbsAsked(
        prefix=args.prefix, nodes=args.nodes, cpus=args.cpus, gpus=args.gpus, memory_mb=args.memory, order=args.order,
        kill_delay_s=args.kill_delay, first_poll_s=args.first_poll,
    )  # fmt: skip
