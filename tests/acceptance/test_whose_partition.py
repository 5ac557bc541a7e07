"""Whose partition pilots take on a real Slurm, at every kind of site: one from which they are evicted, or none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.cli.up import build
from harvester.config_file import ConfigError, load_config
from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchState, ClusterSnapshot
from harvester.domain.harvest.planning import Shape
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.adapter import SlurmAdapter

pytestmark = pytest.mark.slurm

NO_TIER = "no partition of a higher PriorityTier shares its nodes"


def snapshot(folder: Path, **submitter: str) -> ClusterSnapshot:
    return SlurmAdapter(work_dir=folder / "look", cache_for=timedelta(0), **submitter).snapshot()


def shapes(look: ClusterSnapshot, **options: str) -> tuple[Shape, ...]:
    """Return what `harvester up` would submit; options are fields of [harvest], or `qos`."""
    qos = options.pop("qos", "")
    fields = {f"harvest.{name}": value for name, value in options.items()}
    return build.shapes(load_config(None, {"scheduler.kind": "slurm", "scheduler.slurm.qos": qos, **fields}), look)


def up(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `harvester up`, which ends by itself only where it refuses."""
    argv = [sys.executable, "-m", "harvester.cli", "up", "--state", str(state), "--scheduler", "slurm", "--port", "0"]
    return subprocess.run([*argv, *options], capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def shown(slurm) -> dict[str, str]:
    """Return what Slurm shows as each partition's PreemptMode."""
    found = {}
    for line in slurm.run("scontrol", "--oneliner", "show", "partition").splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        found[words["PartitionName"]] = words["PreemptMode"]
    return found


def wait_for(condition, seconds: float = 15):
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return value


def state(slurm, batch_job_id: str) -> str:
    return slurm.run("squeue", "--noheader", "--states=all", f"--jobs={batch_job_id}", "--format=%T")


def fill(slurm, folder: Path, shape: Shape, **submitter: str) -> tuple[SlurmAdapter, list[str]]:
    """Put a pilot on every node, and wait until all run; a pilot leaves when it hears SIGTERM, in half a second."""
    adapter = SlurmAdapter(work_dir=folder / "submit", cache_for=timedelta(0), **submitter)
    pilot = "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done"
    order = PilotOrder(
        pilot_id="p", name="hv-test-p", partition=shape.partition, resources=shape.resources,
        walltime=timedelta(minutes=10), command=("/bin/bash", "-c", pilot), output=folder / "pilot.out",
        qos=submitter.get("qos", ""),
    )  # fmt: skip
    pilots = [adapter.submit(order) for _ in slurm.nodes]
    wait_for(lambda: all(state(slurm, pilot) == "RUNNING" for pilot in pilots))
    time.sleep(0.5)  # until bash has set its trap
    return adapter, pilots


def evicted_by_a_prime_job(slurm, adapter: SlurmAdapter, pilots: list[str], *options: str) -> None:
    """Let a prime job want all nodes, and hold that it starts soon and every pilot has ended for good."""
    prime = slurm.run(
        "sbatch", "--parsable", "--partition=prime", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=1",
        "--output=/dev/null", "--wrap=sleep 30", *options,
    )  # fmt: skip
    wait_for(lambda: state(slurm, prime) == "RUNNING")
    ended = {pilot.batch_job_id: pilot.state for pilot in adapter.ended(pilots)}
    assert ended == dict.fromkeys(pilots, BatchState.PREEMPTED)


@pytest.mark.parametrize("kind", ["tiers", "cluster-cancel", "requeue"])
def test_by_itself_it_takes_the_lower_partition_and_a_prime_job_evicts_it_from_there(site, tmp_path, kind):
    slurm = site(kind, nodes=2)
    look = snapshot(tmp_path)
    if kind == "cluster-cancel":
        assert shown(slurm) == {"prime": "CANCEL", "harvest": "CANCEL"}  # which is why it cannot be asked
        assert look.partition("prime").why_not == NO_TIER
    assert [part.name for part in look.partitions if part.is_preemptible] == ["harvest"]
    [shape] = shapes(look)
    assert (shape.partition, shape.resources) == ("harvest", Resources(cpus=slurm.cpus, memory_mb=4000))
    adapter, pilots = fill(slurm, tmp_path, shape)
    evicted_by_a_prime_job(slurm, adapter, pilots)


def test_the_upper_partition_is_refused_with_the_reason_until_the_mode_fits(site, tmp_path):
    site("cluster-cancel", nodes=2)
    refused = up(tmp_path / "state", "--set", "harvest.partition=prime")
    assert refused.returncode == 2, refused.stderr
    assert f'not evicted from partition "prime": {NO_TIER}; write harvest.mode = "yielding" or "strict"' in (
        " ".join(refused.stderr.split())
    )
    look = snapshot(tmp_path)
    for mode in ("strict", "yielding"):
        assert [shape.partition for shape in shapes(look, partition="prime", mode=mode)] == ["prime"]


def test_where_nobody_is_evicted_it_asks_for_the_name_and_the_mode(site, tmp_path):
    site("no-preemption", nodes=2)
    why = "nobody is preempted here (PreemptType is preempt/none)"
    for mode in ("preemptible", "strict", "yielding"):
        refused = up(tmp_path / "state", "--set", f"harvest.mode={mode}")
        words = " ".join(refused.stderr.split())
        assert refused.returncode == 2, words
        assert f"prime: {why}; harvest: {why}" in words
        assert 'write harvest.partition = "NAME", and harvest.mode = "yielding" or "strict"' in words
    look = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="PreemptType is preempt/none"):
        shapes(look, partition="harvest")
    for mode in ("strict", "yielding"):
        assert [shape.partition for shape in shapes(look, partition="harvest", mode=mode)] == ["harvest"]


def test_a_site_that_suspends_is_refused_because_a_suspended_pilot_keeps_its_memory(site, tmp_path):
    slurm = site("suspend", nodes=2)
    look = snapshot(tmp_path)
    reason = "its pilots would be suspended, not ended (PreemptMode=GANG,SUSPEND), and would keep the node's memory"
    assert look.partition("harvest").why_not == reason
    refused = up(tmp_path / "state", "--set", "harvest.partition=harvest")
    assert refused.returncode == 2, refused.stderr
    assert reason in " ".join(refused.stderr.split())
    assert up(tmp_path / "state").returncode == 2
    # That it is so: what the pilots hold is not given to a prime job, and then nobody is suspended either.
    [shape] = shapes(look, partition="harvest", mode="yielding")
    _, pilots = fill(slurm, tmp_path, shape)
    prime = slurm.run(
        "sbatch", "--parsable", "--partition=prime", "--nodes=1", "--mem=2000", "--output=/dev/null", "--wrap=true"
    )
    time.sleep(6)  # three looks of backfill
    assert state(slurm, prime) == "PENDING"
    assert {state(slurm, pilot) for pilot in pilots} == {"RUNNING"}


def test_where_qos_decide_it_is_the_pilots_qos_that_counts_whatever_the_partition(site, tmp_path):
    slurm = site("qos", nodes=2)
    assert shown(slurm) == {"prime": "CANCEL", "harvest": "CANCEL"}
    # Root's default QOS is "normal", which nobody evicts.
    refused = up(tmp_path / "state")
    assert refused.returncode == 2, refused.stderr
    why = (
        'no QOS has "normal", which pilots run under, in its Preempt list'
        " (scheduler.slurm.qos may name scavenger, which others preempt)"
    )
    assert f"prime: {why}; harvest: {why}" in " ".join(refused.stderr.split())
    look = snapshot(tmp_path, qos="scavenger")
    assert [part.is_preemptible for part in look.partitions] == [True, True]
    [shape] = shapes(look, qos="scavenger")
    assert shape.partition == "harvest"  # not the default one, although pilots are evicted from it as well
    adapter, pilots = fill(slurm, tmp_path, shape, qos="scavenger")
    evicted_by_a_prime_job(slurm, adapter, pilots)


def test_a_qos_that_does_not_exist_is_named(site, tmp_path):
    site("qos", nodes=2)
    refused = up(tmp_path / "state", "--set", "scheduler.slurm.qos=scavanger")
    assert refused.returncode == 2, refused.stderr
    assert 'there is no QOS "scavanger"' in " ".join(refused.stderr.split())
