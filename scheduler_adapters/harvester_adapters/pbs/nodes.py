"""PBS's nodes: what `pbsnodes` says of their use to us, and why nobody should stay on them.

Pure: text in, records out. A node here is a host: PBS may split it into vnodes, whose resources are added up. Values in
PBS's JSON have changed their types (a text that looks like a number is one), so every value is made a text again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from harvester.domain.cluster.snapshot import Node, NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.asking import malformed
from harvester_adapters.oddities import each
from harvester_adapters.pbs.words import plain_id, resources, shown

PBSNODES = ("pbsnodes", "-av", "-F", "json")
"""Asks for every vnode. Its dsv escapes nothing: a comment could forge a node there."""

_N = NodeState
_ZERO = Resources(cpus=0)
_NO_PROPERTIES = frozenset({"ncpus", "ngpus", "mem", "vmem", "host", "vnode"})
# Words of a state that is a comma list; the first that is found decides. Only `free` alone takes batch jobs.
_STATES = (
    ({"down", "stale", "sleep"}, _N.DOWN),
    ({"offline", "offline_by_mom", "maintenance"}, _N.DRAINED),
    ({"state-unknown"}, _N.UNKNOWN),
    ({"resv-exclusive"}, _N.RESERVED),
    ({"provisioning", "wait-provisioning"}, _N.RESERVED),
    ({"job-busy", "job-exclusive", "job-sharing", "busy"}, _N.ALLOCATED),
)
# How bad a state is; of a host's vnodes the best counts.
_ORDER = (_N.IDLE, _N.MIXED, _N.ALLOCATED, _N.RESERVED, _N.UNKNOWN, _N.DRAINED, _N.DOWN)
# `state-unknown` is no reason to leave: after a restart of the server all nodes are that for seconds.
_LEAVING = (
    ({"down"}, "it is down"),
    ({"offline", "offline_by_mom"}, "it is offline"),
    ({"maintenance"}, "a maintenance has begun"),
    ({"stale"}, "its vnode is stale"),
    ({"sleep"}, "it sleeps"),
)  # fmt: skip


class Vnode(msgspec.Struct, frozen=True, kw_only=True):
    """One vnode."""

    name: str
    host: str
    states: frozenset[str]
    total: Resources
    free: Resources  # never below 0: an active reservation counts on top of the batch jobs that run there
    batch_job_ids: tuple[str, ...]
    queue: str  # the only one whose batch jobs it takes; empty: any
    properties: Mapping[str, str]  # resources that are no amounts, a comma list where it has several values
    comment: str

    @property
    def state(self) -> NodeState:
        """Of what use it is."""
        if self.states == {"free"}:
            if self.free.cpus <= 0:
                return _N.ALLOCATED
            return _N.MIXED if self.batch_job_ids or self.free != self.total else _N.IDLE
        return next((state for words, state in _STATES if self.states & words), _N.UNKNOWN)


def vnode_list(text: str, *, odd: list[str] | None = None) -> tuple[Vnode, ...]:
    """Return the vnodes in the answer to `PBSNODES`.

    Parameters
    ----------
    odd: what could not be read is added to it. Such a vnode offers nothing.
    """
    try:
        document = json.loads(text, parse_constant=str)
        found = document["nodes"].items()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise malformed("pbsnodes's answer (it is not its JSON)", text) from error
    return each(found, lambda one: _vnode(*one), lambda one: _unread(one[0]), [] if odd is None else odd)


def _unread(name: str) -> Vnode:
    return Vnode(
        name=name, host=name.partition("[")[0], states=frozenset(), total=_ZERO, free=_ZERO, batch_job_ids=(), queue="",
        properties={}, comment="",
    )  # fmt: skip


def _vnode(name: str, fields: Any) -> Vnode:  # noqa: ANN401 - JSON
    try:
        available = _texts(fields.get("resources_available", {}))
        assigned = _texts(fields.get("resources_assigned", {}))
        total, used = resources(available), resources(assigned)
        jobs = fields.get("jobs", [])
        return Vnode(
            name=name,
            host=available.get("host", name).partition(".")[0],
            states=frozenset(word.strip().lower() for word in str(fields["state"]).split(",")),
            total=total,
            free=_clamped(total, used),
            batch_job_ids=tuple(dict.fromkeys(plain_id(str(word)) for word in jobs)),
            queue=str(fields.get("queue", "")),
            properties={key: value for key, value in available.items() if key not in _NO_PROPERTIES},
            comment=shown(str(fields.get("comment", ""))),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise malformed("a node of pbsnodes", f"{name}: {fields}") from error


def _texts(values: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    return {str(key): str(value) for key, value in values.items()}


def _clamped(total: Resources, used: Resources) -> Resources:
    return Resources(
        cpus=max(0, total.cpus - used.cpus),
        gpus=max(0, total.gpus - used.gpus),
        memory_mb=max(0, total.memory_mb - used.memory_mb),
    )


def hosts(found: Iterable[Vnode]) -> dict[str, str]:
    """Return the host of each vnode."""
    return {vnode.name: vnode.host for vnode in found}


def nodes(found: Iterable[Vnode], partitions_of: Callable[[Vnode], tuple[str, ...]]) -> tuple[Node, ...]:
    """Return the hosts.

    Parameters
    ----------
    partitions_of: the queues whose batch jobs a vnode takes.
    """
    by_host: dict[str, list[Vnode]] = {}
    for vnode in found:
        by_host.setdefault(vnode.host, []).append(vnode)
    return tuple(_node(host, vnodes, partitions_of) for host, vnodes in by_host.items())


def _node(host: str, vnodes: list[Vnode], partitions_of: Callable[[Vnode], tuple[str, ...]]) -> Node:
    # A vnode without CPUs only carries the host's name, where others carry its resources.
    counted = [vnode for vnode in vnodes if vnode.total.cpus] or vnodes
    state = min((vnode.state for vnode in counted), key=_ORDER.index)
    serving = [vnode for vnode in counted if _ORDER.index(vnode.state) < _ORDER.index(_N.UNKNOWN)] or counted
    usable = [vnode for vnode in serving if vnode.state in {_N.IDLE, _N.MIXED}]
    total = sum((vnode.total for vnode in serving), _ZERO)
    free = sum((vnode.free for vnode in usable), _ZERO)
    if state is _N.IDLE and free != total:
        state = _N.MIXED
    return Node(
        name=host,
        state=state,
        partitions=tuple(dict.fromkeys(name for vnode in serving for name in partitions_of(vnode))),
        total=total,
        free=free,
        features=tuple(dict.fromkeys(word for vnode in serving for word in _features(vnode))),
        leaving=_leaving(counted),
    )


def _features(vnode: Vnode) -> list[str]:
    return [f"{name}={value}" for name, values in vnode.properties.items() for value in values.split(",")]


def _leaving(vnodes: list[Vnode]) -> str:
    """Return why nobody should be on a host any longer: the reason of a vnode, where all have one."""
    reasons = [
        next((why for words, why in _LEAVING if vnode.states & words and "state-unknown" not in vnode.states), "")
        for vnode in vnodes
    ]
    if not all(reasons):
        return ""
    comment = next((vnode.comment for vnode in vnodes if vnode.comment), "")
    return f"{reasons[0]}: {comment}" if comment else reasons[0]
