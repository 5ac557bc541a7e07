"""What tests of the dispatcher begin with: works, pilots, and functions whose runs are known."""

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.ledger.effects import Arrival, Grant
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources

LONG = 3600.0


def work(name, function="f@1", *, at=0.0, cpus=1, **kwargs):
    kwargs.setdefault("resources", Resources(cpus=cpus))
    return Work(invocation_id=name, function_id=function, accepted_at=at, **kwargs)


def works(count, function="f@1", prefix="i", **kwargs):
    return [work(f"{prefix}{n}", function, **kwargs) for n in range(count)]


def arrival(pilot="p1", cpus=1, time_left_s=LONG, **kwargs):
    return Arrival(pilot_id=pilot, capacity=Resources(cpus=cpus), python="3.11", time_left_s=time_left_s, **kwargs)


def only(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


def grants(effects):
    return only(effects, Grant)


def names(effects):
    return [grant.invocation_id for grant in grants(effects)]


def new(**settings):
    return Dispatcher(DispatcherSettings(**settings), epoch=1)


def end(dispatcher, grant, now, duration_s=0.0):
    return dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, now, duration_s=duration_s)


def teach(dispatcher, function, seconds, **kwargs):
    """Let the dispatcher see runs of a function, on a pilot of its own."""
    teacher = f"teacher of {function}"
    dispatcher.pilot_arrived(arrival(teacher, kwargs.get("cpus", 1)), 0)
    for n in range(5):
        (grant,) = grants(dispatcher.accept(work(f"{function} {n}", function, **kwargs), 0))
        end(dispatcher, grant, 0, seconds)
    dispatcher.left(teacher, DrainReason.WALLTIME, 0)
