"""The dispatcher alone: invocations through all their states, with few and with many pilots and queued invocations."""

import gc
import time

from harvester.domain.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.effects import Arrival, Grant, Work
from harvester.domain.resources import Resources

ONE = Resources(cpus=1)


def works(count: int) -> list[Work]:
    return [
        Work(invocation_id=f"{number:032x}", function_id="f@1", resources=ONE, accepted_at=0.0)
        for number in range(count)
    ]


def through_all_states(invocations: int, pilots: int, slots: int) -> float:
    """Accept, grant, begin and finish `invocations`; return how many a second."""
    dispatcher = Dispatcher(DispatcherSettings(), epoch=1)
    for number in range(pilots):
        hello = Arrival(
            pilot_id=f"p{number}", capacity=Resources(cpus=slots), python="3.11", time_left_s=3600.0, held=()
        )
        dispatcher.pilot_arrived(hello, 0.0)
    todo = works(invocations)
    gc.collect()
    begun_at = time.perf_counter()
    effects = dispatcher.accept_many(todo, 1.0)
    ended = 0
    while effects:
        grants = [effect for effect in effects if type(effect) is Grant]
        effects = []
        for grant in grants:
            dispatcher.started(grant.pilot_id, grant.invocation_id, grant.fence, 2.0)
            effects += dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, 3.0)
            ended += 1
    took_s = time.perf_counter() - begun_at
    assert ended == invocations
    return invocations / took_s


def main() -> None:
    print("| invocations | pilots | slots each | invocations/s through all states |\n|---|---|---|---|")
    for invocations, pilots, slots in [(20_000, 2, 2), (50_000, 20, 8), (100_000, 2_000, 8), (1_000_000, 20, 8)]:
        rate = through_all_states(invocations, pilots, slots)
        print(f"| {invocations:,} | {pilots:,} | {slots} | {rate:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
