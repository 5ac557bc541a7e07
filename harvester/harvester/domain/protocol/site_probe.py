"""The site probe: what `harvester check --probe` tells its batch job, and what that reports from a compute node.

The orders lie beside the report in a folder of the state folder, for the user alone (0700, 0600).
"""

import msgspec

NONCE_HEADER = "X-Harvester-Check"
"""With it whoever checks answers in a gateway's place, so that the probe knows whom it has reached."""
TIME_HEADER = "X-Harvester-Time"
"""Unix seconds of who answers, finer than the header Date."""
PATH = "/healthz"


class ProbeOrders(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is to look at."""

    nonce: str  # known to this check alone
    gateways: tuple[str, ...]
    tls_ca: str = ""  # certificates in PEM by which the gateway's is verified; empty: by the system's authorities
    report: str  # the file to write


class Dial(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a gateway's address from a compute node."""

    url: str
    trouble: str = ""  # why it failed; empty where a gateway, or the check itself, answered
    remedy: str = ""
    took_s: float = 0.0
    is_check: bool = False  # the check itself answered
    skew_s: float | None = None  # the node's clock minus that of who answered
    grain_s: float = 1.0  # less than this cannot be told of it


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe saw on a compute node."""

    nonce: str
    host: str
    user: str
    uid: int
    python: str  # "3.11.2"
    executable: str
    harvester: str  # its version; empty where it cannot be told
    missing: tuple[str, ...] = ()  # what a pilot imports and this Python does not have
    cpus: int = 0  # that the probe may use
    is_step: bool = False  # Slurm: it runs in a step
    is_session_leader: bool = False
    dials: tuple[Dial, ...] = ()
    variables: tuple[str, ...] = ()  # names of its environment; values are nobody's business
    free_mb: int | None = None  # for temporary files


def orders(text: bytes) -> ProbeOrders:
    """Return the orders in `text` (JSON). Raises what `decoding.UNREADABLE` lists."""
    return msgspec.json.decode(text, type=ProbeOrders)


def report(text: bytes) -> ProbeReport:
    """Return the report in `text` (JSON). Raises what `decoding.UNREADABLE` lists."""
    return msgspec.json.decode(text, type=ProbeReport)
