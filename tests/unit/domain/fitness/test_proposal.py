"""What a configuration is proposed for a site, and that what is written down can be read again."""

import tomllib
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.config import FIBONACCI_MIN
from harvester.config_file import load_config
from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.fitness.configuration import Premises, configuration
from harvester.domain.fitness.proposal import NoProposal, Proposal, propose
from harvester.domain.fitness.site_facts import SiteFacts
from harvester.domain.harvest.planning import HarvestMode
from harvester.domain.model.resources import Resources

CPU, GPU = Resources(cpus=64, memory_mb=1000), Resources(cpus=32, gpus=4, memory_mb=2000)
PRIME = Partition(name="prime", is_default=True, priority_tier=10, why_not="its batch jobs are never preempted")
HARVEST = Partition(name="harvest", is_preemptible=True, grace_time=timedelta(minutes=1))
FACTS = SiteFacts(source="squeue", cycle=timedelta(seconds=30))
HERE = Premises(
    kind="slurm",
    scheduler="slurm 24.11.5",
    version="0.1.0",
    state="/shared/harvester",
    url="http://login1:8321",
    port=8321,
    interpreter="/opt/python/bin/python",
)


def cluster(*partitions: Partition, totals=(CPU, CPU, GPU)) -> ClusterSnapshot:
    names = tuple(part.name for part in partitions)
    nodes = tuple(
        Node(name=f"n{number}", state=NodeState.IDLE, partitions=names, total=total, free=total)
        for number, total in enumerate(totals)
    )
    return ClusterSnapshot(taken_at=0.0, scheduler="slurm 24.11.5", nodes=nodes, batch_jobs=(), partitions=partitions)


def proposed(snapshot: ClusterSnapshot, facts: SiteFacts | None = FACTS, partition: str = "") -> Proposal:
    return propose(snapshot, facts, lengths_min=FIBONACCI_MIN, partition=partition)


def read(proposal: Proposal, tmp_path, here: Premises = HERE):
    file = tmp_path / "site.toml"
    file.write_text(configuration(proposal, here))
    return load_config(file)


def test_the_lowest_partition_from_which_pilots_are_evicted_is_taken_with_whole_nodes(tmp_path):
    proposal = proposed(cluster(PRIME, HARVEST))
    assert (proposal.partition.name, proposal.mode) == ("harvest", HarvestMode.PREEMPTIBLE)
    config = read(proposal, tmp_path)
    assert [(pilot.name, pilot.partition, pilot.cpus, pilot.gpus, pilot.memory_mb) for pilot in config.pilot] == [
        ("harvest", "harvest", 64, 0, 1000),
        ("harvest-2", "harvest", 32, 4, 2000),
    ]
    assert (config.harvest.mode, config.harvest.cycle_s, config.scheduler.kind) == ("preemptible", 30.0, "slurm")
    assert config.state == "/shared/harvester"


def test_without_preemption_the_lowest_partition_is_taken_and_pilots_yield(tmp_path):
    low = Partition(name="low", priority_tier=1, why_not="nobody is preempted here")
    proposal = proposed(cluster(PRIME, low))
    assert (proposal.partition.name, proposal.mode) == ("low", HarvestMode.YIELDING)
    assert any("nobody is preempted here" in words for words in proposal.assumed)
    assert read(proposal, tmp_path).harvest.mode == "yielding"


def test_the_only_partition_is_taken_and_said_to_be_the_default_one():
    proposal = proposed(cluster(PRIME))
    assert proposal.partition.name == "prime"
    assert any("which is the default one" in words for words in proposal.assumed)


def test_a_default_partition_from_which_pilots_are_evicted_goes_before_one_from_which_they_are_not(tmp_path):
    only = msgspec.structs.replace(PRIME, is_preemptible=True, why_not="")
    other = Partition(name="low", priority_tier=1, why_not="nobody is preempted there")
    proposal = propose(cluster(only, other), FACTS, lengths_min=FIBONACCI_MIN, qos="scavenger")
    assert (proposal.partition.name, proposal.mode) == ("prime", HarvestMode.PREEMPTIBLE)
    assert read(proposal, tmp_path).scheduler.slurm.qos == "scavenger"
    assert any('the QOS "scavenger"' in words for words in proposal.assumed)


def test_a_partition_that_is_named_is_taken_whatever_its_rank():
    assert proposed(cluster(PRIME, HARVEST), partition="prime").partition.name == "prime"
    with pytest.raises(NoProposal, match='no partition "other"; the scheduler has prime, harvest'):
        proposed(cluster(PRIME, HARVEST), partition="other")


def test_nothing_is_proposed_where_prime_jobs_cannot_be_seen_and_nobody_evicts():
    hidden = msgspec.structs.replace(FACTS, hides_batch_jobs=True)
    with pytest.raises(NoProposal, match="hidden from you"):
        proposed(cluster(PRIME), hidden)
    assert proposed(cluster(PRIME, HARVEST), hidden).mode is HarvestMode.PREEMPTIBLE


def test_nothing_is_proposed_for_a_cluster_without_nodes():
    with pytest.raises(NoProposal, match="no partition is up"):
        proposed(cluster(PRIME, totals=()))


def test_pilots_are_not_longer_than_the_partition_allows(tmp_path):
    short = msgspec.structs.replace(HARVEST, max_time=timedelta(minutes=10))
    assert read(proposed(cluster(PRIME, short)), tmp_path).harvest.lengths_min == (2, 4, 6, 8)
    shorter = msgspec.structs.replace(HARVEST, max_time=timedelta(minutes=1))
    assert read(proposed(cluster(PRIME, shorter)), tmp_path).harvest.lengths_min == (1,)


@pytest.mark.parametrize("kind", ["slurm", "pbs", "local"])
def test_what_is_assumed_stands_in_the_file_and_each_kind_has_its_own_table(tmp_path, kind):
    here = msgspec.structs.replace(HERE, kind=kind, local=(("nodes", 2), ("cpus", 64), ("gpus", 4)))
    here = msgspec.structs.replace(here, local=(*here.local, ("memory_mb", 4096)))
    proposal = proposed(cluster(HARVEST))
    text = configuration(proposal, here)
    for words in proposal.assumed:
        assert words.split(",")[0][:40] in text
    assert f"[scheduler.{kind}]" in text
    assert read(proposal, tmp_path, here).scheduler.kind == kind


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_of_a_partition_or_folder_can_be_written(name):
    snapshot = cluster(msgspec.structs.replace(HARVEST, name=name))
    text = configuration(proposed(snapshot), msgspec.structs.replace(HERE, state=name))
    read_again = tomllib.loads(text)
    assert read_again["pilot"][0]["partition"] == name
    assert read_again["state"] == name
