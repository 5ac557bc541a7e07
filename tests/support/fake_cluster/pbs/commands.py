"""The fake PBS: its commands on the model. Asking is `qstat`'s; here batch jobs come and go."""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from support.fake_cluster.answers import Answer, Call, complained, said
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import Amount, Phase, Refusal, Refused, Wish
from support.fake_cluster.pbs import words
from support.fake_cluster.pbs.qstat import number_of, pbs_rstat, pbsnodes, qmgr, qstat
from support.fake_cluster.pbs.words import SERVER

_REFUSALS = {
    Refusal.NO_SUCH_QUEUE: (170, "qsub: Unknown queue"),
    Refusal.TOO_LARGE: (188, "qsub: Job violates queue and/or server resource limits"),
    Refusal.OVER_LIMIT: (188, "qsub: Job violates queue and/or server resource limits"),
    Refusal.QUEUE_CLOSED: (184, "qsub: Queue is not enabled"),
}
_GERMAN = {
    "Sun ": "So ", "Mon ": "Mo ", "Tue ": "Di ", " Dec ": " Dez ", "job_state=R": "job_state=L", "free": "frei",
    "Connection refused": "Verbindungsaufbau abgelehnt", "Unknown Job Id": "Unbekannte Auftragsnummer",
    "Execution": "Ausführung",
}  # fmt: skip
_NO_CONTACT = f"Connection refused\nqstat: cannot connect to server {SERVER} (errno=15010)\n"
_SIZES = {"kb": 1 / 1024, "mb": 1, "gb": 1024}


@dataclass(frozen=True)
class FakePbs:
    """PBS's commands."""

    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel", "qhold", "qrls", "pbsnodes", "qmgr", "pbs_rstat")
    refused: ClassVar[Answer] = complained(_NO_CONTACT, 255)
    words: ClassVar[Mapping[str, str]] = _GERMAN

    def answer(self, cluster: FakeCluster, call: Call) -> Answer:
        """Do what a call asks."""
        verbs: dict[str, Callable[[FakeCluster, Call], Answer]] = {
            "qsub": _qsub, "qstat": qstat, "qdel": _qdel, "qhold": _qhold, "qrls": _qrls,
            "pbsnodes": pbsnodes, "qmgr": qmgr, "pbs_rstat": pbs_rstat,
        }  # fmt: skip
        return verbs[call.command](cluster, call)


def _qsub(cluster: FakeCluster, call: Call) -> Answer:
    if "--version" in call.arguments:
        return said(f"pbs_version = {words.VERSION}\n")
    options, operands = getopt.getopt(list(call.arguments), "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:z")
    try:
        batch = cluster.submit(_wish(cluster, call, options, operands))
    except Refused as refused:
        code, text = _REFUSALS[refused.why]
        return complained(text + "\n", code)
    return said(words.full_id(batch) + "\n")


def _wish(cluster: FakeCluster, call: Call, options: list[tuple[str, str]], operands: list[str]) -> Wish:
    given = dict(options)
    resources = dict(
        item.partition("=")[::2]
        for name, value in options
        if name == "-l"
        for item in ([value] if value.startswith(("select=", "place=")) else value.split(","))
    )
    nodes, chunk = _chunk(resources.get("select", "1:ncpus=1"))
    default = next((each.name for each in cluster.queues.values() if each.is_default), "workq")
    queue = given.get("-q", default)
    longest = resources.get("max_walltime") or resources.get("walltime")
    limit = cluster.queues[queue].max_time_s if queue in cluster.queues else None
    output = given.get("-o")
    host = chunk.get("host") or chunk.get("vnode")
    return Wish(
        queue=queue,
        name=given.get("-N", "STDIN"),
        user=call.environment.get("USER", "me"),
        nodes=nodes,
        each=Amount(int(chunk.get("ncpus", "1")), int(chunk.get("ngpus", "0")), _megabytes(chunk.get("mem", "0mb"))),
        limit_s=words.seconds(longest) if longest else limit,
        least_s=words.seconds(resources["min_walltime"]) if "min_walltime" in resources else None,
        priority=int(given.get("-p", "0")),
        is_held="-h" in given,
        is_rerunnable=given.get("-r", "y") == "y",
        required=(host,) if host else (),
        command=tuple(operand for operand in operands if operand),  # PBS drops empty arguments
        arguments=call.arguments,
        output=Path(output.rpartition(":")[2]) if output else None,
        environment=(*_pilots_environment(call), *_variables(given.get("-v", ""), call)),
    )


def _pilots_environment(call: Call) -> tuple[tuple[str, str], ...]:
    """Return what a batch job in exec form gets of its own: little."""
    home = call.environment.get("HOME", "/")
    user = call.environment.get("USER", "me")
    own = {"HOME": home, "PATH": "/bin:/usr/bin", "USER": user, "LOGNAME": user, "PBS_ENVIRONMENT": "PBS_BATCH"}
    return tuple(own.items())


def _variables(text: str, call: Call) -> tuple[tuple[str, str], ...]:
    pairs = (word.partition("=") for word in text.split(",") if word)
    return tuple((name, value if given else call.environment.get(name, "")) for name, given, value in pairs)


def _chunk(select: str) -> tuple[int, dict[str, str]]:
    count, *items = select.split(":")
    if not count.isdecimal():
        count, items = "1", [count, *items]
    return int(count), dict(item.partition("=")[::2] for item in items)


def _megabytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)(kb|mb|gb)", text.lower())
    return round(int(found[1]) * _SIZES[found[2]]) if found else 0


def _each(call: Call, letters: str, act: Callable[[int], None]) -> Answer:
    """Do something to batch jobs; those that are unknown or over are complained about, and the others done."""
    _, operands = getopt.getopt(list(call.arguments), letters)
    complaints, code = "", 0
    for operand in operands:
        try:
            act(number_of(operand))
        except Refused as refused:
            unknown = refused.why is Refusal.UNKNOWN
            code = 153 if unknown else 35
            name = f"{number_of(operand)}.{SERVER}"
            complaints += f"{call.command}: {'Unknown Job Id' if unknown else 'Job has finished'} {name}\n"
    return complained(complaints, code) if code else said("")


def _qdel(cluster: FakeCluster, call: Call) -> Answer:
    return _each(call, "xW:", lambda number: cluster.cancel(number, at_once="force" in call.arguments))


def _qhold(cluster: FakeCluster, call: Call) -> Answer:
    def hold(number: int) -> None:
        batch = cluster.find(number)
        if batch.phase is Phase.RUNNING:
            batch.is_held = True  # no error: it runs on, and is held if it comes back into the queue
        else:
            cluster.hold(number)

    return _each(call, "h:", hold)


def _qrls(cluster: FakeCluster, call: Call) -> Answer:
    return _each(call, "h:", cluster.release)
