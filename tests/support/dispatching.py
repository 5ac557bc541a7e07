"""What tests of the dispatcher begin with: works, pilots, and functions whose runs are known."""

from collections.abc import Iterable
from typing import Any, TypeVar

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.ledger.effects import Arrival, Effect, Grant
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources

LONG = 3600.0

T = TypeVar("T")


def work(name: str, function: str = "f@1", *, at: float = 0.0, cpus: int = 1, **kwargs: Any) -> Work:
    kwargs.setdefault("resources", Resources(cpus=cpus))
    return Work(invocation_id=name, function_id=function, accepted_at=at, **kwargs)


def works(count: int, function: str = "f@1", prefix: str = "i", **kwargs: Any) -> list[Work]:
    return [work(f"{prefix}{n}", function, **kwargs) for n in range(count)]


def arrival(pilot: str = "p1", cpus: int = 1, time_left_s: float = LONG, **kwargs: Any) -> Arrival:
    return Arrival(pilot_id=pilot, capacity=Resources(cpus=cpus), python="3.11", time_left_s=time_left_s, **kwargs)


def only(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def grants(effects: Iterable[Effect]) -> list[Grant]:
    return only(effects, Grant)


def names(effects: Iterable[Effect]) -> list[str]:
    return [grant.invocation_id for grant in grants(effects)]


def new(**settings: Any) -> Dispatcher:
    return Dispatcher(DispatcherSettings(**settings), epoch=1)


def end(dispatcher: Dispatcher, grant: Grant, now: float, duration_s: float = 0.0) -> list[Effect]:
    return dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, now, duration_s=duration_s)


def teach(dispatcher: Dispatcher, function: str, seconds: float, **kwargs: Any) -> None:
    """Let the dispatcher see runs of a function, on a pilot of its own."""
    teacher = f"teacher of {function}"
    dispatcher.pilot_arrived(arrival(teacher, kwargs.get("cpus", 1)), 0)
    for n in range(5):
        (grant,) = grants(dispatcher.accept(work(f"{function} {n}", function, **kwargs), 0))
        end(dispatcher, grant, 0, seconds)
    dispatcher.left(teacher, DrainReason.WALLTIME, 0)
