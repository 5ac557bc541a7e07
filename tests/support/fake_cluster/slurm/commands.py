"""The fake Slurm: its commands on the model. Asking is `squeue`'s and `scontrol`'s; here batch jobs come and go."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from support.fake_cluster.answers import Answer, Call, complained, said
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import Amount, Refusal, Refused, Wish
from support.fake_cluster.slurm import words
from support.fake_cluster.slurm.scontrol import sacctmgr, scontrol, sinfo
from support.fake_cluster.slurm.squeue import squeue

_NO_CONTACT = "Unable to contact slurm controller (connect failure)"
_REFUSALS = {
    Refusal.NO_SUCH_QUEUE: "Invalid partition name specified",
    Refusal.TOO_LARGE: "Requested node configuration is not available",
    Refusal.OVER_LIMIT: "Requested time limit is invalid (missing or exceeds some limit)",
    Refusal.QUEUE_CLOSED: "Required partition not available (inactive or drain)",
}
_GERMAN = {
    "RUNNING": "LÄUFT", "PENDING": "WARTET", "JOBID": "AUFTRAGSNR", "IDLE": "FREI", "ALLOCATED": "BELEGT",
    "Unable to contact": "Kann nicht erreichen:", "No reservations in the system": "Keine Reservierungen im System",
    "Invalid job id specified": "Ungültige Auftragsnummer", "Submitted batch job": "Auftrag angenommen",
}  # fmt: skip


@dataclass(frozen=True)
class FakeSlurm:
    """Slurm's commands."""

    version: str = "24.11.5"
    commands: ClassVar[tuple[str, ...]] = ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "sacctmgr")
    refused: ClassVar[Answer] = complained(f"slurm_load_jobs error: {_NO_CONTACT}\n")
    words: ClassVar[Mapping[str, str]] = _GERMAN

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version, as numbers."""
        return tuple(int(part) for part in self.version.split("."))

    def answer(self, cluster: FakeCluster, call: Call) -> Answer:
        """Do what a call asks."""
        match call.command:
            case "sbatch":
                return _sbatch(cluster, call)
            case "squeue":
                return squeue(cluster, call, self.numbers)
            case "scancel":
                return _scancel(cluster, call)
            case command:
                others = {"scontrol": scontrol, "sinfo": sinfo, "sacctmgr": sacctmgr}
                return others[command](cluster, call, self.version)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name in ("job-name", "partition", "time", "time-min", "chdir", "output", "mem", "gres", "account", "qos",
                 "exclude", "nodelist", "deadline", "export", "signal", "comment", "reservation", "wrap"):  # fmt: skip
        parser.add_argument(f"--{name}", default="")
    for name in ("nodes", "ntasks", "cpus-per-task", "nice"):
        parser.add_argument(f"--{name}", type=int, default=0 if name == "nice" else 1)
    for name in ("parsable", "no-requeue", "hold", "test-only"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("script", nargs="?", default="")
    return parser


def _sbatch(cluster: FakeCluster, call: Call) -> Answer:
    asked = _options().parse_args(list(call.arguments))
    if asked.test_only:  # it judges, and submits nothing
        where = f"on nodes {next(iter(cluster.nodes))} in partition {asked.partition}"
        return complained(f"sbatch: Job 1 to start at 2026-11-29T08:00:00 using 2 processors {where}\n", 0)
    try:
        batch = cluster.submit(_wish(cluster, call, asked))
    except Refused as refused:
        return complained(f"sbatch: error: Batch job submission failed: {_REFUSALS[refused.why]}\n")
    return said(f"{batch.number}\n" if asked.parsable else f"Submitted batch job {batch.number}\n")


def _wish(cluster: FakeCluster, call: Call, asked: argparse.Namespace) -> Wish:
    gpus = re.search(r"gpu:(?:\w+:)?(\d+)", asked.gres)
    memory = re.fullmatch(r"(\d+)([MG]?)", asked.mem)
    deadline = re.fullmatch(r"now\+(\d+)", asked.deadline)
    queue = asked.partition or next((each.name for each in cluster.queues.values() if each.is_default), "")
    return Wish(
        queue=queue,
        name=asked.job_name or "sbatch",
        user=call.environment.get("USER", "me"),
        nodes=asked.nodes,
        each=Amount(
            cpus=asked.ntasks * asked.cpus_per_task,
            gpus=int(gpus[1]) if gpus else 0,
            memory_mb=int(memory[1]) * (1024 if memory[2] == "G" else 1) if memory else 0,
        ),
        limit_s=_whole_minutes(words.seconds(asked.time)) if asked.time else cluster.queues[queue].max_time_s,
        least_s=_whole_minutes(words.seconds(asked.time_min)) if asked.time_min else None,
        priority=-asked.nice,
        is_held=asked.hold,
        is_rerunnable=not asked.no_requeue,
        required=tuple(name for name in asked.nodelist.split(",") if name),
        excluded=_names(asked.exclude, cluster),
        end_by=cluster.now + int(deadline[1]) if deadline else None,
        command=_command(asked.script),
        arguments=call.arguments,
        output=Path(asked.output.replace("%%", "%")) if asked.output else None,
        environment=tuple(call.environment.items()),
    )


def _names(text: str, cluster: FakeCluster) -> tuple[str, ...]:
    """Return the nodes of `n[1-3],n7`."""
    found = []
    for stem, ranges, plain in re.findall(r"([^,\[]+)\[([^\]]+)\]|([^,\[]+)", text):
        if plain:
            found.append(plain)
        for span in filter(None, ranges.split(",")):
            first, _, last = span.partition("-")
            found += [f"{stem}{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)]
    return tuple(name for name in found if name in cluster.nodes)


def _whole_minutes(seconds: float) -> float:
    return -(-seconds // 60) * 60.0


def _command(script: str) -> tuple[str, ...]:
    """Return the command of a batch script's one srun step; nothing for any other script."""
    if not script or not Path(script).is_file():
        return ()
    line = Path(script).read_text().splitlines()[-1]
    if not line.startswith("exec srun "):
        return ()
    step = shlex.split(line)[2:]
    return tuple(step[next(i for i, word in enumerate(step) if not word.startswith("--")) :])


def _scancel(cluster: FakeCluster, call: Call) -> Answer:
    complaints = []
    for word in call.arguments:
        if not word.isdecimal():
            continue
        try:
            cluster.cancel(int(word))
        except Refused as refused:
            why = (
                "Invalid job id specified"
                if refused.why is Refusal.UNKNOWN
                else "Job/step already completing or completed"
            )
            complaints.append(f"scancel: error: Kill job error on job id {word}: {why}\n")
    return complained("".join(complaints)) if complaints else said("")
