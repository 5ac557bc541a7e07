"""The embedded `local` scheduler: pilots are processes of this machine on nodes that do not exist.

Owns the thread that drives the emulation: it reads requests, looks at processes, lets `rules` decide, saves the
state and performs the effects. Needs no scheduler, no root and no network. Pilots outlive it: a new `LocalAdapter` over
the same folder takes them up again.
"""

from __future__ import annotations

import importlib.util
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from harvester.domain.cluster.ports import PilotOrder, SchedulerError, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.model.resources import Resources
from harvester_adapters.local.files import ClusterFolder, new_prime_id, user
from harvester_adapters.local.processes import Processes
from harvester_adapters.local.rules import handle
from harvester_adapters.local.state import (
    BatchKind,
    CancelRequest,
    Cluster,
    Effect,
    EmulatedNode,
    ForgetBatchJob,
    Hold,
    KillNow,
    KillProcesses,
    PilotRequest,
    StartProcesses,
    Stimulus,
    SubmitPrime,
    TakeUp,
    Terminate,
    Tick,
    Vanished,
)
from harvester_adapters.local.view import snapshot

log = logging.getLogger(__name__)


class LocalAdapter:
    """A `SchedulerAdapter` over an emulated cluster.

    Parameters
    ----------
    state_dir: where its state is kept; one running adapter a folder.
    nodes: how many nodes, called n1, n2 …
    node_resources: what each of them has.
    grace: from SIGTERM to SIGKILL when a prime batch job needs the node.
    tick: how often it looks at requests, processes and limits.
    kill_wait: from SIGTERM to SIGKILL at a cancel and at the walltime.
    keep_ended: how long an ended batch job stays in snapshots.

    Raises `SchedulerError` where another adapter runs over `state_dir`, or pilots run there on nodes of another shape,
    or PSI/J is not installed.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        nodes: int,
        node_resources: Resources,
        grace: timedelta = timedelta(seconds=60),
        tick: timedelta = timedelta(milliseconds=100),
        kill_wait: timedelta = timedelta(seconds=30),
        keep_ended: timedelta = timedelta(seconds=300),
    ) -> None:
        if nodes < 1:
            raise SchedulerError(f"the local scheduler cannot have {nodes} nodes: give it at least 1")
        if importlib.util.find_spec("psij") is None:
            raise SchedulerError("the local scheduler starts pilots through PSI/J: install hpc-harvester[daemon]")
        self._tick = tick
        self._folder = ClusterFolder(state_dir)
        self._folder.open()
        try:
            self._processes = Processes(self._folder.path / "steps")
            self._cluster = self._take_up(
                Cluster(
                    nodes=tuple(EmulatedNode(name=f"n{i}", total=node_resources) for i in range(1, nodes + 1)),
                    grace=grace,
                    kill_wait=kill_wait,
                    keep_ended=keep_ended,
                )
            )
        except BaseException:
            self._folder.close()
            raise
        self._user = user()
        self._lock = threading.Lock()
        self._effects: deque[Effect] = deque()
        self._wake = threading.Event()
        self._is_closed = False
        self._handle(TakeUp())
        self._thread = threading.Thread(target=self._run, name="local-scheduler", daemon=True)
        self._thread.start()

    # ---- the port --------------------------------------------------------------------------------------------------

    @property
    def commands(self) -> int:
        """None: the cluster is emulated in this process."""
        return 0

    def snapshot(self) -> ClusterSnapshot:
        """Look at the emulated cluster."""
        return snapshot(self._cluster, self._user, time.time())

    def glance(self) -> tuple[BatchJob, ...]:
        """Return everybody's batch jobs that have not ended."""
        return tuple(batch for batch in self.snapshot().batch_jobs if not batch.state.is_ended)

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what became of batch jobs, while they are remembered."""
        return tuple(batch for batch in self.snapshot().batch_jobs if batch.batch_job_id in batch_job_ids)

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id, which is on disk by then. Raises `SubmissionRejected`."""
        with self._lock:
            self._refuse_if_closed()
            batch_job_id = str(self._cluster.next_id)
            self._handle_locked(PilotRequest(order=order))
        self._wake.set()
        return batch_job_id

    def cancel(self, *batch_job_ids: str) -> None:
        """End batch jobs: SIGTERM, and SIGKILL after `kill_wait`; those that are over or unknown are no error."""
        self._tell(CancelRequest(batch_job_id=batch_job_id) for batch_job_id in batch_job_ids)

    def hold(self, *batch_job_ids: str) -> None:
        """Keep pending batch jobs from being started; others stay as they are."""
        self._tell(Hold(batch_job_id=batch_job_id, is_held=True) for batch_job_id in batch_job_ids)

    def release(self, *batch_job_ids: str) -> None:
        """Let held batch jobs be started again."""
        self._tell(Hold(batch_job_id=batch_job_id, is_held=False) for batch_job_id in batch_job_ids)

    def close(self) -> None:
        """Stop emulating. Pilots run on, and a new adapter over the same folder takes them up."""
        with self._lock:
            self._is_closed = True
        self._wake.set()
        self._thread.join()
        self._folder.close()

    # ---- beyond the port -------------------------------------------------------------------------------------------

    def submit_prime(self, nodes: int, duration: timedelta, name: str = "prime") -> str:
        """Submit somebody else's batch job, which holds `nodes` whole nodes for `duration`, and return its id.

        Raises `SubmissionRejected` where it can never run.
        """
        request = SubmitPrime(batch_job_id=new_prime_id(), name=name, nodes=nodes, duration=duration)
        self._tell([request])
        return request.batch_job_id

    def shutdown(self, patience: timedelta = timedelta(seconds=5)) -> None:
        """End all batch jobs, the pilots by SIGTERM and after `patience` by SIGKILL, then `close`."""
        if self._is_closed:
            return
        for batch_job_id, job in self._cluster.batch_jobs.items():
            if not job.state.is_ended:
                self._handle(CancelRequest(batch_job_id=batch_job_id))
        self._wake.set()
        if not self._wait_for_end(patience):
            self._handle(KillNow())
            self._wake.set()
            if not self._wait_for_end(timedelta(seconds=5)):
                left = ", ".join(job.name for job in self._cluster.live(BatchKind.PILOT))
                log.warning("local.shutdown: these pilots did not end after SIGKILL: %s", left)
        self.close()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _take_up(self, fresh: Cluster) -> Cluster:
        """Return the saved state with this adapter's settings."""
        saved = self._folder.load()
        if saved is None:
            cluster = fresh
        else:
            running = list(saved.live(BatchKind.PILOT))
            if running and saved.nodes != fresh.nodes:
                raise SchedulerError(
                    f"{self._folder.path} holds {len(running)} running pilots on {saved.shape}, but was now opened "
                    f"with {fresh.shape}: open it as before, or end those pilots first"
                )
            kept = {
                batch_job_id: job
                for batch_job_id, job in saved.batch_jobs.items()
                if job.state.is_ended or saved.nodes == fresh.nodes
            }
            cluster = replace(fresh, next_id=saved.next_id, batch_jobs=kept)
        self._folder.save(cluster)
        self._processes.forget_all_but(set(cluster.batch_jobs))
        return cluster

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise SchedulerUnavailable(f"the local scheduler over {self._folder.path} was closed")

    def _tell(self, stimuli: Iterable[Stimulus]) -> None:
        with self._lock:
            self._refuse_if_closed()
            for stimulus in stimuli:
                self._handle_locked(stimulus)
        self._wake.set()

    def _wait_for_end(self, patience: timedelta) -> bool:
        deadline = time.monotonic() + patience.total_seconds()
        while any(self._cluster.live(BatchKind.PILOT)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _handle(self, stimulus: Stimulus) -> None:
        with self._lock:
            self._handle_locked(stimulus)

    def _handle_locked(self, stimulus: Stimulus) -> None:
        """Decide, save, and leave the effects to the thread: what is on disk comes before what is done."""
        cluster, effects = handle(self._cluster, stimulus, time.time())
        if cluster is not self._cluster:
            self._folder.save(cluster)
            self._cluster = cluster
        self._effects.extend(effects)

    def _run(self) -> None:
        self._processes.warm_up()
        while not self._is_closed:
            try:
                self._turn()
            except Exception:  # outermost loop: an emulated cluster that stands still helps nobody
                log.exception("local.turn: failed; it is tried again")
            self._wake.wait(self._tick.total_seconds())
            self._wake.clear()

    def _turn(self) -> None:
        self._read_requests()
        self._perform_all()  # before the look: a pilot whose start is still owed must not be missed
        for job in list(self._cluster.live(BatchKind.PILOT)):
            end = self._processes.look(job, time.time())
            if end is not None:
                self._handle(end)
        self._handle(Tick())
        self._perform_all()

    def _perform_all(self) -> None:
        for _ in range(len(self._effects)):
            effect = self._effects.popleft()
            if not self._perform(effect):
                self._effects.append(effect)

    def _read_requests(self) -> None:
        for path, request in self._folder.requests():
            try:
                if request is None:
                    raise SubmissionRejected(f"{path} is not a request for a prime batch job")  # noqa: TRY301 - one answer for both
                self._handle(request)
            except SubmissionRejected as error:
                log.warning("local.request refused: %s", error)
            path.unlink()

    def _perform(self, effect: Effect) -> bool:
        """Perform an effect; False where it has to be tried again."""
        match effect:
            case StartProcesses():
                self._start(effect)
                return True
            case Terminate() | KillProcesses():
                job = self._cluster.batch_jobs.get(effect.batch_job_id)
                number = signal.SIGKILL if isinstance(effect, KillProcesses) else signal.SIGTERM
                return job is None or not job.is_live or self._processes.send(effect.batch_job_id, number)
            case ForgetBatchJob():
                self._processes.forget(effect.batch_job_id)
                return True

    def _start(self, effect: StartProcesses) -> None:
        job = self._cluster.batch_jobs.get(effect.batch_job.batch_job_id)
        if job is None or not job.is_live:
            return
        gpus = next(node.total.gpus for node in self._cluster.nodes if node.name in job.nodes)
        kill_at = (job.end_at or 0.0) + self._cluster.kill_wait.total_seconds() + 5.0
        try:
            self._processes.start(job, gpus, kill_at)
        except Exception as error:  # noqa: BLE001 - psij wraps whatever Popen raises in an Exception of its own
            log.warning("local.start of %s failed: %s", job.name, error)
            self._handle(Vanished(batch_job_id=job.batch_job_id, reason=f"its process could not be started: {error}"))
