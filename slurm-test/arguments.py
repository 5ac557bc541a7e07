"""The command line of cluster.py: verbs, options, and what was asked for as a record."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from site_kinds import SiteKind
from slurm_conf import Asked, Clock

if TYPE_CHECKING:
    from collections.abc import Callable

USUAL = Asked()
FOLDER = Path("/run/harvester-slurm")


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=f"its folder ({FOLDER})")
    parser = argparse.ArgumentParser(description="A real Slurm on one machine, for tests.", parents=[common])
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_up(verbs.add_parser("up", parents=[common], help="bring it up and wait until every node is idle"))
    verbs.add_parser("down", parents=[common], help="end all its processes and remove its folder")
    verbs.add_parser("status", parents=[common], help="show daemons and nodes; exit 1 unless all is up")
    verbs.add_parser("env", parents=[common], help='print what to eval: eval "$(cluster.py env)"')
    stop = verbs.add_parser("stop", parents=[common], help="end one daemon with SIGKILL; what it started lives on")
    start = verbs.add_parser("start", parents=[common], help="start a stopped daemon, with the state that it left")
    for verb in (stop, start):
        verb.add_argument("name", help="slurmctld, or a node: n3")
    stop.add_argument("--gently", action="store_true", help="SIGTERM: let it save its state first")
    return parser.parse_args()


def add_up(up: argparse.ArgumentParser) -> None:
    """Add the options that say what the cluster is like."""
    up.add_argument("--site", type=SiteKind, choices=list(SiteKind), default=USUAL.site, help="who leaves for whom")
    up.add_argument("--clock", type=Clock, choices=list(Clock), default=USUAL.clock, help="how often Slurm schedules")
    up.add_argument("--bf-interval", type=at_least(1), help="seconds between backfill's looks, in place of the clock's")
    up.add_argument("--nodes", type=at_least(1), default=USUAL.nodes)
    up.add_argument("--cpus", type=at_least(1), default=USUAL.cpus, help="CPUs a node")
    up.add_argument("--gpus", type=at_least(0), default=USUAL.gpus, help="GPUs a node; faked where there are none")
    up.add_argument("--memory", type=at_least(100), default=USUAL.memory_mb, help="memory a node, in MB")
    up.add_argument("--grace", type=at_least(0), default=USUAL.grace_s, help="GraceTime before an eviction, in seconds")
    up.add_argument("--feature", type=feature, action="append", default=[], help="fat=n1,n2; repeatable")
    up.add_argument("--set", type=setting, action="append", default=[], help="KillWait=5, of slurm.conf; repeatable")
    up.add_argument("--install", action="store_true", help="apt-get install what is missing")


def asked(args: argparse.Namespace) -> Asked:
    """Return what `up` was asked for."""
    features: dict[str, list[str]] = {}
    for name, nodes in args.feature:
        for node in nodes:
            features.setdefault(node, []).append(name)
    return Asked(
        site=args.site, clock=args.clock, bf_interval_s=args.bf_interval, nodes=args.nodes, cpus=args.cpus,
        gpus=args.gpus, memory_mb=args.memory, grace_s=args.grace, features=features, settings=dict(args.set),
    )  # fmt: skip


def at_least(least: int) -> Callable[[str], int]:
    """Return a reader for numbers of the command line."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def setting(text: str) -> tuple[str, str]:
    """Return the key and the value of `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def feature(text: str) -> tuple[str, list[str]]:
    """Return the feature and the nodes of `NAME=NODE,NODE…`."""
    name, nodes = setting(text)
    return name, nodes.split(",")
