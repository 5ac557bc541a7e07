"""The Slurm adapter on a real Slurm: pilots in, a prime job takes the nodes back, and what the snapshots say."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.domain.cluster.ports import PilotOrder, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.adapter import SlurmAdapter

pytestmark = pytest.mark.slurm

# Writes its environment and every signal with its time, and leaves at the first SIGTERM.
PILOT = """
import json, os, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
def told(number, frame):
    log.write(f"{number} {time.time()}\\n")
    if number == signal.SIGTERM:
        sys.exit(0)
signal.signal(signal.SIGTERM, told)
log.write(json.dumps(dict(os.environ)) + "\\n")
while True:
    time.sleep(60)
"""


@pytest.fixture
def adapter(slurm, tmp_path):
    yield SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0))
    slurm.clear()


@pytest.fixture
def order(tmp_path):
    """Return a function that makes an order for a pilot as large as a node."""
    (tmp_path / "pilot.py").write_text(PILOT)

    def make(name: str, **changed) -> PilotOrder:
        fields = {
            "pilot_id": name,
            "name": f"harvester-{tmp_path.name}-{name}",
            "partition": "harvest",
            "resources": Resources(cpus=2, memory_mb=500),
            "walltime": timedelta(minutes=14),
            "command": (sys.executable, str(tmp_path / "pilot.py"), str(tmp_path / f"{name}.log")),
            "output": tmp_path / f"{name}.out",
        }
        return PilotOrder(**(fields | changed))

    return make


def wait_for(condition, seconds: float = 10):
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return value


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def job(adapter: SlurmAdapter, batch_job_id: str):
    """Return a batch job as the snapshot has it, or else as it ended."""
    seen = (job for job in adapter.snapshot().batch_jobs if job.batch_job_id == batch_job_id)
    return next(seen, None) or next(iter(adapter.ended([batch_job_id])), None)


def prime(slurm, name: str, *options: str) -> str:
    """Submit a prime job and return its id."""
    return slurm.run(
        "sbatch", "--parsable", f"--job-name={name}", "--partition=prime", "--output=/dev/null", "--wrap=sleep 600",
        *options,
    )  # fmt: skip


def test_idle_nodes_are_seen_with_what_they_have(slurm, adapter):
    snapshot = adapter.snapshot()
    assert tuple(node.name for node in snapshot.nodes) == slurm.nodes
    assert {node.state for node in snapshot.nodes} == {NodeState.IDLE}
    assert {node.free for node in snapshot.nodes} == {Resources(cpus=slurm.cpus, gpus=slurm.gpus, memory_mb=4000)}
    assert snapshot.partition("harvest").grace_time == timedelta(seconds=slurm.grace_s)
    assert not snapshot.partition("prime").is_preemptible


def test_pilots_hear_of_their_eviction_at_once_and_the_prime_job_starts(slurm, adapter, order, tmp_path):
    pilots = {name: adapter.submit(order(name)) for name in slurm.nodes}
    wait_for(lambda: all(lines(tmp_path / f"{name}.log") for name in pilots))
    running = [job(adapter, batch_job_id) for batch_job_id in pilots.values()]
    assert {pilot.state for pilot in running} == {BatchState.RUNNING}
    assert sorted(node for pilot in running for node in pilot.nodes) == sorted(slurm.nodes)

    started, submitted_at = tmp_path / "prime", time.time()
    slurm.run(
        "sbatch", "--partition=prime", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=1", "--output=/dev/null",
        f"--wrap=date +%s.%N > {started}.new && mv {started}.new {started}",
    )  # fmt: skip
    wait_for(lambda: lines(started), 20)
    prime_after = float(started.read_text()) - submitted_at
    told_after = [float(lines(tmp_path / f"{name}.log")[1].split()[1]) - submitted_at for name in pilots]
    assert max(told_after) < 3, f"SIGTERM after {told_after} s"
    assert prime_after < 5, f"the prime job ran after {prime_after} s"

    ended = [job(adapter, batch_job_id) for batch_job_id in pilots.values()]
    assert {pilot.state for pilot in ended} == {BatchState.PREEMPTED}
    assert all(pilot.preempt_at and pilot.preempt_at >= int(submitted_at) for pilot in ended)


def test_a_pilot_gets_a_few_variables_and_none_of_the_daemons_own(slurm, adapter, order, tmp_path, monkeypatch):
    monkeypatch.setenv("HARVESTER_SECRET", "token")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    adapter.submit(order("p"))
    [line] = wait_for(lambda: lines(tmp_path / "p.log"))
    assert "HARVESTER_SECRET" not in line
    assert "SLURM_GET_USER_ENV" not in line  # no login shell was run before the pilot
    for name in ("PATH", "HOME"):
        assert f'"{name}": "{os.environ[name]}"' in line
    assert '"SLURM_STEP_ID": "0"' in line  # it is a step, so it hears of an eviction


def test_a_pilot_of_an_earlier_daemon_is_cancelled(slurm, adapter, order, tmp_path):
    running = adapter.submit(order("p"))
    wait_for(lambda: lines(tmp_path / "p.log"))
    later = SlurmAdapter(work_dir=tmp_path / "later")
    later.cancel(running)
    wait_for(lambda: job(later, running).state is BatchState.CANCELLED)
    later.cancel(running)
    later.cancel("4000000")  # Slurm has forgotten it, or never knew it
    later.cancel("4000000", running, "4000001")


def test_pilots_are_cancelled_together_and_one_that_slurm_has_forgotten_is_no_error(slurm, adapter, order, tmp_path):
    prime(slurm, "full", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=5")
    waiting = [adapter.submit(order(name)) for name in ("p", "q", "r")]
    before = adapter.commands
    adapter.cancel(*waiting, "4000000")
    assert adapter.commands - before == 1
    wait_for(lambda: {job.state for job in adapter.glance()} == {BatchState.RUNNING})
    ended = {job.batch_job_id: job.state for job in adapter.ended([*waiting, "4000000"])}
    assert ended == dict.fromkeys(waiting, BatchState.CANCELLED)
    assert adapter.ended(["4000000"]) == adapter.ended(["4000000", "4000001"]) == ()


def test_a_snapshot_is_two_commands_and_has_nothing_that_has_ended(slurm, adapter, order):
    finished = adapter.submit(order("q", command=("/bin/true",)))
    wait_for(lambda: job(adapter, finished).state is BatchState.COMPLETED)
    before = adapter.commands
    assert finished not in {job.batch_job_id for job in adapter.snapshot().batch_jobs}
    assert adapter.commands - before == 2
    assert [job.state for job in adapter.ended([finished])] == [BatchState.COMPLETED]


def test_a_look_shows_what_pending_prime_jobs_need_and_a_glance_what_they_wait_for(slurm, adapter):
    prime(slurm, "full", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=5")
    prime(slurm, "pair", "--nodes=2", "--ntasks-per-node=2", "--gres=gpu:1", "--mem=700", "--time=20")
    prime(slurm, "alone", "--nodes=1", "--exclusive", "--nodelist=n3")
    prime(slurm, "array", "--array=1-9%3", "--ntasks=1")
    prime(slurm, "picky", "--nodes=1", "--exclude=n1,n[3-4]")
    prime(slurm, "held", "--hold")
    prime(slurm, "later", "--begin=now+1hour")
    names = {"full", "pair", "alone", "array", "picky", "held", "later"}
    # Slurm tells why a batch job waits only once its scheduler has looked at it.
    looked_at = names - {"full"}
    found = wait_for(
        lambda: (
            (seen := {job.name: job for job in adapter.snapshot().batch_jobs}).keys() == names
            and all(seen[name].reason not in ("", "None") for name in looked_at)
            and seen["later"].reason == "BeginTime"  # on a busy machine it has another word for a moment
            and seen
        ),
        seconds=30,
    )
    before = adapter.commands
    glimpsed = {job.name: job for job in adapter.glance()}
    assert adapter.commands - before == 1
    assert {name: job.state for name, job in glimpsed.items()} == {name: job.state for name, job in found.items()}
    assert {glimpsed["held"].waits_for, glimpsed["later"].waits_for} == {WaitsFor.OTHER}
    del found["full"]
    pair = found["pair"]
    assert pair.each == Resources(cpus=2, gpus=1, memory_mb=700)
    assert (pair.node_count, pair.limit, pair.is_exclusive) == (2, timedelta(minutes=20), False)
    assert (found["alone"].is_exclusive, found["alone"].required_nodes) == (True, ("n3",))
    assert found["array"].elements == 3
    waiting = {name for name, job in found.items() if job.waits_for is WaitsFor.NODES}
    assert waiting == {"pair", "alone", "array", "picky"}
    assert found["picky"].excluded_nodes == ("n1", "n3", "n4")
    assert {found["held"].waits_for, found["later"].waits_for} == {WaitsFor.OTHER}
    assert pair.priority > found["alone"].priority > found["held"].priority == 0


def test_a_drained_node_says_why_it_is_left(slurm, adapter, order, tmp_path):
    adapter.submit(order("p", node="n2"))
    wait_for(lambda: lines(tmp_path / "p.log"))
    try:
        slurm.run("scontrol", "update", "nodename=n2", "state=drain", "reason=disk swap [mon@9], State=IDLE")
        leaving = {node.name: node.leaving for node in adapter.snapshot().nodes if node.leaving}
        assert leaving == {"n2": "it is being drained: disk swap [mon@9], State=IDLE"}
    finally:
        slurm.run("scontrol", "update", "nodename=n2", "state=resume")
    assert not any(node.leaving for node in adapter.snapshot().nodes)


def test_a_node_that_is_to_be_rebooted_says_so(site, tmp_path):
    slurm = site("tiers", settings={"RebootProgram": "/bin/true"})
    prime(slurm, "busy", "--nodelist=n1")
    adapter = SlurmAdapter(work_dir=tmp_path, cache_for=timedelta(0))
    wait_for(lambda: any(job.state is BatchState.RUNNING for job in adapter.snapshot().batch_jobs))
    slurm.run("scontrol", "reboot", "ASAP", "reason=kernel", "n1")
    n1 = wait_for(lambda: next(node for node in adapter.snapshot().nodes if node.leaving))
    assert (n1.name, n1.leaving) == ("n1", "it is to be rebooted: kernel")
    slurm.run("scontrol", "cancel_reboot", "n1")
    wait_for(lambda: not any(node.leaving for node in adapter.snapshot().nodes))


def test_a_refused_pilot_is_rejected_in_slurms_words(slurm, adapter, order):
    with pytest.raises(SubmissionRejected, match="Invalid partition name"):
        adapter.submit(order("p", partition="nowhere"))
    with pytest.raises(SubmissionRejected, match="Requested node configuration is not available"):
        adapter.submit(order("p", resources=Resources(cpus=slurm.cpus + 1)))


def test_a_pending_pilot_shows_its_planned_start_and_nodes(slurm, adapter, order):
    slurm.run("sbatch", "--partition=prime", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=3",
              "--output=/dev/null", "--wrap=sleep 600")  # fmt: skip
    waiting = adapter.submit(order("p", walltime=timedelta(minutes=2, seconds=1)))
    planned = wait_for(lambda: (found := job(adapter, waiting)) and found.nodes and found, 20)
    assert planned.state is BatchState.PENDING
    assert 60 < planned.start_at - time.time() < 240
    assert planned.end_at - planned.start_at == 180  # Slurm rounds the walltime up to whole minutes


def test_nobodys_batch_job_name_hides_a_pilot(slurm, adapter, order):
    name = 'a|b\x1fc é\n7\x1froot "x" %i \x1e'
    slurm.run("sbatch", f"--job-name={name}", "--begin=now+1hour", "--output=/dev/null", "--wrap=true")
    mine = order("p")
    batch_job_id = adapter.submit(mine)
    assert {job.name for job in adapter.snapshot().batch_jobs} >= {name, mine.name}
    assert job(adapter, batch_job_id).name == mine.name


def test_a_pilots_exit_code_is_its_batch_jobs(slurm, adapter, order):
    failed = adapter.submit(order("p", command=("/bin/false",)))
    wait_for(lambda: job(adapter, failed).state is BatchState.FAILED)
    finished = adapter.submit(order("q", command=("/bin/true",)))
    wait_for(lambda: job(adapter, finished).state is BatchState.COMPLETED)


def test_two_clusters_live_side_by_side_and_nothing_is_left_of_one_that_went_down(slurm, tmp_path):
    script = Path(__file__).parents[2] / "slurm-test" / "cluster.py"
    second = tmp_path / "second"

    def cluster(verb: str, *more: str) -> str:
        argv = ["/usr/bin/python3", script, verb, f"--dir={second}", *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=90, check=True).stdout

    shape = ("--nodes=1", "--cpus=1", "--gpus=2", "--grace=5")
    marker = "61.25"
    try:
        assert cluster("up", *shape).startswith("up in")
        assert cluster("up", *shape).startswith("already up")
        environment = os.environ | {"SLURM_CONF": str(second / "slurm.conf")}
        gpus = subprocess.run(
            ["srun", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES"], env=environment, capture_output=True,
            text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        assert gpus.strip() == "0,1"
        subprocess.run(["sbatch", "-Q", "--output=/dev/null", f"--wrap=sleep {marker}"], env=environment, check=True)
        wait_for(lambda: processes(f"sleep {marker}"))
    finally:
        assert "removed" in cluster("down")
    assert not second.exists()
    assert not processes(f"sleep {marker}")
    assert not processes(str(second))
    assert cluster("down").startswith("not up")
    assert set(slurm.run("sinfo", "--noheader", "--format=%T").split()) == {"idle"}


def processes(words: str) -> list[str]:
    """Return the command lines that hold `words`."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if words in line and "pytest" not in line.partition(" ")[0]]
