"""The configuration's texts of the containers' Slurm, made of the one-machine cluster's parts.

Pure. Owns what containers make different: each node is a host with its own name and the usual ports, and accounting is
always on, so that every kind of site has QOS, and users who need an association.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import accounting as database
import site_kinds
import slurm_conf
from site_kinds import SiteKind
from slurm_conf import Asked, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path("/srv/slurm")  # in each container: sockets, spool, state
CONTROLLER, ACCOUNTING, DATABASE = "controller", "slurmdbd", "database"  # host names, as services in compose.yaml
CONTROLLER_PORT, NODE_PORT, ACCOUNTING_PORT, DATABASE_PORT = 6817, 6818, 6819, 3306
CLUSTER = "containers"
ACCOUNT, USERS = "site", ("harvester", "alice", "bob")
QUALITIES = f"QOS=normal,{site_kinds.SCAVENGER}"


def asked(environment: Mapping[str, str]) -> Asked:
    """Return what the compose file's variables ask for: SITE, NODES, CPUS, GPUS, GRACE; ACCOUNTING is `role`'s."""
    usual = Asked(nodes=4, gpus=2)
    return Asked(
        site=SiteKind(environment.get("SITE") or usual.site),
        nodes=int(environment.get("NODES") or usual.nodes),
        cpus=int(environment.get("CPUS") or usual.cpus),
        gpus=int(environment.get("GPUS") or usual.gpus),
        grace_s=int(environment.get("GRACE") or usual.grace_s),
    )


def shape_of(asked: Asked) -> Shape:
    """Return the cluster's shape: fixed ports, and GPUs where a node has them."""
    ports = (CONTROLLER_PORT, *[NODE_PORT] * asked.nodes, ACCOUNTING_PORT)
    return Shape(asked=asked, ports=ports, host=CONTROLLER, devices=Path("/dev"))


def cluster_conf(asked: Asked, *, accounting: bool) -> str:
    """Return slurm.conf, the same for every container."""
    shape = shape_of(asked)
    settings = slurm_conf.settings(shape, FOLDER)
    if accounting:
        settings |= slurm_conf.accounting(shape, FOLDER) | {"AccountingStorageHost": ACCOUNTING}
    settings |= {"ClusterName": CLUSTER, "SlurmctldHost": CONTROLLER, "SlurmdPort": str(NODE_PORT)}
    for log in ("SlurmctldLogFile", "SlurmdLogFile"):
        settings.pop(log)  # to the terminal, so that `docker compose logs` shows it
    nodes = [f"NodeName={name} {slurm_conf.what_it_has(asked, name)}" for name in asked.node_names]
    return slurm_conf.written(settings, [*nodes, *slurm_conf.partitions(asked)])


def accounting_conf() -> str:
    """Return slurmdbd.conf."""
    return database.slurmdbd_conf(
        FOLDER, ACCOUNTING_PORT, DbdHost=ACCOUNTING, DbdAddr=ACCOUNTING, StorageHost=DATABASE,
        StoragePort=str(DATABASE_PORT), LogFile="/dev/stderr",
    )  # fmt: skip


def first_entries(grace_s: int) -> tuple[tuple[str, ...], ...]:
    """Return sacctmgr's arguments that make cluster, QOS, an account and its users."""
    rights = (QUALITIES, "DefaultQOS=normal")
    return (
        ("add", "cluster", CLUSTER),
        *site_kinds.qualities(grace_s),
        ("add", "account", ACCOUNT, "Description=site", "Organization=site"),
        ("modify", "account", ACCOUNT, "set", *rights),
        *(("add", "user", user, f"Account={ACCOUNT}") for user in USERS),
    )


def later_entries(grace_s: int) -> tuple[tuple[str, ...], ...]:
    """Return sacctmgr's arguments for a database of an earlier start, which may have been asked for another grace."""
    return (("modify", "qos", site_kinds.SCAVENGER, "set", f"GraceTime={grace_s}"),)
