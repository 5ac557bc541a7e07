"""The tables. Owns columns and indexes; knows no statement.

Payloads lie beside the row that is updated often, so that a change of state does not rewrite them: arguments and
newest checkpoint in tables of their own. The result comes with an invocation's last update, so it is a column, the
last. States are the text of their enum. There are no foreign keys: the hot path would pay for each, and its writer
keeps the order.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from harvester.domain.model.invocations import INVOCATION, InvocationState

# Ids and names sort by byte in both databases; the language of a PostgreSQL database would sort them otherwise.
_TEXT: Any = Text().with_variant(Text(collation="C"), "postgresql")
_BYTES: Any = LargeBinary
_BIG: Any = BigInteger  # a fencing token may carry the gateway's epoch in its upper half
_NO_ROWID: Any = {"sqlite_with_rowid": False}  # small rows under a composite key: one b-tree instead of two

OPEN_STATES = tuple(state for state in InvocationState if state not in INVOCATION.final)
RARE_ENDS = (InvocationState.FAILED, InvocationState.CANCELLED, InvocationState.EXPIRED)

# SQLite uses a partial index only when the query repeats its condition, with literals: hence text, and hence OR.
IS_OPEN = text("(" + " OR ".join(f"state = '{state}'" for state in OPEN_STATES) + ")")
_IS_RARE_END = text("(" + " OR ".join(f"state = '{state}'" for state in RARE_ENDS) + ")")
IS_KEPT = text("ended_at IS NOT NULL AND purged_at IS NULL")
IS_PURGED = text("purged_at IS NOT NULL")
_HAS_KEY = text("idempotency_key IS NOT NULL")
_HAS_RESULT_BLOB = text("result_blob IS NOT NULL")
_HAS_BLOB = text("blob IS NOT NULL")


class _Row(SQLModel, registry=registry()):
    """Tables of the harvester, apart from anybody else's SQLModel tables in the process."""

    metadata: ClassVar[MetaData]


class MetaRow(_Row, table=True):
    """Facts about this database: schema version, instance, epoch, secret of the runs' credentials."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True, sa_type=_TEXT)
    value: str = Field(sa_type=_TEXT)


class NoteRow(_Row, table=True):
    """A small document between daemon and gateway."""

    __tablename__ = "note"
    key: str = Field(primary_key=True, sa_type=_TEXT)
    value: bytes = Field(sa_type=_BYTES)


class FunctionRow(_Row, table=True):
    """A version of a registered function."""

    __tablename__ = "function"
    __table_args__ = (Index("ix_function_name", "owner", "name", "version", unique=True),)
    function_id: str = Field(primary_key=True, sa_type=_TEXT)
    owner: str = Field(sa_type=_TEXT)
    name: str = Field(sa_type=_TEXT)
    version: int
    kind: str = Field(sa_type=_TEXT)
    entry: str = Field(sa_type=_TEXT)
    python: str = Field(sa_type=_TEXT)
    cloudpickle: str = Field(sa_type=_TEXT)
    cpus: int
    gpus: int
    memory_mb: int
    walltime_s: float | None
    checkpoints: bool
    max_retries: int
    max_running: int | None
    added_at: float
    used_at: float  # an instant of its last use, or of its registration, that may be an hour behind
    deleted_at: float | None  # no call finds it any more; the row goes when nothing can refer to it
    body: bytes = Field(sa_type=_BYTES)


class FunctionNameRow(_Row, table=True):
    """A name of one owner: what holds for all versions, and stays when they are deleted, so that no id comes twice."""

    __tablename__ = "function_name"
    __table_args__ = (Index("ix_function_name_shared", "name", "sharing"),)
    owner: str = Field(primary_key=True, sa_type=_TEXT)
    name: str = Field(primary_key=True, sa_type=_TEXT)
    versions: int  # the last number that was given
    sharing: str = Field(sa_type=_TEXT)


class InvocationRow(_Row, table=True):
    """A request to run a function, with its result."""

    __tablename__ = "invocation"
    __table_args__ = (
        Index(
            "ix_invocation_open",
            "state",
            "function_id",
            "accepted_at",
            "invocation_id",
            sqlite_where=IS_OPEN,
            postgresql_where=IS_OPEN,
        ),
        Index(
            "ix_invocation_rare_end", "state", "invocation_id", sqlite_where=_IS_RARE_END, postgresql_where=_IS_RARE_END
        ),
        Index("ix_invocation_owner", "owner", "invocation_id"),
        Index("ix_invocation_function", "function_name", "invocation_id"),
        Index(
            "ix_invocation_idempotency_key",
            "owner",
            "idempotency_key",
            unique=True,
            sqlite_where=_HAS_KEY,
            postgresql_where=_HAS_KEY,
        ),
        Index("ix_invocation_ended", "ended_at", sqlite_where=IS_KEPT, postgresql_where=IS_KEPT),
        Index("ix_invocation_purged", "ended_at", sqlite_where=IS_PURGED, postgresql_where=IS_PURGED),
        Index("ix_invocation_blob", "result_blob", sqlite_where=_HAS_RESULT_BLOB, postgresql_where=_HAS_RESULT_BLOB),
    )
    invocation_id: str = Field(primary_key=True, sa_type=_TEXT)
    function_id: str = Field(sa_type=_TEXT)
    function_name: str = Field(sa_type=_TEXT)  # in function_id, so that all versions can be listed in one order
    owner: str = Field(sa_type=_TEXT)
    idempotency_key: str | None = Field(sa_type=_TEXT)
    encoding: str = Field(sa_type=_TEXT)
    accepted_at: float
    state: str = Field(sa_type=_TEXT)
    started_at: float | None
    ended_at: float | None
    fence: int = Field(sa_type=_BIG)
    pilot_id: str | None = Field(sa_type=_TEXT)
    attempts: int
    retries_used: int
    deaths: int
    checkpoint_at: float | None
    priority: int
    start_by: float | None
    end_by: float | None
    purged_at: float | None
    result_blob: str | None = Field(sa_type=_TEXT)  # name of the blob that holds the result, if one does
    result_size: int | None = Field(sa_type=_BIG)  # and its bytes
    failure: bytes | None = Field(sa_type=_BYTES)  # JSON; bytes, since a user's message may hold a NUL
    result: bytes | None = Field(sa_type=_BYTES)


class ArgumentsRow(_Row, table=True):
    """The arguments of an invocation: bytes, or empty where a blob holds them."""

    __tablename__ = "arguments"
    __table_args__ = (Index("ix_arguments_blob", "blob", sqlite_where=_HAS_BLOB, postgresql_where=_HAS_BLOB),)
    invocation_id: str = Field(primary_key=True, sa_type=_TEXT)
    blob: str | None = Field(sa_type=_TEXT)
    size: int | None = Field(sa_type=_BIG)
    arguments: bytes = Field(sa_type=_BYTES)


class ActivationRow(_Row, table=True):
    """One attempt on one slot."""

    __tablename__ = "activation"
    __table_args__ = _NO_ROWID
    invocation_id: str = Field(primary_key=True, sa_type=_TEXT)
    fence: int = Field(primary_key=True, sa_type=_BIG)
    attempt: int
    pilot_id: str = Field(sa_type=_TEXT)
    granted_at: float
    resumed: bool
    started_at: float | None
    ended_at: float | None
    end: str | None = Field(sa_type=_TEXT)
    checkpoints: int
    checkpoint_at: float | None


class CheckpointRow(_Row, table=True):
    """The newest checkpoint of an open invocation."""

    __tablename__ = "checkpoint"
    invocation_id: str = Field(primary_key=True, sa_type=_TEXT)
    fence: int = Field(sa_type=_BIG)
    seq: int = Field(sa_type=_BIG)
    state: bytes = Field(sa_type=_BYTES)


class DemandRow(_Row, table=True):
    """How many open invocations a function version has: kept up with every group, since to count them takes too long
    where a million wait."""

    __tablename__ = "demand"
    function_id: str = Field(primary_key=True, sa_type=_TEXT)
    waiting: int = Field(sa_type=_BIG)  # ACCEPTED
    held: int = Field(sa_type=_BIG)  # LEASED or RUNNING


class PilotRow(_Row, table=True):
    """A pilot as we believe it."""

    __tablename__ = "pilot"
    __table_args__ = (
        Index("ix_pilot_state", "state"),
        Index("ix_pilot_planned_at", "planned_at"),
        Index("ix_pilot_token", "token_sha256", unique=True),
        Index("ix_pilot_name", "name", unique=True),
    )
    pilot_id: str = Field(primary_key=True, sa_type=_TEXT)
    name: str = Field(sa_type=_TEXT)
    shape: str = Field(sa_type=_TEXT)
    partition: str = Field(sa_type=_TEXT)
    cpus: int
    gpus: int
    memory_mb: int
    walltime_s: float
    token_sha256: str = Field(sa_type=_TEXT)
    state: str = Field(sa_type=_TEXT)
    planned_at: float
    batch_job_id: str = Field(sa_type=_TEXT)
    node: str = Field(sa_type=_TEXT)
    python: str = Field(sa_type=_TEXT)
    submitted_at: float | None
    started_at: float | None
    registered_at: float | None
    last_seen_at: float | None
    ends_at: float | None
    ended_at: float | None
    activations: int
    idle_since: float | None
    reason: str = Field(sa_type=_TEXT)


METADATA = _Row.metadata
META = METADATA.tables["meta"]
NOTES = METADATA.tables["note"]
FUNCTIONS = METADATA.tables["function"]
FUNCTION_NAMES = METADATA.tables["function_name"]
INVOCATIONS = METADATA.tables["invocation"]
ARGUMENTS = METADATA.tables["arguments"]
ACTIVATIONS = METADATA.tables["activation"]
CHECKPOINTS = METADATA.tables["checkpoint"]
DEMAND = METADATA.tables["demand"]
PILOTS = METADATA.tables["pilot"]
