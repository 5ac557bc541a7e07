"""Slurm's nodes: what `scontrol show node` says of their use to us, and why nobody should stay on them.

Pure: text in, records out. A text that is not understood raises `SchedulerUnavailable` naming the place.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import Node, NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.oddities import each
from harvester_adapters.slurm.text.words import (
    NOTHING,
    gpu_count,
    gpu_types,
    gpus_in_use,
    integer,
    lines,
    malformed,
    tres,
)

_N = NodeState
# What a batch job would wake. A node that is powering up is not among them: somebody has woken it already.
_ASLEEP = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
# The first flag found decides; otherwise the base state does. PLANNED (backfill has an eye on it) changes nothing:
# such a node is idle until the planned start. A powered-down node would have to be woken, which wins no idle time: see
# `wake`. POWER_DOWN and POWER_DRAIN are asked for by an admin, and nothing is started before it is done.
_DOWN = frozenset({"DOWN", "NOT_RESPONDING", "FAIL", "FAILING", "ERROR", "POWERING_DOWN", "POWER_DOWN",
                   "REBOOT_ISSUED", "INVALID_REG", "INVAL", "EXTERNAL"})  # fmt: skip
_WAKING = frozenset({"POWERED_DOWN", "POWERING_UP", "POWER_UP"})
_FLAGS = (
    (_DOWN, _N.DOWN),
    (frozenset({"DRAIN", "DRAINED", "DRAINING", "REBOOT_REQUESTED", "BLOCKED", "POWER_DRAIN"}), _N.DRAINED),
    (frozenset({"RESERVED", "MAINTENANCE", "MAINT"}), _N.RESERVED),
    (frozenset({"COMPLETING"}), _N.ALLOCATED),  # not free yet, whatever the base state says
)
_BASES = {"IDLE": _N.IDLE, "MIXED": _N.MIXED, "ALLOCATED": _N.ALLOCATED}
_USABLE = {_N.IDLE, _N.MIXED, _N.ALLOCATED}
# Marks that some commands and versions put behind the state instead of a flag.
_MARKS = {
    "*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "!": "POWER_DOWN", "%": "POWERING_DOWN",
    "$": "MAINT", "@": "REBOOT_REQUESTED", "^": "REBOOT_ISSUED", "-": "PLANNED",
}  # fmt: skip

# Why whoever is on a node should leave it; the first that is found is told. Reservations show here only once they have
# begun, and are asked for to know them before. `scontrol reboot ASAP` is DRAIN with REBOOT_REQUESTED; without ASAP the
# node goes on taking batch jobs, and is rebooted when it is idle, which it never is where pilots keep coming.
# NOT_RESPONDING alone is none: for a moment every node is that, and where it lasts Slurm adds DOWN.
_LEAVING = (
    ({"REBOOT_ISSUED", "REBOOT_REQUESTED"}, "it is to be rebooted"),
    ({"DOWN", "ERROR"}, "it is down"),
    ({"FAIL", "FAILING"}, "it fails"),
    ({"DRAIN", "DRAINED", "DRAINING"}, "it is being drained"),
    ({"MAINTENANCE", "MAINT"}, "a maintenance has begun"),
    ({"RESERVED"}, "a reservation has begun"),  # of somebody else: pilots run in none
    ({"POWERING_DOWN", "POWER_DOWN", "POWER_DRAIN"}, "it is being powered down"),
    ({"POWERED_DOWN"}, "it is powered down"),
)  # fmt: skip
_REASON = re.compile(r" Reason=(.*) \[[^\[\]@]*@[\dT:-]+\]")  # [who@when] is Slurm's; comments may follow


def nodes(text: str, *, wake: bool = False, odd: list[str] | None = None) -> tuple[Node, ...]:
    """Return the nodes in the output of `scontrol --details --oneliner show node`.

    Parameters
    ----------
    wake: whether pilots may wake nodes that are powered down.
    odd: what could not be read is added to it. Such a node is shown in state UNKNOWN, with nothing free.
    """
    if text.startswith("No nodes in the system"):
        raise SchedulerUnavailable(
            "scontrol shows no nodes: its slurm.conf has PrivateData=nodes, or this user may see none of them"
        )
    found = lines(text, "NodeName")
    return each(found, lambda one: _node(*one, wake=wake), lambda one: _unread(one[1]), [] if odd is None else odd)


def _unread(words: dict[str, str]) -> Node:
    nothing = Resources(cpus=0)
    partitions = _list(words.get("Partitions", ""))
    return Node(name=words["NodeName"], state=_N.UNKNOWN, partitions=partitions, total=nothing, free=nothing)


def _node(line: str, words: dict[str, str], *, wake: bool) -> Node:
    try:
        word = words["State"]
        state = node_state(word, wake=wake)
        total, free = _total(words), _free(words)
        return Node(
            name=words["NodeName"],
            state=state,
            partitions=_list(words.get("Partitions", "")),
            total=total,
            free=free if state in _USABLE else Resources(cpus=0),
            features=_list(words.get("ActiveFeatures", "")),
            leaving="" if wake and state in _USABLE else leaving(word, _reason(line)),
            gpu_types=gpu_types(words["Gres"]),
            is_asleep=bool(_flags(word)[1] & _ASLEEP) and not (wake and state in _USABLE),
        )
    except (KeyError, ValueError) as error:
        raise malformed("a node of scontrol", line) from error


def _total(words: dict[str, str]) -> Resources:
    """Return what batch jobs can have of a node: without the cores and the memory that are kept for the system.

    CPUs are what Slurm counts as such: hardware threads, where a node has several a core (ThreadsPerCore).
    """
    return Resources(
        cpus=integer(words.get("CPUEfctv", words["CPUTot"])),
        gpus=gpu_count(words["Gres"]),
        memory_mb=max(0, integer(words["RealMemory"]) - integer(words.get("MemSpecLimit", "0"))),
    )


def _free(words: dict[str, str]) -> Resources:
    """Return what is free; nothing less than that where a node is given out several times (OverSubscribe=FORCE)."""
    total = _total(words)
    # GresUsed counts always, AllocTRES only where the site has AccountingStorageTRES=gres/gpu.
    gpus_used = gpus_in_use(words.get("GresUsed", "")) or tres(words.get("AllocTRES", "")).gpus
    return Resources(
        cpus=max(0, total.cpus - integer(words["CPUAlloc"])),
        gpus=max(0, total.gpus - gpus_used),
        memory_mb=max(0, total.memory_mb - integer(words["AllocMem"])),
    )


@lru_cache(maxsize=4096)
def node_state(word: str, *, wake: bool = False) -> NodeState:
    """Return what Slurm's state of a node (`IDLE`, `MIXED+PLANNED`, `DOWN*+DRAIN`) says of its use to us.

    Parameters
    ----------
    wake: whether one that is powered down, or powering up, is as good as one that runs.
    """
    base, found = _flags(word)
    for names, state in _FLAGS:
        if found & names:
            return state
    if found & _WAKING and not wake:
        return _N.DOWN
    return _BASES.get(base, NodeState.UNKNOWN)


def leaving(word: str, reason: str = "") -> str:
    """Return why nobody should be on a node any longer; empty while it is in service.

    Parameters
    ----------
    reason: what the admin wrote for it.
    """
    _, found = _flags(word)
    for names, why in _LEAVING:
        if found & names:
            return f"{why}: {reason}" if reason else why
    return ""


@lru_cache(maxsize=4096)
def _flags(word: str) -> tuple[str, frozenset[str]]:
    """Return the base state, and it with all flags."""
    base, *flags = (re.sub(r"[^A-Z_]", "", part) for part in word.upper().split("+"))
    return base, frozenset({base, *flags, *(flag for mark, flag in _MARKS.items() if mark in word)})


def _reason(line: str) -> str:
    found = _REASON.search(line)
    text = " ".join(found[1].split()) if found else ""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= 120 else shown[:117] + "..."


def _list(word: str) -> tuple[str, ...]:
    return tuple(name for name in word.split(",") if name not in NOTHING)
