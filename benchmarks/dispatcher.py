"""The dispatcher alone: invocations through all their states, with few and many pilots, owners and queued invocations.

Rates are by the CPU time of this process, so that a busy machine does not change them.
"""

import gc
import time
import tracemalloc
from collections import deque

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.ledger.effects import Arrival, Grant
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.resources import Resources

ONE = Resources(cpus=1)
BRIEF_S = 0.0002  # of a no-op, as pilots measure it


def works(count: int, owners: int = 1, functions: int = 1) -> list[Work]:
    """Return invocations of every owner and function in turn."""
    return [
        Work(
            invocation_id=f"{number:032x}",
            function_id=f"f{number // owners % functions}@1",
            owner=f"user{number % owners}",
            resources=ONE,
            accepted_at=0.0,
        )
        for number in range(count)
    ]


def fleet(pilots: int, slots: int) -> Dispatcher:
    """Return a dispatcher with idle pilots."""
    dispatcher = Dispatcher(DispatcherSettings(), epoch=1)
    for number in range(pilots):
        hello = Arrival(
            pilot_id=f"p{number}", capacity=Resources(cpus=slots), python="3.11", time_left_s=3600.0, held=()
        )
        dispatcher.pilot_arrived(hello, 0.0)
    return dispatcher


def through_all_states(
    invocations: int, pilots: int, slots: int, *, owners: int = 1, functions: int = 1, are_brief: bool = False
) -> tuple[float, int]:
    """Accept, grant, begin and finish `invocations`; return how many a second, and the most leases at a time.

    With `are_brief` the ends are told with a duration and no beginning, so that leases go out ahead of free slots.
    """
    dispatcher = fleet(pilots, slots)
    todo = works(invocations, owners, functions)
    gc.collect()
    begun_at = time.process_time()
    held = deque(effect for effect in dispatcher.accept_many(todo, 1.0) if type(effect) is Grant)
    ended = most = 0
    while held:
        most = max(most, len(held))
        grant = held.popleft()
        if are_brief:
            key = grant.pilot_id, grant.invocation_id, grant.fence
            effects = dispatcher.finished(*key, None, 3.0, duration_s=BRIEF_S)
        else:
            dispatcher.started(grant.pilot_id, grant.invocation_id, grant.fence, 2.0)
            effects = dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, 3.0)
        held.extend(effect for effect in effects if type(effect) is Grant)
        ended += 1
    took_s = time.process_time() - begun_at
    assert ended == invocations
    return invocations / took_s, most


def bytes_queued(count: int = 200_000) -> float:
    """Return what a queued invocation takes, with its id and the `Work` that told of it."""
    dispatcher = fleet(1, 1)
    gc.collect()
    tracemalloc.start()
    dispatcher.accept_many(
        (
            Work(invocation_id=f"{number:032x}", function_id="f@1", resources=ONE, accepted_at=float(number), owner="u")
            for number in range(count)
        ),
        1.0,
    )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / count


def main() -> None:
    print("| invocations | pilots | slots each | owners | functions each | invocations/s | most leased at a time |")
    print("|---|---|---|---|---|---|---|")
    for invocations, pilots, slots, owners, functions, are_brief in [
        (20_000, 2, 2, 1, 1, False),
        (50_000, 20, 8, 1, 1, False),
        (50_000, 20, 8, 1, 1, True),
        (50_000, 20, 8, 100, 10, False),
        (50_000, 20, 8, 100, 10, True),
        (50_000, 20, 8, 500, 1, False),
        (100_000, 2_000, 8, 1, 1, False),
        (100_000, 2_000, 8, 100, 10, True),
        (1_000_000, 20, 8, 1, 1, False),
        (1_000_000, 20, 8, 100, 10, True),
    ]:
        rate, most = through_all_states(
            invocations, pilots, slots, owners=owners, functions=functions, are_brief=are_brief
        )
        shape = f"| {invocations:,} | {pilots:,} | {slots} | {owners} | {functions} "
        print(f"{shape}| {rate:,.0f} | {most:,} |", flush=True)
    print(f"\nA queued invocation takes {bytes_queued():.0f} bytes.")


if __name__ == "__main__":
    main()
