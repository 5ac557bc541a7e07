"""The run that a slot is at, as its two threads see it."""

from harvester_worker.ipc.slot_messages import Run
from harvester_worker.slot.checkpointing import SlotContext


class CurrentRun:
    """What is known of it while it runs."""

    __slots__ = ("context", "is_interruptible", "is_signalled", "is_stopped", "run")

    context: SlotContext

    def __init__(self, run: Run) -> None:
        self.run = run
        self.is_interruptible = False
        self.is_stopped = False
        self.is_signalled = False
