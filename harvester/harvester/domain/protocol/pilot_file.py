"""The pilot file: what a pilot is told when it starts, its credential included.

Written by the daemon with mode 0600 on a filesystem that the compute nodes see. The batch script holds only its path.
"""

import msgspec

from harvester.domain.model.resources import Resources


class PilotFile(msgspec.Struct, frozen=True, kw_only=True):
    """One pilot's orders."""

    pilot_id: str
    token: str  # this pilot's own
    gateways: tuple[str, ...]  # "http://host:port" or "https://…"; tried in turn
    tls_ca: str = ""  # certificates in PEM by which the gateway's is verified; empty: by the system's authorities
    capacity: Resources
    walltime_s: float  # as asked of the scheduler; the scheduler's own end time wins where it tells one
    grace_s: float  # notice before the kill, as the partition has it
    finish_s: float = 1.0  # at an eviction, a function without checkpoints may take this long to end
    handover_s: float = 5.0  # at an eviction, a function with checkpoints may take this long to reach its next one
    checkpoint_interval_s: float = 5.0  # in quiet times, a checkpoint travels this often
    leave_before_s: float = 15.0  # start the walltime drain this long before the end
    linger_s: float = (
        0.0  # at an eviction it stays at least so long: those that wait must be held before its node is free
    )
    orphan_after_s: float | None = None  # without word of a live daemon for this long it leaves; None: never for that
    result_limit_bytes: int = 64 * 1024 * 1024
    warm_slots: int = 64  # for each CPU: idle processes that are kept for the next run of their function
    scratch: str = ""  # folder for the pilot's own files; empty: beside the pilot file


def decode(text: bytes) -> PilotFile:
    """Return the pilot file in `text` (JSON). Raises what `decoding.UNREADABLE` lists."""
    return msgspec.json.decode(text, type=PilotFile)


def encode(pilot: PilotFile) -> bytes:
    """Return the pilot file as JSON."""
    return msgspec.json.format(msgspec.json.encode(pilot), indent=2)
