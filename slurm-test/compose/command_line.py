"""The command line of the cluster of containers: `base`, `build`, `up`, `down`, `demo`, `test`, `acceptance`.

Runs on the host, which needs a Docker engine and compose (1.29 or 2), with the system's Python
(3.11 or newer), standard library only; `base` needs root and debootstrap.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from machine import ClusterError
from site_kinds import SiteKind

from compose import debian_base, engine, story, trials
from compose.debian_base import Suite
from compose.stack import Stack

# For make's users too, who give it as VERSION, and know test-slurm, which takes the Slurm's.
OFFERED = ", ".join(f"{suite} (Slurm {suite.slurm})" for suite in Suite)


def suite(word: str) -> Suite:
    """Return the Debian release of that name."""
    try:
        return Suite(word)
    except ValueError:
        told = f"name a Debian release, as in make's VERSION=trixie, not {word!r}: {OFFERED}"
        raise argparse.ArgumentTypeError(told) from None


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments."""
    usual = Stack()
    common = argparse.ArgumentParser(add_help=False)
    whose = f"whose Slurm it has: {OFFERED}"
    common.add_argument("--debian", type=suite, metavar="SUITE", default=usual.suite, help=whose)
    # Nobody asks the gateway of a demo or of tests from outside: any port will do, so that none is in the way.
    staying, passing = _likeness(usual.port), _likeness(0)
    parser = argparse.ArgumentParser(
        prog="slurm-test/compose", description="A Slurm cluster of containers, for tests and for a first look."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    base = verbs.add_parser("base", parents=[common], help="make the base image where no registry is at hand (root)")
    base.add_argument("--mirror", help="a Debian mirror; by default the one that this machine's apt uses")
    build = verbs.add_parser("build", parents=[common], help="build the image that all containers are of")
    build.add_argument("--pyslurm", type=Path, help="a checkout of pyslurm that matches this Slurm, to be built in")
    build.add_argument("--wheels", type=Path, help="a folder of wheels that pip looks into first")
    verbs.add_parser("up", parents=[common, staying], help="bring it up, and wait until it can be used")
    verbs.add_parser("down", parents=[common], help="remove containers, network and volumes")
    verbs.add_parser("demo", parents=[common, passing], help="up, the whole story step by step, down")
    test = verbs.add_parser("test", parents=[common, passing], help="up, the tests of tests/acceptance/compose, down")
    inside = verbs.add_parser("acceptance", parents=[common], help="the other acceptance tests, in one container")
    for verb in (test, inside):
        verb.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser.parse_args(words)


def _likeness(port: int) -> argparse.ArgumentParser:
    """Return the options of what the cluster is like."""
    usual = Stack()
    like = argparse.ArgumentParser(add_help=False)
    like.add_argument("--site", type=SiteKind, choices=list(SiteKind), default=usual.site, help="who leaves for whom")
    like.add_argument("--grace", type=int, default=usual.grace_s, help="GraceTime before an eviction, in seconds")
    told = f"the gateway's on this machine; 0: any free one ({port})"
    like.add_argument("--port", type=int, default=port, help=told)
    like.add_argument("--no-accounting", action="store_true", help="without slurmdbd, so without QOS and accounts")
    return like


def stack_of(args: argparse.Namespace) -> Stack:
    """Return the cluster that the command line means."""
    if "site" not in args:
        return Stack(suite=args.debian)
    has_accounting = not args.no_accounting
    return Stack(suite=args.debian, site=args.site, grace_s=args.grace, port=args.port, accounting=has_accounting)


def perform(args: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code."""
    engine.ensure_running()
    stack = stack_of(args)
    match args.verb:
        case "base":
            print(debian_base.make(args.debian, args.mirror))
        case "build":
            print(stack.build(args.pyslurm, args.wheels))
        case "up":
            print(stack.up())
            print(f"  {' '.join(stack.command)} exec -u alice -w /home/alice login bash")
        case "down":
            print(stack.down())
        case "demo":
            return story.tell(stack)
        case "test":
            return trials.of_the_cluster(stack, args.pytest)
        case _:
            return trials.in_one_container(stack, args.pytest)
    return 0


def main() -> int:
    """Run the command line."""
    args = parse()
    try:
        return perform(args)
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"compose {args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if args.verb == "up":
            engine.say(f"interrupted; what was made is still there: make compose-down VERSION={args.debian}")
        return 130
