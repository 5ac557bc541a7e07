"""Lanes: invocations that wait, by whom and what for.

    owner ── lane ── function         a lane: the invocations of one function version that one owner has open
       └─── group ── shape            a group: the lanes of one owner that any pilot of a shape could run

These are mutable books without decisions: `queues` lists lanes and takes from them, `ledger` leases.
"""

from __future__ import annotations

from collections import deque

import msgspec

from harvester.domain.dispatch.queueing.durations import Duration
from harvester.domain.dispatch.queueing.ranking import Ranking
from harvester.domain.dispatch.queueing.shares import GPU_CPUS, Clock, Share
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import INVOCATION, InvocationEvent, InvocationState
from harvester.domain.model.resources import Resources

_ROWS = INVOCATION.rows

SLACK = 1024  # invocations of a lane that are over and may stay where they stood in any case


class Lease(msgspec.Struct, gc=False):
    """The right of a pilot to an open invocation."""

    pilot_id: str
    fence: int
    granted_at: float
    expected_s: float  # how long the run was expected to take when its share was charged
    is_brief: bool = False  # it is known to be over soon
    is_ahead: bool = False  # it was granted ahead of a free slot, and has not told that it began
    begun_at: float | None = None
    recalled_at: float | None = None
    waits_since: float | None = None  # it waits for others that it has submitted
    waited_s: float = 0.0  # and has done so for so long before
    is_lent: bool = False  # its CPUs are free meanwhile


class Entry(
    msgspec.Struct, eq=False, gc=False
):  # without gc: a million of them would be looked through again and again
    """An open invocation. It is itself, not its fields."""

    invocation_id: str
    lane: Lane
    accepted_at: float
    priority: int = 0
    start_by: float | None = None
    end_by: float | None = None
    state: InvocationState = InvocationState.ACCEPTED
    lease: Lease | None = None
    last_fence: int = 0  # of the newest lease ever granted
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    losses: int = 0  # pilots that were lost while they ran it; not remembered over a restart
    has_checkpoint: bool = False
    has_started: bool = False  # in this or an earlier activation
    has_progressed: bool = False  # a checkpoint came under the newest lease
    parent: str = ""  # who has submitted it; may be over
    depth: int = 0  # parents above it
    children: int = 0  # open ones

    def advance(self, event: InvocationEvent) -> None:
        """Move along the lifecycle table."""
        try:
            self.state = _ROWS[self.state, event]
        except KeyError:
            self.state = INVOCATION.advance(self.state, event)  # raises, and says what

    @property
    def is_over(self) -> bool:
        """Whether the invocation has ended, though a slot may still be in use for it."""
        return self.state in INVOCATION.final

    @property
    def work(self) -> FunctionEntry:
        """What is asked for: what holds for all invocations of its function."""
        return self.lane.function

    @property
    def fence(self) -> int:
        """The token of the lease that is valid now; 0 while there is none."""
        return 0 if self.lease is None else self.lease.fence

    @property
    def pilot_id(self) -> str | None:
        """Who holds it."""
        return None if self.lease is None else self.lease.pilot_id


class WorkShape(msgspec.Struct, frozen=True):
    """What invocations must have in common so that any pilot that suits one suits all."""

    resources: Resources
    python: str
    needs_s: float  # time that a pilot must have left; 0 where checkpoints make it no matter, or nothing is known
    is_alone: bool = False  # it runs beside nothing else: pilots that ran it were lost


class Waiting:
    """The groups that wait for pilots of one shape."""

    __slots__ = ("groups", "passed_at", "shape")

    def __init__(self, shape: WorkShape) -> None:
        self.shape = shape
        self.groups: Ranking[Group] = Ranking()
        self.passed_at: float | None = None  # since when a pilot that could hold it was too busy


class Owner:
    """A user, with a share of the slots."""

    __slots__ = ("clock", "groups", "leases", "limit", "name", "share")

    def __init__(self, name: str, weight: float, limit: int | None) -> None:
        self.name, self.limit = name, limit
        self.share = Share(weight)
        self.clock = Clock()  # of the contest among its lanes
        self.leases = 0
        self.groups: dict[WorkShape, Group] = {}

    @property
    def is_full(self) -> bool:
        """Whether it has as many leases as it may."""
        return self.limit is not None and self.leases >= self.limit


class Group:
    """The lanes of one owner that wait for one shape."""

    __slots__ = ("lanes", "owner", "share", "top", "waiting")

    def __init__(self, owner: Owner, waiting: Waiting) -> None:
        self.owner, self.waiting = owner, waiting
        self.share, self.top = owner.share, 0  # owners go by their shares: priorities are their own affair
        self.lanes: Ranking[Lane] = Ranking()


class FunctionEntry:
    """A function version that somebody has invoked: what holds for all its invocations."""

    __slots__ = (
        "checkpoints",
        "cost_factor",
        "duration",
        "function_id",
        "lanes",
        "leases",
        "max_retries",
        "max_running",
        "nests",
        "python",
        "quiet_since",
        "resources",
        "shape",
        "walltime_s",
    )

    def __init__(self, work: Work, duration: Duration) -> None:
        """Any invocation of the version tells what is needed; `duration` is what has been learned of it."""
        self.function_id = work.function_id
        self.resources, self.python = work.resources, work.python
        self.walltime_s, self.checkpoints = work.walltime_s, work.checkpoints
        self.max_retries, self.max_running = work.max_retries, work.max_running
        self.cost_factor = work.resources.cpus + GPU_CPUS * work.resources.gpus  # slot-seconds a second
        self.duration = duration
        self.quiet_since = work.accepted_at  # when one of its runs ended last
        self.leases = 0
        self.nests = False  # its runs submit others
        self.lanes: list[Lane] = []
        self.shape = WorkShape(self.resources, self.python, self.needs_s)

    @property
    def learns_needs(self) -> bool:
        """Whether the time it needs is known from its runs only."""
        return self.walltime_s is None and not self.checkpoints

    @property
    def needs_s(self) -> float:
        """The time that a pilot should have left for a run of it."""
        if self.checkpoints:
            return 0.0
        return self.duration.needs_s if self.walltime_s is None else self.walltime_s

    @property
    def is_full(self) -> bool:
        """Whether as many activations of it run as may."""
        return self.max_running is not None and self.leases >= self.max_running


class Lane:
    """What one owner has open of one function: FIFO by priority. What must run alone has a lane of its own."""

    __slots__ = ("deques", "function", "group", "is_alone", "is_listed", "open", "over", "owner", "share", "top",
                 "waiting")  # fmt: skip

    def __init__(self, owner: Owner, function: FunctionEntry, *, is_alone: bool = False) -> None:
        self.owner, self.function = owner, function
        self.is_alone = is_alone
        self.share = Share()
        self.group: Group | None = None  # that it is listed in
        self.is_listed = False
        self.open = 0  # invocations that are not over
        self.waiting = 0
        self.over = 0  # invocations that stand in the deques and wait no longer
        self.deques: dict[int, deque[Entry]] = {}
        self.top = 0  # the highest priority that waits

    @property
    def shape(self) -> WorkShape:
        """What its invocations need of a pilot."""
        shape = self.function.shape
        return msgspec.structs.replace(shape, is_alone=True) if self.is_alone else shape

    def put(self, entry: Entry, at_head: bool = False) -> bool:
        """Let an invocation wait; return whether it has a higher priority than all that waited."""
        priority = entry.priority
        queue = self.deques.get(priority)
        if queue is None:
            queue = self.deques[priority] = deque()
        if at_head:
            queue.appendleft(entry)
        else:
            queue.append(entry)
        is_higher = self.waiting == 0 or priority > self.top
        if is_higher:
            self.top = priority
        self.waiting += 1
        return is_higher

    def take(self) -> Entry:
        """Return the next invocation, which waits no longer. There must be one."""
        queue = self.deques[self.top]
        entry = queue.popleft()  # the head is never one that is over, see `_prune`
        self.waiting -= 1
        if not queue or queue[0].state is not InvocationState.ACCEPTED:
            self._prune()
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Note that an invocation was over before its turn; it stays where it is until it comes up."""
        self.waiting -= 1
        self.over += 1
        self._prune()
        if self.over > SLACK and self.over > self.waiting:
            self._sift()  # the head may wait for days, with a million behind it that have expired

    def remove(self, entry: Entry) -> None:
        """Take out one that still waits, from wherever it stands. Slow; for adoptions after a restart."""
        self.deques[entry.priority].remove(entry)
        self.waiting -= 1
        self._prune()

    def _prune(self) -> None:
        """See to it that the head of the highest priority waits."""
        if not self.waiting:
            self.deques.clear()
            self.over = 0
            return
        queue = self.deques[self.top]
        while True:
            while queue:
                if queue[0].state is InvocationState.ACCEPTED:
                    return
                queue.popleft()
                self.over -= 1
            del self.deques[self.top]
            self.top = max(self.deques)
            queue = self.deques[self.top]

    def _sift(self) -> None:
        """Drop what waits no longer from wherever it stands."""
        left = {
            priority: deque(entry for entry in queue if entry.state is InvocationState.ACCEPTED)
            for priority, queue in self.deques.items()
        }
        self.deques = {priority: queue for priority, queue in left.items() if queue}
        self.over = 0
