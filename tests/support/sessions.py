"""Sessions of a pilot, for the tests of what it decides: orders, leases, and what is found among effects."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.domain.protocol.pilot_file import PilotFile
from harvester_worker.core.activations import Death
from harvester_worker.core.effects import Effect, Key, Send
from harvester_worker.core.pilot_core import PilotCore
from harvester_worker.devices.allocation import PilotLocation
from harvester_worker.ipc.slot_messages import Progress

T = TypeVar("T")

PILOT = PilotFile(
    pilot_id="p",
    token="t",
    gateways=("http://g",),
    capacity=Resources(cpus=2, gpus=2),
    walltime_s=1000.0,
    grace_s=30.0,
)
HOST = PilotLocation(python="3.11", node="n1", batch_job_id="7")
WELCOME = wire.Welcome(heartbeat_s=1.0, lease_s=5.0)
PLAIN = FunctionVersion(function_id="plain@1", name="plain", version=1, kind=FunctionKind.PICKLE, body=b"")
RESUMABLE = msgspec.structs.replace(PLAIN, function_id="resumable@1", checkpoints=True)
LIMITED = msgspec.structs.replace(PLAIN, function_id="limited@1", walltime_s=20.0)


def lease(
    invocation_id: str = "i", *, fence: int = 1, function: FunctionVersion = PLAIN, cpus: int = 1, gpus: int = 0
) -> wire.Lease:
    return wire.Lease(
        invocation_id=invocation_id,
        fence=fence,
        attempt=1,
        function_id=function.function_id,
        resources=Resources(cpus=cpus, gpus=gpus),
        encoding=Encoding.JSON,
        arguments=b"",
    )


def linked(*, pilot: PilotFile = PILOT, end_at: float = 1000.0) -> PilotCore:
    session = PilotCore(pilot, HOST, ("0", "1"), now=0.0, end_at=end_at)
    functions = [wire.Function(function=function) for function in (PLAIN, RESUMABLE, LIMITED)]
    assert session.received([WELCOME, *functions], 0.0) == []
    return session


def sent(effects: Iterable[Effect], kind: Any = object) -> list[Any]:
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def of(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    return [e for e in effects if isinstance(e, kind)]


def death(*keys: Key, begun: int = 1, blamed: Any = "the first") -> Death:
    """Return a slot's end under these activations; so many had begun, and the first is to blame."""
    guilty = keys[0] if blamed == "the first" else blamed
    return Death(keys=keys, begun=frozenset(keys[:begun]), blamed=guilty)


def saved(state: bytes) -> Progress:
    return Progress(number=1, state=state)


def ack(kind: wire.AckKind, invocation_id: str = "i", *, fence: int = 1, seq: int = 0) -> wire.Ack:
    return wire.Ack(kind=kind, invocation_id=invocation_id, fence=fence, seq=seq)
