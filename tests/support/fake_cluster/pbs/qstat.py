"""qstat, pbsnodes, qmgr and pbs_rstat of the fake PBS."""

from __future__ import annotations

import getopt
import json
from collections.abc import Callable, Mapping

from support.fake_cluster.answers import Answer, Call, complained, said
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import FakeBatchJob
from support.fake_cluster.pbs import words
from support.fake_cluster.pbs.words import SERVER, VERSION, Attributes

_TEXTS = frozenset({"Job_Name", "Account_Name", "project"})  # what PBS's JSON does not turn into numbers


def number_of(word: str) -> int:
    """Return the number in an id with or without the server's name."""
    return int(word.partition(".")[0])


def qstat(cluster: FakeCluster, call: Call) -> Answer:
    """Return what qstat prints."""
    if "--version" in call.arguments:
        return said(f"pbs_version = {VERSION}\n")
    found, operands = getopt.gnu_getopt(list(call.arguments), "fxtQBwaisrnHTJEpGMq1u:F:D:")
    options = dict(found)
    show = _printer(options, cluster)
    if "-Q" in options:
        queues = {name: words.queue(each, cluster) for name, each in cluster.queues.items()}
        return said(show("Queue", {name: queues[name] for name in operands or queues}))
    if "-B" in options:
        return said(show("Server", {SERVER: words.server(cluster)}))
    batches, complaints, code = _asked(cluster, operands, "-x" in options)
    if "-f" not in options:
        return complained(complaints, code, stdout=_table(batches, cluster))
    if options.get("-F") == "json" and operands:
        batches = batches[:1]  # of several ids this PBS answers only the first in JSON
    records = {words.full_id(batch): words.batch_job(batch, cluster.now) for batch in batches}
    return complained(complaints, code, stdout=show("Job Id", records))


def _asked(cluster: FakeCluster, operands: list[str], is_history: bool) -> tuple[list[FakeBatchJob], str, int]:
    """Return the batch jobs, the complaints, and the exit code."""
    if not operands:
        return [batch for batch in cluster.batch_jobs.values() if is_history or not batch.has_ended], "", 0
    batches, complaints, code = [], "", 0
    for operand in operands:
        if operand in cluster.queues:
            batches += [batch for batch in cluster.alive() if batch.wish.queue == operand]
            continue
        number = number_of(operand)
        if number not in cluster.batch_jobs:
            complaints, code = complaints + f"qstat: Unknown Job Id {number}.{SERVER}\n", 153
        elif cluster.batch_jobs[number].has_ended and not is_history:
            hint = "Job has finished, use -x or -H to obtain historical job information"
            complaints, code = complaints + f"qstat: {number}.{SERVER} {hint}\n", 35
        else:
            batches.append(cluster.batch_jobs[number])
    return batches, complaints, code


def _printer(options: Mapping[str, str], cluster: FakeCluster) -> Callable[[str, Mapping[str, Attributes]], str]:
    match options.get("-F"):
        case "json":
            return lambda head, records: _json(head, records, cluster)
        case "dsv":
            return lambda head, records: _dsv(head, records, options.get("-D", "|"))
        case _:
            return _plain


def _dsv(head: str, records: Mapping[str, Attributes], delimiter: str) -> str:
    lines = []
    for name, attributes in records.items():
        parts = [f"{head}: {name}"]
        for key, value in attributes.items():
            escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace(delimiter, "\\" + delimiter)
            parts.append(f"{key}={escaped}")
        lines.append(delimiter.join(parts) + "\n")
    return "".join(lines)


def _plain(head: str, records: Mapping[str, Attributes]) -> str:
    return "".join(
        f"{head}: {name}\n" + "".join(f"    {key} = {value}\n" for key, value in attributes.items()) + "\n"
        for name, attributes in records.items()
    )


def _json(head: str, records: Mapping[str, Attributes], cluster: FakeCluster) -> str:
    document: dict[str, object] = {"timestamp": int(cluster.now), "pbs_version": VERSION, "pbs_server": SERVER}
    kinds = {"Job Id": "Jobs", "Queue": "Queue", "Server": "Server"}
    if records:
        document[kinds[head]] = {name: _nested(attributes) for name, attributes in records.items()}
    return json.dumps(document, indent="\t", separators=(",", ":\t"), ensure_ascii=False) + "\n"


def _nested(attributes: Attributes) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in attributes.items():
        name, is_nested, inner = key.partition(".")
        if is_nested:
            group = found.setdefault(name, {})
            if isinstance(group, dict):
                group[inner] = _typed(name, value)
        elif name == "Variable_List":
            found[name] = {word.partition("=")[0]: _typed("", word.partition("=")[2]) for word in value.split(",")}
        else:
            found[name] = _typed(name, value)
    return found


def _typed(name: str, value: str) -> object:
    """Return what PBS's JSON makes of a text that looks like JSON."""
    try:
        return value if name in _TEXTS else json.loads(value)
    except ValueError:
        return value


def _table(batches: list[FakeBatchJob], cluster: FakeCluster) -> str:
    if not batches:
        return ""
    head = "Job id            Name             User              Time Use S Queue\n" + "-" * 78 + "\n"
    return head + "".join(
        f"{words.full_id(each):<18}{each.wish.name[:15]:<17}{each.wish.user[:15]:<17} 00:00:00"
        f" {words.state(each, cluster.now)[0]} {each.wish.queue}\n"
        for each in batches
    )


def pbsnodes(cluster: FakeCluster, call: Call) -> Answer:
    """Return the nodes in JSON, or a line for each."""
    if "--version" in call.arguments:
        return said(f"pbs_version = {VERSION}\n")
    found, operands = getopt.gnu_getopt(list(call.arguments), "avSjLlH:F:D:")
    nodes = [cluster.nodes[name] for name in operands or cluster.nodes]
    if dict(found).get("-F") != "json":
        return said("".join(f"{each.name} {words.node(each, cluster)['state']}\n" for each in nodes))
    document = {
        "timestamp": int(cluster.now), "pbs_version": VERSION, "pbs_server": SERVER,
        "nodes": {each.name: words.node(each, cluster) for each in nodes},
    }  # fmt: skip
    return said(json.dumps(document, indent="\t", separators=(",", ":\t"), ensure_ascii=False) + "\n")


def qmgr(cluster: FakeCluster, call: Call) -> Answer:
    """Return the scheduler object, the server, a queue, or all queues."""
    found, _ = getopt.gnu_getopt(list(call.arguments), "c:")
    verb, what, *names = dict(found)["-c"].split()
    objects: dict[str, tuple[str, dict[str, Attributes]]] = {
        "sched": ("Sched", {"default": words.scheduler(cluster)}),
        "server": ("Server", {SERVER: words.server(cluster)}),
        "queue": ("Queue", {name: words.queue(each, cluster) for name, each in cluster.queues.items()}),
    }
    if verb not in {"list", "l"} or what not in objects:
        return complained(f"qmgr obj={what} svr=default: Unauthorized Request \n", 159)
    head, records = objects[what]
    asked = [name for name in names if not name.startswith("@")]
    return said(
        "".join(
            f"{head} {name}\n" + "".join(f"    {key} = {value}\n" for key, value in attributes.items()) + "\n"
            for name, attributes in records.items()
            if not asked or name in asked or what == "sched"
        )
    )


def pbs_rstat(cluster: FakeCluster, call: Call) -> Answer:
    """Return the reservations as `pbs_rstat -f` has them."""
    del call
    blocks = []
    for number, each in enumerate(cluster.reservations, 5000):
        if each.end_at <= cluster.now:
            continue
        state = "RESV_RUNNING" if each.start_at <= cluster.now else "RESV_CONFIRMED"
        nodes = "+".join(f"({name}:ncpus={cluster.nodes[name].total.cpus})" for name in each.nodes)
        lines = {
            "Reserve_Name": each.name, "Reserve_Owner": f"root@{SERVER}", "reserve_state": state,
            "reserve_substate": "5" if state == "RESV_RUNNING" else "2",
            "reserve_start": words.instant(each.start_at), "reserve_end": words.instant(each.end_at),
            "reserve_duration": str(round(each.end_at - each.start_at)), "queue": f"R{number}", "resv_nodes": nodes,
            "server": SERVER, "Submit_Host": SERVER, "partition": "pbs-default",
        }  # fmt: skip
        blocks.append(f"Resv ID: R{number}.{SERVER}\n" + "".join(f"{key} = {lines[key]}\n" for key in lines) + "\n")
    return said("".join(blocks))
