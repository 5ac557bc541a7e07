"""The daemon's settings. Owns the records only; whoever builds the daemon reads files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.domain.harvest.planning import HarvestSettings
from harvester.domain.supervision.looks import LookSettings


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the pilots of one shape are told beyond their shape."""

    interpreter: str  # path of the Python on the compute nodes
    finish_s: float = 1.0
    handover_s: float = 5.0
    checkpoint_interval_s: float = 5.0
    leave_before_s: float = 15.0
    warm_slots: int = 64


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a daemon is told."""

    state_dir: Path  # pilot files and output go below it; the compute nodes see it
    gateways: tuple[str, ...]  # addresses as the pilots reach them
    tls_ca: str = ""  # certificates in PEM by which pilots verify the gateway's; empty: the system's authorities
    harvest: HarvestSettings
    orders: dict[str, Orders]  # by the name of the shape
    tick: timedelta = timedelta(seconds=1)  # how often it listens; how often it looks is another thing
    looks: LookSettings = LookSettings()
    linger: timedelta = timedelta(0)  # an evicted pilot stays at least so long, for us to hold those that wait
    orphan: timedelta | None = None  # pilots leave without word of a live daemon for so long; None: they stay
    policy: str = "demand"  # one of `domain.policies.POLICIES`
    paused: bool = False  # the kill switch of the config
    result_limit_bytes: int = 64 * 1024 * 1024
    nice: int = 0
    account: str = ""
    qos: str = ""
    keep_folders: timedelta = timedelta(days=1)  # folders of ended pilots, with their output
