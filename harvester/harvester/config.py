"""The configuration of a site: what `harvester up` is told by its TOML file and its options.

Owns the fields, their defaults and their limits. Reading a file and saying what is wrong with it is `config_file`'s;
building objects from it is the CLI's. Durations are seconds here (`_s`), minutes where the name says `_min`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# Each has an end far beyond what anybody means: infinity and the like cannot be reckoned with, and fail far from here.
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=1_000_000_000)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=1_000_000_000)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
Minutes = Annotated[float, Meta(gt=0, le=10_000_000)]
Name = Annotated[str, Meta(min_length=1)]

FIBONACCI_MIN: tuple[Minutes, ...] = (2, 4, 6, 8, 14, 22, 34, 56, 90)
"""HPC-Whisk's set of pilot lengths, in minutes."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class GatewayConfig(_Section, frozen=True):
    """`[gateway]`: where users and pilots call."""

    host: str = ""  # address to listen on; empty: 127.0.0.1 with the local scheduler, 0.0.0.0 otherwise
    port: Annotated[int, Meta(ge=0, le=65535)] = 8321  # 0: a free one, another after each restart
    url: str = ""  # how pilots reach it; empty: http(s)://<this host's name>:<port>
    tls_certificate: str = ""  # PEM file; with it and tls_key the gateway speaks https
    tls_key: str = ""
    tls_ca: str = ""  # PEM file of the authority that signed it, which pilots trust; empty: the system's authorities
    payload_limit_mb: Positive = 64  # arguments or result of one invocation, body of one function
    lease_s: PositiveSeconds = 4.0  # silence after which a pilot is LOST
    blob_kb: Positive = 256  # arguments and results from this size on lie in files of the state folder
    result_days: Days = 7.0  # results and arguments are deleted so long after the end
    record_days: Days = 30.0  # and then nothing is known of the invocation any more
    unused_days: Days = 30.0  # an older version of a function is deleted when it was not called for this long
    max_open: Positive = 2_000_000  # invocations that have not ended; more are refused for a while
    max_open_per_user: Positive = 1_000_000
    max_running_per_user: Positive | None = None  # activations of one user at a time; none given: no limit
    head_s: PositiveSeconds = 10.0  # until a request's headers are whole; silence without a valid token
    body_s: PositiveSeconds = 30.0  # without a byte of a body that is not whole
    idle_s: PositiveSeconds = 75.0  # between two requests on one connection
    max_connections: Positive | None = None  # none given: as many as there are file descriptors for
    max_strangers: Positive = 256  # connections without a valid token; beyond it the oldest of them ends


class StoreConfig(_Section, frozen=True):
    """`[store]`: where everything is kept."""

    url: str = ""  # empty: SQLite in the state folder; otherwise sqlite:////… or postgresql+psycopg://…


class LocalConfig(_Section, frozen=True):
    """`[scheduler.local]`: the emulated cluster."""

    nodes: Positive = 2
    cpus: Positive = 2
    gpus: Count = 0
    memory_mb: Count = 4096
    grace_s: Seconds = 60.0


class SubmissionConfig(_Section, frozen=True):
    """What every scheduler of a site is told of how pilots are submitted."""

    account: str = ""
    nice: Count = 0
    work_dir: str = ""  # where batch scripts lie for a moment; empty: in the state folder
    export: tuple[str, ...] | None = None  # variables that reach the pilots; none given: the adapter's own short list


class SlurmConfig(SubmissionConfig, frozen=True):
    """`[scheduler.slurm]`: how Slurm is asked, and how pilots are submitted."""

    qos: str = ""
    source: Literal["commands", "pyslurm", "auto"] = "commands"  # of nodes and batch jobs: docs/schedulers/slurm.md
    wake: bool = False  # pilots may wake nodes that are powered down to save energy


class PbsConfig(SubmissionConfig, frozen=True):
    """`[scheduler.pbs]`: how pilots are submitted."""

    project: str = ""  # qsub -P
    place: str = ""  # qsub -l place=, as "excl"; empty: what the queue gives
    extra_select: str = ""  # added to the chunk that a pilot asks for, as "Qlist=harvest"


class PsijConfig(_Section, frozen=True):
    """`[scheduler.psij]`: a scheduler that is reached through PSI/J alone: docs/schedulers/psij.md."""

    executor: str = ""  # lsf, flux, cobalt or pbs_classic
    preemptible: bool = False  # the site's word that pilots are evicted from their queues for other users
    grace_s: Seconds = 0.0  # between the scheduler's signal to leave and its kill
    account: str = ""
    options: tuple[str, ...] = ()  # of the submit command, passed on as they are
    work_dir: str = ""  # where scripts lie for a moment; empty: in the state folder
    export: tuple[str, ...] = ()  # more variables that reach the pilots


OWN_KINDS = ("local", "slurm", "pbs", "psij")
"""The schedulers that have a table of their own; others come with packages."""


class SchedulerConfig(_Section, frozen=True):
    """`[scheduler]`: who runs the pilots."""

    kind: Name = "local"  # local, slurm, pbs, psij, or one that an installed package adds: CONTRIBUTING.md
    timeout_s: PositiveSeconds = 10.0  # for one look, one submission, one cancellation
    local: LocalConfig = LocalConfig()
    slurm: SlurmConfig = SlurmConfig()
    pbs: PbsConfig = PbsConfig()
    psij: PsijConfig = PsijConfig()
    options: dict[str, Any] = {}  # for the adapter of another package, which checks them itself

    @property
    def submission(self) -> SubmissionConfig:
        """How pilots are submitted to the scheduler that is configured."""
        match self.kind:
            case "slurm":
                return self.slurm
            case "pbs":
                return self.pbs
            case "psij":
                return SubmissionConfig(account=self.psij.account, work_dir=self.psij.work_dir)
            case _:
                return SubmissionConfig()


class HarvestConfig(_Section, frozen=True):
    """`[harvest]`: how many pilots, and how long."""

    policy: Name = "demand"  # how many pilots, and how long: demand, gap, fib or var
    mode: Literal["preemptible", "strict", "yielding"] = "preemptible"  # how pilots are kept harmless: docs/policies.md
    max_delay_s: PositiveSeconds = 15.0  # yielding: no prime job may wait longer than this because of pilots
    orphan_s: PositiveSeconds = 30.0  # strict, yielding: without word of a live daemon for this long a pilot leaves
    everything: bool = False  # gap: harvest whatever is idle, whether or not work waits
    tick_s: PositiveSeconds | None = None  # how often the daemon listens, without asking the scheduler anything
    look_s: PositiveSeconds = 20.0  # between two looks at the scheduler while there are pilots or work
    rest_look_s: PositiveSeconds = 60.0  # between two looks while there are neither
    commands_per_min: PositiveSeconds = 8.0  # preemptible: looks wait where more was sent on average, by whatever
    partition: str = ""  # whose whole nodes pilots take where no [[pilot]] is given; empty: a preemptible lower one
    ready: Count = 1  # pilots to keep without work; of the first shape unless a shape has its own
    max_pilots: Count = 64
    max_pending: Count = 10
    lengths_min: Annotated[tuple[Minutes, ...], Meta(min_length=1)] = FIBONACCI_MIN
    patience_s: PositiveSeconds = 60.0  # pending for longer than this: try the next shorter length
    idle_s: PositiveSeconds = 300.0  # without work for longer than this, beyond `ready`: let go
    longest_min: Minutes = 240  # gap: of a pilot in a gap without a known end
    window_margin_s: Seconds = 60.0  # strict: a pilot has ended so long before its window does
    boot_s: PositiveSeconds = 10.0  # from a pilot's start until it takes work, as expected
    cycle_s: PositiveSeconds = 30.0  # from one look of the scheduler at its queue to the next, as expected
    max_nodes: Positive | None = None  # nodes that pilots may hold or wait for; none given: no limit
    max_share: Annotated[float, Meta(gt=0, le=1)] | None = None  # of the nodes in service of the pilots' partitions
    excluded_nodes: tuple[Name, ...] = ()  # "n7", "gpu[01-04]"
    excluded_partitions: tuple[Name, ...] = ()
    quiet_hours: tuple[str, ...] = ()  # "08:00-18:00", "mon-fri 22:00-06:00": no pilots then
    time_zone: str = ""  # of quiet_hours, "Europe/Warsaw"; empty: the local time of the daemon's machine
    leave_pilots: bool = False  # at a clean end pilots stay, to be taken up by the next start
    paused: bool = False  # the kill switch: nothing is submitted


class PilotConfig(_Section, frozen=True):
    """`[[pilot]]`: one shape that pilots may have."""

    name: Name
    partition: Name
    cpus: Positive = 1
    gpus: Count = 0
    memory_mb: Count = 0  # 0: what the scheduler gives by default
    ready: Count | None = None
    finish_s: Seconds = 1.0  # at an eviction, a function without checkpoints may take this long to end
    handover_s: Seconds = 5.0  # at an eviction, a function with checkpoints may take this long to reach its next one
    checkpoint_interval_s: PositiveSeconds = 5.0
    leave_before_s: Seconds = 15.0  # the pilot starts to leave this long before the end of its walltime
    warm_slots: Count = 64  # for each CPU: idle processes that are kept for the next run of their function
    python: str = ""  # the interpreter on the compute nodes; empty: the one that runs the daemon
    python_version: Annotated[str, Meta(pattern=r"^(3\.\d+)?$")] = ""  # of `python`, where it is another one

    @property
    def interpreter(self) -> str:
        """The Python that runs the pilot."""
        return self.python or sys.executable

    @property
    def minor(self) -> str:
        """The interpreter's minor version, "3.11"; empty where it is unknown."""
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.python_version or (own if self.interpreter == sys.executable else "")


class UserConfig(_Section, frozen=True):
    """`[[user]]`: a user with their own token, beside the user who runs `harvester up`."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    admin: bool = False
    weight: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0  # of their share when slots are scarce
    max_running: Positive | None = None  # activations at a time; none given: gateway.max_running_per_user


class Config(_Section, frozen=True):
    """A whole configuration."""

    state: str = ""  # folder for everything that is kept; empty: the user's state folder
    gateway: GatewayConfig = GatewayConfig()
    store: StoreConfig = StoreConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    harvest: HarvestConfig = HarvestConfig()
    user: tuple[UserConfig, ...] = ()  # tokens lie in the state folder, tokens/<name>
    pilot: tuple[PilotConfig, ...] = ()  # none given: whole nodes, see docs/operations.md
