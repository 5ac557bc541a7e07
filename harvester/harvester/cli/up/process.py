"""What a process that runs a gateway asks of the interpreter and of the system."""

from __future__ import annotations

import gc
import resource

# Allocations until a young collection, young ones until a middle one, middle ones until a full one. A collection stops
# everything, so the young and middle ones are small: what a batch of a hundred thousand leaves alive is looked at bit
# by bit, 25,000 objects at a time. The writer's thread collects too, and holds the loop up meanwhile.
GC_THRESHOLDS = (5_000, 4, 4_000)


def prepare_process() -> None:
    """Make room for thousands of connections, and keep the garbage collector out of the way of requests.

    What a gateway makes by the thousand a second is freed by its count of references; looking through everything that
    is alive for cycles stopped all requests for 50 ms about once a second. What is alive now, code above all, is never
    looked at again.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
