"""How soon a prime batch job has a node that a pilot was on: real pilots, and a fake scheduler with measured delays.

`harvester up` runs as its users start it. The fake's mom starts its pilots as sessions of their own, sends them SIGTERM
and waits until the session is empty; what PBS takes beyond that is in `support.fake_cluster.model.rules`.
"""

import time

import pytest
from support.fake_cluster.kinds import PBS, SLURM
from support.fake_cluster.model import rules
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.mom import Mom
from support.fake_cluster.model.records import Amount, Manners, Wish
from support.fake_cluster.model.rules import Eviction
from support.fake_cluster.server import FakeServer
from support.fake_cluster.site import QUEUES, nodes
from support.running import Running

import harvester

PILOT_GONE_S = 1.0  # from SIGTERM until its session is empty
PRIME_RUNS_S = 3.0  # from the submission of a prime batch job until it has started
WAYS = [(PBS, Eviction.CANCEL), (PBS, Eviction.REQUEUE), (SLURM, Eviction.CANCEL)]
ROUNDS = 3

pytestmark = pytest.mark.timeout(240)


@harvester.function(ship_module=True, checkpoints=True)
def counts(steps):
    """Take a tenth of a second a step, and save each."""
    import time

    import harvester

    ctx = harvester.context()
    done = ctx.restore(0)
    while done < steps:
        time.sleep(0.1)
        done += 1
        ctx.checkpoint(done)
    return done


class LiveCluster:
    """A fake cluster in this machine's time, with real processes."""

    def __init__(self, kind, eviction, folder):
        self.folder = folder
        variables = {"pbs": self._pbs, "slurm": self._slurm}[kind.name]
        self.mom = Mom(variables)
        self.cluster = FakeCluster(
            nodes(2), QUEUES, rules.with_eviction(kind.rules, eviction), mom=self.mom, now=time.time()
        )
        self.server = FakeServer(self.cluster, kind.flavour, folder / "bin", is_real_time=True)
        self.server.start()

    def _pbs(self, batch):
        path = self.folder / f"nodefile.{batch.number}"
        path.write_text(f"{batch.nodes[0]}\n")
        return {"PBS_JOBID": f"{batch.number}.vm", "PBS_NODEFILE": str(path), "NCPUS": "4"}

    def _slurm(self, batch):
        end = {"SLURM_JOB_END_TIME": str(int(batch.end_at))}
        return {"SLURM_JOB_ID": str(batch.number), "SLURMD_NODENAME": batch.nodes[0], **end}

    def submit_prime(self):
        """A prime batch job on one node, for a few seconds."""
        wish = Wish(queue="prime", name="prime", each=Amount(4), limit_s=600.0)
        with self.server.lock:
            return self.cluster.submit(wish, Manners(lasts_s=3.0))

    def close(self):
        self.server.stop()
        self.mom.close()


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0].name}-{way[1].value}")
def live(request, tmp_path, monkeypatch):
    kind, eviction = request.param
    made = LiveCluster(kind, eviction, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    made.kind = kind
    yield made
    made.close()


@pytest.fixture
def running(live, tmp_path):
    options = ("--scheduler", live.kind.name, "--port", "0", "--ready", "2", "--set", "harvest.look_s=4")
    running = Running(tmp_path / "state", *options, "--set", "harvest.commands_per_min=60")
    running.start()
    yield running
    running.stop()
    running.kill_pilots()


def ready(client):
    pilots = [pilot for pilot in client.pilots() if pilot["state"] == "ready"]
    return pilots if len(pilots) == 2 else None


def test_a_prime_batch_job_has_its_node_in_seconds_and_the_function_ends_right(live, running):
    with running.client() as client:
        seen, gone_s, runs_s = [], [], []
        work = [client.submit(counts, 60) for _ in range(2)]
        for _ in range(ROUNDS):
            running.wait_for(lambda: ready(client), "both pilots", 60)
            prime = live.submit_prime()
            running.wait_for(lambda job=prime: job.started_at, "the prime batch job", 60)
            (victim,) = [session for session in live.mom.told if session not in seen]
            seen.append(victim)
            gone_s.append(victim.empty_at - victim.told_at)
            runs_s.append(prime.started_at - prime.submitted_at)
            running.wait_for(lambda job=prime: job.has_ended, "the end of the prime batch job", 60)
        # The best tells what the harvester takes, the worst what else this machine does.
        assert min(gone_s) <= PILOT_GONE_S
        assert min(runs_s) <= PRIME_RUNS_S
        assert max(runs_s) <= 3 * PRIME_RUNS_S
        assert [future.result(timeout=60) for future in work] == [60, 60]
