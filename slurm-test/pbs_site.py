"""What a small PBS site is told: pbs.conf, each mom's, the scheduler's settings, queues and nodes. Texts only.

Several moms live on one machine, each with a name, an address and ports of its own. Knows no process.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

SERVER, FIRST_PORT = "head", 15001  # server, comm, database, one that no mom has; then two ports a mom


@dataclasses.dataclass(frozen=True, kw_only=True)
class PbsAsked:
    """What a site is asked to be."""

    prefix: str  # PBS_EXEC: where PBS is installed
    nodes: int = 4
    cpus: int = 2
    gpus: int = 2
    memory_mb: int = 4000
    order: str = "D"  # preempt_order, by which pilots are evicted: R requeue, D delete, S suspend
    kill_delay_s: int = 60  # from SIGTERM to SIGKILL
    first_poll_s: int = 10  # from a batch job's start until its mom looks at it for the first time

    @property
    def node_names(self) -> tuple[str, ...]:
        """Return n1, n2 …"""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def daemon_names(self) -> tuple[str, ...]:
        """Return what `stop` and `start` know."""
        return ("server", "sched", "comm", *self.node_names)

    def mom_port(self, name: str) -> int:
        """Return where a mom listens; its port for the resource monitor is the next one."""
        return FIRST_PORT + 4 + 2 * self.node_names.index(name)


def address(number: int) -> str:
    """Return the address of node `number`, or of the server, 0: of a network that is for tests (RFC 2544)."""
    return f"198.18.0.{number + 1}"


def hosts(nodes: int) -> str:
    """Return /etc/hosts. PBS's daemons refuse names that lead to 127.0.0.0/8."""
    names = {SERVER: 0} | {f"n{number}": number for number in range(1, nodes + 1)}
    return "127.0.0.1 localhost\n" + "".join(f"{address(number)} {name}\n" for name, number in names.items())


def pbs_conf(asked: PbsAsked, folder: Path) -> str:
    """Return the configuration of server, scheduler, comm and all commands."""
    return _conf(
        asked, PBS_HOME=f"{folder}/home", PBS_LEAF_NAME=SERVER, PBS_START_SERVER=1, PBS_START_SCHED=1,
        PBS_START_COMM=1, PBS_START_MOM=0, PBS_DATA_SERVICE_PORT=FIRST_PORT + 2, PBS_MOM_SERVICE_PORT=FIRST_PORT + 3,
    )  # fmt: skip


def mom_conf(asked: PbsAsked, folder: Path, name: str) -> str:
    """Return the configuration of one mom."""
    port = asked.mom_port(name)
    return _conf(
        asked, PBS_HOME=f"{folder}/{name}", PBS_LEAF_NAME=name, PBS_START_SERVER=0, PBS_START_SCHED=0,
        PBS_START_COMM=0, PBS_START_MOM=1, PBS_MOM_NODE_NAME=name, PBS_MOM_SERVICE_PORT=port,
        PBS_MANAGER_SERVICE_PORT=port + 1,
    )  # fmt: skip


def _conf(asked: PbsAsked, **own: str | int) -> str:
    comm = f"{SERVER}:{FIRST_PORT + 1}"
    common: dict[str, str | int] = {
        "PBS_EXEC": asked.prefix,
        "PBS_SERVER": SERVER,
        "PBS_BATCH_SERVICE_PORT": FIRST_PORT,
        "PBS_COMM_NAME": comm,
        "PBS_LEAF_ROUTERS": comm,
        "PBS_COMM_THREADS": 2,
        "PBS_CORE_LIMIT": 0,
        "PBS_LOG_HIGHRES_TIMESTAMP": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in (common | own).items())


def mom_config(asked: PbsAsked) -> str:
    """Return a mom's mom_priv/config: output is copied, not sent by scp, and polls begin when asked."""
    return f"$usecp *:/ /\n$min_check_poll {asked.first_poll_s}\n$max_check_poll {max(30, asked.first_poll_s)}\n"


def sched_config(shipped: str, **changed: str) -> str:
    """Return the sched_config that PBS ships, with GPUs enforced and `changed` settings."""
    text = re.sub(r'^(resources: ".*?)(, ngpus)?"$', r'\1, ngpus"', shipped, flags=re.MULTILINE)
    for name, value in changed.items():
        text = re.sub(rf"^{name}:(\s*)\S+", rf"{name}:\g<1>{value}", text, flags=re.MULTILINE)
    return text


def settings(asked: PbsAsked) -> tuple[str, ...]:
    """Return qmgr's commands: queues prime, harvest and express; pilots leave for jobs of any other queue.

    The soft limit of none makes every batch job of harvest one "over its limit", which ordinary jobs may preempt.
    """
    return (
        "set server job_history_enable = True",
        "set server scheduling = True",
        "set server flatuid = True",
        "set server query_other_jobs = True",
        "set server default_queue = workq",
        "set server eligible_time_enable = False",
        "create resource ngpus type = long, flag = nh",
        *_queue("prime", Priority=100),
        *_queue("harvest", Priority=10, kill_delay=asked.kill_delay_s, max_run_soft='"[o:PBS_ALL=0]"'),
        "set queue harvest resources_max.walltime = 02:00:00",
        *_queue("express", Priority=200),
        "set sched preempt_queue_prio = 150",
        'set sched preempt_prio = "express_queue, normal_jobs, queue_softlimits"',
        f"set sched preempt_order = {asked.order}",
        "set sched scheduler_iteration = 5",
    )


def _queue(name: str, **attributes: str | int) -> list[str]:
    made = [f"create queue {name} queue_type = Execution, enabled = True, started = True"]
    return made + [f"set queue {name} {key} = {value}" for key, value in attributes.items()]


def nodes(asked: PbsAsked) -> tuple[str, ...]:
    """Return qmgr's commands that make the nodes."""
    has = (
        f"ncpus = {asked.cpus}, resources_available.mem = {asked.memory_mb}mb, resources_available.ngpus = {asked.gpus}"
    )
    return tuple(
        command
        for name in asked.node_names
        for command in (
            f"create node {name} Mom = {name}, Port = {asked.mom_port(name)}",
            f"set node {name} resources_available.{has}",
        )
    )
