"""Slurm's nodes: what `scontrol show node` says of their use to us, and why nobody should stay on them.

Pure: text in, records out. A text that is not understood raises `SchedulerUnavailable` naming the place.
"""

from __future__ import annotations

import re

from harvester.domain.cluster.snapshot import Node, NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.words import NOTHING, gpu_count, integer, lines, malformed, tres

_N = NodeState
# The first flag found decides; otherwise the base state does. PLANNED (backfill has an eye on it) changes nothing:
# such a node is idle until the planned start. A powered-down node would have to be woken, which wins no idle time.
_FLAGS = (
    ({"DOWN", "NOT_RESPONDING", "FAIL", "FAILING", "ERROR", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN",
      "POWERING_UP", "POWER_UP", "REBOOT_ISSUED", "INVALID_REG", "INVAL"}, _N.DOWN),
    ({"DRAIN", "DRAINED", "DRAINING", "REBOOT_REQUESTED", "BLOCKED"}, _N.DRAINED),
    ({"RESERVED", "MAINTENANCE", "MAINT"}, _N.RESERVED),
    ({"COMPLETING"}, _N.ALLOCATED),  # not free yet, whatever the base state says
)  # fmt: skip
_BASES = {"IDLE": _N.IDLE, "MIXED": _N.MIXED, "ALLOCATED": _N.ALLOCATED}
_USABLE = {_N.IDLE, _N.MIXED, _N.ALLOCATED}

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
    ({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"}, "it is being powered down"),
)  # fmt: skip
_REASON = re.compile(r" Reason=(.*) \[[^\[\]@]*@[\dT:-]+\]")  # [who@when] is Slurm's; comments may follow


def nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes in the output of `scontrol --details --oneliner show node`."""
    return tuple(_node(line, words) for line, words in lines(text, "NodeName"))


def _node(line: str, words: dict[str, str]) -> Node:
    try:
        state = node_state(words["State"])
        total = Resources(
            cpus=integer(words.get("CPUEfctv", words["CPUTot"])),
            gpus=gpu_count(words["Gres"]),
            memory_mb=integer(words["RealMemory"]),
        )
        # GresUsed counts always, AllocTRES only where the site has AccountingStorageTRES=gres/gpu.
        gpus_used = gpu_count(words.get("GresUsed", "")) or tres(words.get("AllocTRES", "")).gpus
        free = total - Resources(cpus=integer(words["CPUAlloc"]), gpus=gpus_used, memory_mb=integer(words["AllocMem"]))
        return Node(
            name=words["NodeName"],
            state=state,
            partitions=_list(words.get("Partitions", "")),
            total=total,
            free=free if state in _USABLE else Resources(cpus=0),
            features=_list(words.get("ActiveFeatures", "")),
            leaving=leaving(words["State"], _reason(line)),
        )
    except (KeyError, ValueError) as error:
        raise malformed("a node of scontrol", line) from error


def node_state(word: str) -> NodeState:
    """Return what Slurm's state of a node (`IDLE`, `MIXED+PLANNED`, `DOWN*+DRAIN`) says of its use to us."""
    base, found = _flags(word)
    for names, state in _FLAGS:
        if found & names:
            return state
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


def _flags(word: str) -> tuple[str, set[str]]:
    """Return the base state, and it with all flags."""
    base, *flags = (re.sub(r"[^A-Z_]", "", part) for part in word.upper().split("+"))
    found = {base, *flags}
    if "*" in word:  # older versions: does not respond
        found.add("NOT_RESPONDING")
    return base, found


def _reason(line: str) -> str:
    found = _REASON.search(line)
    text = " ".join(found[1].split()) if found else ""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= 120 else shown[:117] + "..."


def _list(word: str) -> tuple[str, ...]:
    return tuple(name for name in word.split(",") if name not in NOTHING)
