"""The daemon's settings. Owns the records only; a default that a site may change is the configuration's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.config import GatewayConfig, HarvestConfig, PilotConfig
from harvester.domain.harvest.planning import HarvestSettings
from harvester.domain.supervision.looks import LookSettings

_SITE = HarvestConfig()
_SHAPE = PilotConfig(name="-", partition="-")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the pilots of one shape are told beyond their shape."""

    interpreter: str  # path of the Python on the compute nodes
    finish_s: float = _SHAPE.finish_s
    handover_s: float = _SHAPE.handover_s
    checkpoint_interval_s: float = _SHAPE.checkpoint_interval_s
    leave_before_s: float = _SHAPE.leave_before_s
    warm_slots: int = _SHAPE.warm_slots


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
    policy: str = _SITE.policy  # one of `domain.policies.POLICIES`
    paused: bool = _SITE.paused  # the kill switch of the config
    result_limit_bytes: int = GatewayConfig().payload_limit_mb * 1024 * 1024
    nice: int = 0
    account: str = ""
    qos: str = ""
    keep_folders: timedelta = timedelta(days=1)  # folders of ended pilots, with their output
