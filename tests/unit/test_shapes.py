"""Pilot shapes: out of the config, and out of a look at the cluster where nobody configured any."""

import sys

import pytest

from harvester.cli import build
from harvester.config_file import ConfigError, load_config
from harvester.domain.cluster import ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.resources import Resources
from harvester.domain.shapes import whole_nodes

SLURM = {"scheduler.kind": "slurm"}
CPU, GPU = Resources(cpus=64), Resources(cpus=32, gpus=4)
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def cluster(*totals: Resources, preemptible: bool = True) -> ClusterSnapshot:
    nodes = tuple(
        Node(name=f"n{i}", state=NodeState.IDLE, partitions=("prime", "idle"), total=total, free=total)
        for i, total in enumerate(totals)
    )
    partitions = (Partition(name="prime"), Partition(name="idle", is_preemptible=preemptible))
    return ClusterSnapshot(taken_at=0.0, scheduler="fake", nodes=nodes, batch_jobs=(), partitions=partitions)


def test_without_configured_shapes_pilots_take_whole_nodes_of_the_preemptible_partition():
    shapes = whole_nodes(cluster(GPU, GPU, CPU))
    assert [(shape.name, shape.partition, shape.resources) for shape in shapes] == [
        ("idle", "idle", CPU),
        ("idle-2", "idle", GPU),
    ]


def test_where_nothing_is_preemptible_the_site_must_say_where_pilots_may_go():
    assert whole_nodes(cluster(CPU, preemptible=False)) == ()
    with pytest.raises(ConfigError, match=r"write a \[\[pilot\]\] table .*the scheduler has prime, idle"):
        build.shapes(load_config(None, SLURM), cluster(CPU, preemptible=False))


def test_a_partition_where_nobody_preempts_is_taken_in_strict_mode_only():
    named = {**SLURM, "harvest.partition": "prime"}
    with pytest.raises(ConfigError, match=r'nobody preempts in partition "prime"; write mode = "strict"'):
        build.shapes(load_config(None, named), cluster(CPU))
    config = load_config(None, {**named, "harvest.mode": "strict"})
    assert [shape.partition for shape in build.shapes(config, cluster(CPU))] == ["prime"]


def test_a_partition_that_does_not_exist_is_refused_with_those_that_do():
    config = load_config(None, {**SLURM, "harvest.partition": "harvest"})
    with pytest.raises(ConfigError, match=r'harvest\.partition: there is no partition "harvest"; .* prime, idle'):
        build.shapes(config, cluster(CPU))
    pilots = {"pilot": [{"name": "a", "partition": "idle"}, {"name": "b", "partition": "ilde"}]}
    with pytest.raises(ConfigError, match=r'pilot\[1\].partition: there is no partition "ilde"'):
        build.shapes(load_config(None, SLURM | pilots), cluster(CPU))


def test_configured_shapes_stand_while_the_scheduler_does_not_answer():
    pilots = {"pilot": [{"name": "a", "partition": "idle", "cpus": 8}]}
    assert [shape.name for shape in build.shapes(load_config(None, SLURM | pilots), None)] == ["a"]


def test_the_first_shape_is_kept_ready_unless_the_shapes_say_it_themselves():
    pilots = [{"name": "a", "partition": "idle"}, {"name": "b", "partition": "idle"}]
    config = load_config(None, {**SLURM, "pilot": pilots, "harvest.ready": 3})
    assert [shape.ready for shape in build.shapes(config, cluster(CPU))] == [3, 0]
    own = [pilots[0], {**pilots[1], "ready": 2}]
    config = load_config(None, {**SLURM, "pilot": own, "harvest.ready": 3})
    assert [shape.ready for shape in build.shapes(config, cluster(CPU))] == [0, 2]


def test_the_python_of_a_shape_is_known_only_for_our_own_interpreter_or_when_it_is_told():
    pilots = [
        {"name": "own", "partition": "idle"},
        {"name": "other", "partition": "idle", "python": "/opt/python/bin/python3"},
        {"name": "told", "partition": "idle", "python": "/opt/python/bin/python3", "python_version": "3.13"},
    ]
    shapes = build.shapes(load_config(None, {**SLURM, "pilot": pilots}), cluster(CPU))
    assert [shape.python for shape in shapes] == [HERE, "", "3.13"]


def test_pilots_on_other_hosts_are_given_an_address_that_they_can_reach():
    assert build.pilots_url(load_config(None), 81) == "http://127.0.0.1:81"
    assert "127.0.0.1" not in build.pilots_url(load_config(None, SLURM), 81)
    config = load_config(None, {**SLURM, "gateway.url": "https://login1.example/harvester/"})
    assert build.pilots_url(config, 81) == "https://login1.example/harvester"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("harvest.excluded_nodes", ["n[0-1", "n0"], 'excluded_nodes\\[0\\]: "n\\[0-1" is no list of nodes'),
        ("harvest.excluded_nodes", ["n[0-99]"], 'there is no node "n1[0-9]?", so excluding it would exclude nothing'),
        ("harvest.excluded_partitions", ["ilde"], 'no partition "ilde".*the scheduler has idle, prime'),
    ],
)
def test_an_exclusion_that_excludes_nothing_is_refused(field, value, words):
    with pytest.raises(ConfigError, match=words):
        build.shapes(load_config(None, {**SLURM, field: value}), cluster(CPU))
