"""A proposal as the text of a configuration file: TOML with comments. Pure.

Owns the words of the comments. What the fields are, and their defaults, is `harvester.config`'s.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import msgspec

from harvester.domain.fitness.proposal import Proposal
from harvester.domain.harvest.planning import HarvestMode, Shape

_WIDTH = 98


class Premises(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration needs to know beside the cluster."""

    kind: str  # the scheduler's
    scheduler: str  # as it calls itself
    version: str  # of the harvester
    state: str
    url: str  # how pilots reach the gateway by default
    port: int
    interpreter: str
    local: tuple[tuple[str, int], ...] = ()  # what [scheduler.local] says


def configuration(proposal: Proposal, here: Premises) -> str:
    """Return the text of a configuration file."""
    parts = [_head(proposal, here), _top(here), _gateway(here), _scheduler(proposal, here), _harvest(proposal)]
    parts += [_pilot(shape, here, is_first=shape is proposal.shapes[0]) for shape in proposal.shapes]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(proposal: Proposal, here: Premises) -> Iterator[str]:
    yield f"# Written by `harvester init` {here.version} for {_printable(here.scheduler)}. What was assumed:"
    for words in proposal.assumed:
        yield from textwrap.wrap(_printable(f"{words}."), _WIDTH, initial_indent="# - ", subsequent_indent="#   ")
    yield "# Check it with `harvester check --config FILE --probe`, start it with `harvester up --config FILE`."


def _top(here: Premises) -> Iterator[str]:
    yield "# Everything that is kept. Compute nodes must see this folder under the same path."
    yield f"state = {_text(here.state)}"


def _gateway(here: Premises) -> Iterator[str]:
    yield "[gateway]"
    yield f"port = {here.port}"
    yield "# How pilots reach the gateway; set it where compute nodes know this host under another name."
    yield f"# url = {_text(here.url)}"


def _scheduler(proposal: Proposal, here: Premises) -> Iterator[str]:
    yield "[scheduler]"
    yield f"kind = {_text(here.kind)}"
    match here.kind:
        case "local":
            yield ""
            yield "[scheduler.local]"
            yield "# The emulated cluster: pilots are processes of this machine."
            for name, value in here.local:
                yield f"{name} = {value}"
        case "pbs":
            yield ""
            yield "[scheduler.pbs]"
            yield '# account = ""       # qsub -A'
            yield '# project = ""       # qsub -P'
            yield '# place = ""         # qsub -l place=, as "excl"; default: what the queue gives'
            yield '# extra_select = ""  # added to the chunk that a pilot asks for, as "Qlist=harvest"'
        case "slurm":
            yield ""
            yield "[scheduler.slurm]"
            yield '# account = ""  # what pilots are charged to; default: yours'
            qos = f"qos = {_text(proposal.qos)}  #" if proposal.qos else '# qos = ""      #'
            yield f"{qos} what pilots run under; where the site preempts by QOS it decides who evicts them"
        case _:
            return


def _harvest(proposal: Proposal) -> Iterator[str]:
    yield "[harvest]"
    yield 'policy = "demand"  # as many pilots as there is work; "gap" looks at the windows: docs/policies.md'
    yield f"mode = {_text(proposal.mode.value)}"
    match proposal.mode:
        case HarvestMode.PREEMPTIBLE:
            yield "# Pilots take every window, and the scheduler evicts them when a prime job wants their nodes."
        case HarvestMode.YIELDING:
            yield "# Pilots leave as soon as a prime job could start. No prime job may wait longer than this, or the"
            yield '# daemon goes back to "strict", in which pilots use only windows with a known end and delay nobody.'
            yield "max_delay_s = 15"
        case HarvestMode.STRICT:
            yield "# Pilots use only windows with a known end, and have ended before it."
    if proposal.lengths_min:
        lengths = ", ".join(f"{length:g}" for length in proposal.lengths_min)
        yield f"lengths_min = [{lengths}]  # the partition allows no longer ones"
    if proposal.cycle is not None:
        yield f"cycle_s = {proposal.cycle.total_seconds():g}  # from one look of the scheduler at its queue to the next"
    yield "ready = 1          # pilots kept without work, so that the first call need not wait"
    yield "max_pilots = 64    # at the same time"
    yield "# max_share = 0.5  # of the nodes, at most"
    yield '# quiet_hours = ["mon-fri 08:00-18:00"]  # no pilots then'


def _pilot(shape: Shape, here: Premises, *, is_first: bool) -> Iterator[str]:
    if is_first:
        yield "# A kind of pilot. These take whole nodes, because the scheduler takes a node back as a whole."
    yield "[[pilot]]"
    yield f"name = {_text(shape.name)}"
    yield f"partition = {_text(shape.partition)}"
    yield f"cpus = {shape.resources.cpus}"
    if shape.resources.gpus:
        yield f"gpus = {shape.resources.gpus}"
    if shape.resources.memory_mb:
        yield f"memory_mb = {shape.resources.memory_mb}"
    if is_first:
        yield "# The Python on the compute nodes; default: the one that runs `harvester up`."
        yield f"# python = {_text(here.interpreter)}"


def _printable(words: str) -> str:
    """Return words for a comment, where TOML allows no control characters."""
    return "".join(char if char.isprintable() else "?" for char in words)


def _text(value: str) -> str:
    """Return a TOML string; those of JSON are strings of TOML too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
