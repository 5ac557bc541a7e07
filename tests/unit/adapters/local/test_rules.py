"""The rules of the embedded local scheduler, without a process or a clock."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.examples import examples

from harvester.domain.cluster.ports import PilotOrder, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.local.rules import free_on, handle
from harvester_adapters.local.state import (
    BatchKind,
    CancelRequest,
    Cluster,
    EmulatedNode,
    Exited,
    ForgetBatchJob,
    KillNow,
    KillProcesses,
    PilotRequest,
    StartProcesses,
    SubmitPrime,
    TakeUp,
    Terminate,
    Tick,
    Vanished,
)
from harvester_adapters.local.view import snapshot

GRACE, KILL_WAIT, KEEP = 10.0, 30.0, 300.0


def order(
    name="p", *, cpus=1, gpus=0, memory_mb=0, walltime=3600.0, nice=0, partition="harvest", resources=None
) -> PilotOrder:
    return PilotOrder(
        pilot_id=name,
        name=name,
        partition=partition,
        resources=resources or Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb),
        walltime=timedelta(seconds=walltime),
        command=("true",),
        output=Path("/tmp/out"),
        nice=nice,
    )


def cluster(nodes=2, cpus=2, gpus=0, grace=GRACE) -> Cluster:
    return Cluster(
        nodes=tuple(EmulatedNode(name=f"n{i + 1}", total=Resources(cpus=cpus, gpus=gpus)) for i in range(nodes)),
        grace=timedelta(seconds=grace),
    )


class Driver:
    """Hands stimuli to the rules one after the other."""

    def __init__(self, state: Cluster) -> None:
        self.state = state
        self.primes = 0

    def tell(self, stimulus, now=0.0):
        self.state, effects = handle(self.state, stimulus, now)
        return effects

    def pilot(self, now=0.0, **kwargs) -> str:
        batch_job_id = str(self.state.next_id)
        self.tell(PilotRequest(order=order(**kwargs)), now)
        return batch_job_id

    def prime(self, nodes=1, duration=100.0, now=0.0) -> str:
        self.primes += 1
        self.tell(self.request(f"prime-{self.primes}", nodes, duration), now)
        return f"prime-{self.primes}"

    @staticmethod
    def request(batch_job_id, nodes, duration):
        return SubmitPrime(batch_job_id=batch_job_id, name="prime", nodes=nodes, duration=timedelta(seconds=duration))

    def __getitem__(self, batch_job_id):
        return self.state.batch_jobs[batch_job_id]


def test_a_pilot_starts_at_once_where_it_fits():
    driver = Driver(cluster())
    [start] = driver.tell(PilotRequest(order=order(cpus=2)), 5.0)
    assert isinstance(start, StartProcesses)
    assert start.batch_job.nodes == ("n1",)
    assert start.batch_job.end_at == 5.0 + 3600.0
    assert driver["1"].state is BatchState.RUNNING


def test_several_pilots_share_a_node_and_have_gpus_of_their_own():
    driver = Driver(cluster(nodes=1, cpus=4, gpus=3))
    first, second = driver.pilot(gpus=2), driver.pilot(gpus=1)
    assert driver[first].nodes == driver[second].nodes == ("n1",)
    assert sorted(driver[first].gpu_ids + driver[second].gpu_ids) == [0, 1, 2]
    third = driver.pilot(gpus=1)
    assert driver[third].state is BatchState.PENDING
    driver.tell(Exited(batch_job_id=first, exit_code=0), 1.0)
    assert driver[third].gpu_ids == (0,)


def test_waiting_pilots_start_by_nice_and_then_in_their_order():
    driver = Driver(cluster(nodes=1, cpus=1))
    running = driver.pilot()
    late, nice, early = driver.pilot(nice=1), driver.pilot(nice=5), driver.pilot(nice=1)
    for ended, started in pairwise((running, late, early, nice)):
        driver.tell(Exited(batch_job_id=ended, exit_code=0), 1.0)
        assert driver[started].state is BatchState.RUNNING


def test_a_pilot_runs_only_where_it_may_and_not_after_it_could_end_in_time():
    state, _ = handle(cluster(), PilotRequest(order=msgspec.structs.replace(order(), exclude=("n1",))), 0.0)
    state, _ = handle(state, PilotRequest(order=msgspec.structs.replace(order("b"), node="n1")), 0.0)
    assert [job.nodes for job in state.batch_jobs.values()] == [("n2",), ("n1",)]
    late = msgspec.structs.replace(order("c", cpus=2, walltime=100.0), end_by=150.0)
    state, _ = handle(state, PilotRequest(order=late), 0.0)
    state, _ = handle(state, Tick(), 60.0)
    assert (state.batch_jobs["3"].state, state.batch_jobs["3"].reason) == (BatchState.CANCELLED, "DeadLine")


def test_a_pilot_that_no_node_can_hold_is_refused_with_the_largest_node():
    state = Cluster(
        nodes=(
            EmulatedNode(name="small", total=Resources(cpus=2)),
            EmulatedNode(name="big", total=Resources(cpus=4, memory_mb=1000)),
        ),
        grace=timedelta(0),
    )
    with pytest.raises(SubmissionRejected, match=r"asks for 5 CPUs.* big, has 4 CPUs, 1000 MB"):
        handle(state, PilotRequest(order=order(cpus=5)), 0.0)


def test_a_pilot_for_another_partition_is_refused():
    with pytest.raises(SubmissionRejected, match="'harvest' only, not in 'gpu'"):
        handle(cluster(), PilotRequest(order=order(partition="gpu")), 0.0)


@pytest.mark.parametrize("nodes", [0, 3])
def test_a_prime_batch_job_that_can_never_run_is_refused(nodes):
    with pytest.raises(SubmissionRejected, match="the local cluster has 2"):
        handle(cluster(nodes=2), Driver.request("p", nodes, 10.0), 0.0)


def test_a_prime_batch_job_takes_idle_nodes_first():
    driver = Driver(cluster(nodes=2))
    pilot = driver.pilot()
    prime = driver.prime(nodes=1)
    assert driver[prime].state is BatchState.RUNNING
    assert driver[prime].nodes == ("n2",)
    assert driver[pilot].leaving is None


def test_a_prime_batch_job_evicts_the_fewest_and_then_the_youngest_pilots():
    driver = Driver(cluster(nodes=3, cpus=2))
    old = driver.pilot(cpus=2, now=0.0)
    young = driver.pilot(cpus=2, now=50.0)
    pair = driver.pilot(now=60.0), driver.pilot(now=60.0)
    driver.prime(nodes=1, now=70.0)
    assert driver[young].leaving is BatchState.PREEMPTED
    assert all(driver[pilot].leaving is None for pilot in (old, *pair))


def test_an_evicted_pilot_is_told_at_once_killed_after_the_grace_time_and_counts_as_preempted():
    driver = Driver(cluster(nodes=1))
    pilot = driver.pilot()
    effects = driver.tell(driver.request("prime", 1, 100.0), 5.0)
    assert effects == [Terminate(batch_job_id=pilot)]
    seen = {job.batch_job_id: job for job in snapshot(driver.state, "me", 5.0).batch_jobs}
    assert seen[pilot].state is BatchState.RUNNING  # as Slurm shows it
    assert seen[pilot].preempt_at == 5.0
    assert driver.tell(Tick(), 5.0 + GRACE - 0.1) == []
    assert driver.tell(Tick(), 5.0 + GRACE) == [KillProcesses(batch_job_id=pilot)]
    assert driver.tell(Tick(), 5.0 + GRACE + 1) == []
    assert driver["prime"].state is BatchState.PENDING
    driver.tell(Exited(batch_job_id=pilot, exit_code=-9), 16.5)
    assert driver[pilot].state is BatchState.PREEMPTED
    assert driver["prime"].state is BatchState.RUNNING
    assert driver["prime"].started_at == 16.5


def test_a_node_that_a_prime_batch_job_waits_for_takes_no_new_pilot():
    driver = Driver(cluster(nodes=2, cpus=2))
    leaving = driver.pilot(cpus=1)
    prime = driver.prime(nodes=2)
    late = driver.pilot()
    assert driver[late].state is BatchState.PENDING
    assert [node.free.cpus for node in snapshot(driver.state, "me", 0.0).nodes] == [0, 0]
    assert snapshot(driver.state, "me", 0.0).nodes[1].state is NodeState.RESERVED
    driver.tell(CancelRequest(batch_job_id=prime), 1.0)
    assert driver[prime].nodes == ()
    assert driver[late].state is BatchState.RUNNING
    assert driver[leaving].leaving is BatchState.PREEMPTED  # Slurm takes no TERM back


def test_prime_batch_jobs_wait_for_each_other_in_order_and_their_start_is_foretold():
    driver = Driver(cluster(nodes=2))
    first, second, third = driver.prime(2, 100.0), driver.prime(2, 50.0), driver.prime(1, 10.0)
    seen = {job.batch_job_id: job for job in snapshot(driver.state, "me", 0.0).batch_jobs}
    assert [seen[job].start_at for job in (first, second, third)] == [0.0, 100.0, 150.0]
    assert seen[second].nodes == ("n1", "n2")
    driver.tell(Tick(), 100.0)
    assert [driver[job].state for job in (first, second, third)] == [
        BatchState.COMPLETED,
        BatchState.RUNNING,
        BatchState.PENDING,
    ]


def test_a_small_prime_batch_job_does_not_overtake_a_large_one():
    driver = Driver(cluster(nodes=2))
    driver.prime(nodes=1, duration=100.0)
    large, small = driver.prime(nodes=2), driver.prime(nodes=1)
    assert driver[large].state is driver[small].state is BatchState.PENDING
    driver.tell(Tick(), 100.0)
    assert driver[large].state is BatchState.RUNNING


def test_the_walltime_ends_in_timeout_with_a_kill_after_the_wait():
    driver = Driver(cluster())
    pilot = driver.pilot(walltime=60.0)
    assert driver.tell(Tick(), 59.9) == []
    assert driver.tell(Tick(), 60.0) == [Terminate(batch_job_id=pilot)]
    assert driver[pilot].state is BatchState.COMPLETING
    assert driver.tell(Tick(), 90.0) == [KillProcesses(batch_job_id=pilot)]
    driver.tell(Exited(batch_job_id=pilot, exit_code=-9), 90.1)
    assert driver[pilot].state is BatchState.TIMEOUT


@pytest.mark.parametrize(("code", "end"), [(0, BatchState.COMPLETED), (3, BatchState.FAILED), (-9, BatchState.FAILED)])
def test_a_pilot_that_ends_by_itself_is_judged_by_its_exit_code(code, end):
    driver = Driver(cluster())
    pilot = driver.pilot()
    driver.tell(Exited(batch_job_id=pilot, exit_code=code), 1.0)
    assert driver[pilot].state is end
    assert driver[pilot].exit_code == code


def test_a_cancelled_pilot_is_told_killed_after_the_wait_and_counts_as_cancelled():
    driver = Driver(cluster(nodes=1, cpus=1))
    pilot, waiting = driver.pilot(), driver.pilot()
    assert driver.tell(CancelRequest(batch_job_id=waiting), 1.0) == []
    assert driver[waiting].state is BatchState.CANCELLED
    assert driver.tell(CancelRequest(batch_job_id=pilot), 1.0) == [Terminate(batch_job_id=pilot)]
    assert driver.tell(CancelRequest(batch_job_id=pilot), 2.0) == []
    assert driver.tell(Tick(), 31.0) == [KillProcesses(batch_job_id=pilot)]
    driver.tell(Exited(batch_job_id=pilot, exit_code=0), 31.0)
    assert driver[pilot].state is BatchState.CANCELLED
    assert driver.tell(CancelRequest(batch_job_id=pilot), 32.0) == []
    assert driver.tell(CancelRequest(batch_job_id="never heard of"), 32.0) == []


def test_a_prime_batch_job_does_not_wait_longer_for_a_pilot_that_is_being_cancelled():
    driver = Driver(cluster(nodes=1))
    pilot = driver.pilot()
    driver.tell(CancelRequest(batch_job_id=pilot), 0.0)
    driver.prime(now=1.0)
    assert driver.tell(Tick(), 1.0 + GRACE) == [KillProcesses(batch_job_id=pilot)]


def test_a_pilot_that_vanished_is_a_node_failure_unless_it_had_to_leave():
    driver = Driver(cluster(nodes=1, cpus=2))
    gone, evicted = driver.pilot(), driver.pilot()
    driver.tell(Vanished(batch_job_id=gone, reason="gone"), 1.0)
    driver.prime(now=2.0)
    driver.tell(Vanished(batch_job_id=evicted, reason="gone"), 3.0)
    assert driver[gone].state is BatchState.NODE_FAIL
    assert driver[evicted].state is BatchState.PREEMPTED


def test_an_ended_batch_job_stays_visible_for_a_while():
    driver = Driver(cluster())
    pilot = driver.pilot()
    driver.tell(Exited(batch_job_id=pilot, exit_code=0), 10.0)
    driver.tell(Tick(), 309.9)
    assert pilot in driver.state.batch_jobs
    assert driver.tell(Tick(), 310.0) == [ForgetBatchJob(batch_job_id=pilot)]
    assert pilot not in driver.state.batch_jobs


def test_after_a_restart_every_leaving_pilot_is_told_again():
    driver = Driver(cluster(nodes=2))
    leaving, _ = driver.pilot(cpus=2), driver.pilot(cpus=2)
    driver.tell(CancelRequest(batch_job_id=leaving))
    saved = msgspec.json.decode(msgspec.json.encode(driver.state), type=Cluster)
    assert saved == driver.state
    assert handle(saved, TakeUp(), 1.0)[1] == [Terminate(batch_job_id=leaving)]


def test_kill_now_spares_no_pilot():
    driver = Driver(cluster(nodes=2))
    pilots = [driver.pilot(), driver.pilot()]
    assert driver.tell(KillNow(), 1.0) == [KillProcesses(batch_job_id=pilot) for pilot in pilots]


def test_a_request_that_is_read_twice_counts_once():
    driver = Driver(cluster())
    driver.tell(driver.request("p", 1, 100.0))
    state = driver.state
    driver.tell(driver.request("p", 1, 100.0), 1.0)
    assert driver.state is state


sizes = st.builds(
    Resources,
    cpus=st.integers(1, 4),
    gpus=st.integers(0, 3),
    memory_mb=st.sampled_from([0, 50]),
)


class LocalClusterMachine(RuleBasedStateMachine):
    """Any history of submissions, cancels, ends and passing time; a process that is killed is gone at the next tick."""

    @initialize(sizes=st.lists(sizes, min_size=1, max_size=4), grace=st.sampled_from([0.0, 5.0, 60.0]))
    def start(self, sizes, grace):
        self.now = 1000.0
        self.grace = grace
        self.state = Cluster(
            nodes=tuple(EmulatedNode(name=f"n{i}", total=size) for i, size in enumerate(sizes)),
            grace=timedelta(seconds=grace),
        )
        self.processes: set[str] = set()
        self.killed: set[str] = set()
        self.known: set[str] = set()
        self.started: set[str] = set()
        self.forgotten: set[str] = set()
        self.could_start: dict[str, float] = {}

    def tell(self, stimulus):
        before = self.state
        self.state, effects = handle(self.state, stimulus, self.now)
        for effect in effects:
            match effect:
                case StartProcesses(batch_job=job):
                    assert job.batch_job_id not in self.started, "started twice"
                    self.started.add(job.batch_job_id)
                    self.processes.add(job.batch_job_id)
                case KillProcesses(batch_job_id=job_id):
                    assert job_id in self.processes
                    assert job_id not in self.killed, "killed twice"
                    self.killed.add(job_id)
                case Terminate(batch_job_id=job_id):
                    assert job_id in self.processes
                case ForgetBatchJob(batch_job_id=job_id):
                    self.forgotten.add(job_id)
        for job_id, old in before.batch_jobs.items():
            new = self.state.batch_jobs.get(job_id)
            if old.state.is_ended and new is not None:
                assert new == old, "an end is for good"

    @rule(size=sizes, walltime=st.sampled_from([1.0, 30.0, 600.0]), nice=st.integers(-2, 2))
    def submit_pilot(self, size, walltime, nice):
        batch_job_id = str(self.state.next_id)
        fits = any(size.fits(node.total) for node in self.state.nodes)
        try:
            self.tell(PilotRequest(order=order(resources=size, walltime=walltime, nice=nice)))
        except SubmissionRejected:
            assert not fits
        else:
            assert fits
            self.known.add(batch_job_id)

    @rule(share=st.integers(1, 4), duration=st.sampled_from([0.5, 20.0, 500.0]))
    def submit_prime(self, share, duration):
        batch_job_id = f"prime-{len(self.known)}"
        self.tell(Driver.request(batch_job_id, min(share, len(self.state.nodes)), duration))
        self.known.add(batch_job_id)

    @rule(data=st.data())
    @precondition(lambda self: self.processes)
    def exit(self, data):
        self._end(data.draw(st.sampled_from(sorted(self.processes))), data.draw(st.sampled_from([0, 1, -15])))

    @rule(data=st.data())
    @precondition(lambda self: self.processes)
    def vanish(self, data):
        job_id = data.draw(st.sampled_from(sorted(self.processes)))
        self.processes.discard(job_id)
        self.killed.discard(job_id)
        self.tell(Vanished(batch_job_id=job_id, reason="gone"))

    @rule(data=st.data())
    @precondition(lambda self: self.known)
    def cancel(self, data):
        self.tell(CancelRequest(batch_job_id=data.draw(st.sampled_from(sorted(self.known)))))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 400.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.tell(Tick())
        for job_id in sorted(self.killed & self.processes):
            self._end(job_id, -9)

    def _end(self, job_id, code):
        self.processes.discard(job_id)
        self.killed.discard(job_id)
        self.tell(Exited(batch_job_id=job_id, exit_code=code))

    @invariant()
    def nodes_are_never_over_allocated(self):
        for node in self.state.nodes:
            on_it = [job for job in self.state.live() if node.name in job.nodes]
            primes = [job for job in on_it if job.kind is BatchKind.PRIME]
            assert not primes or on_it == primes[:1], "a prime batch job has its nodes to itself"
            assert Resources(cpus=0).fits(free_on(node, self.state)), "more given than there is"
            gpus = [gpu for job in on_it for gpu in job.gpu_ids]
            assert len(gpus) == len(set(gpus)) <= node.total.gpus
            assert len(gpus) == sum(job.resources.gpus for job in on_it if job.kind is BatchKind.PILOT)

    @invariant()
    def no_batch_job_is_lost(self):
        assert self.known == set(self.state.batch_jobs) | self.forgotten
        assert {job.batch_job_id for job in self.state.live(BatchKind.PILOT)} == self.processes

    @invariant()
    def a_prime_batch_job_waits_for_pilots_no_longer_than_the_grace_time(self):
        """It has claimed its nodes as soon as no other prime batch job is before it, and every pilot there is told."""
        waiting = [
            job
            for job in self.state.batch_jobs.values()
            if job.kind is BatchKind.PRIME and job.state is BatchState.PENDING
        ]
        held = {name for job in self.state.live(BatchKind.PRIME) for name in job.nodes}
        held |= {name for job in waiting for name in job.nodes}
        for job in waiting:
            if not job.nodes:
                assert job.node_count > len(self.state.nodes) - len(held), "it could have claimed nodes"
                break
            since = self.could_start.setdefault(job.batch_job_id, self.now)
            pilots = [pilot for pilot in self.state.live(BatchKind.PILOT) if set(pilot.nodes) & set(job.nodes)]
            assert pilots, "nobody is in its way"
            for pilot in pilots:
                assert pilot.leaving is not None
                assert pilot.kill_at <= since + self.grace
                assert pilot.is_killed or self.now <= pilot.kill_at  # at the latest at the next tick

    @invariant()
    def a_snapshot_can_always_be_drawn(self):
        view = snapshot(self.state, "me", self.now)
        assert len(view.batch_jobs) == len(self.state.batch_jobs)
        for node in view.nodes:
            assert node.free.fits(node.total)


LocalClusterMachine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
test_any_history_keeps_the_promises = LocalClusterMachine.TestCase
