"""Pilot shapes: out of the config, and out of a look at the cluster where nobody configured any."""

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.cli.up import build, build_address
from harvester.config_file import ConfigError, load_config
from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.harvest.shapes import whole_nodes, why_not_untold
from harvester.domain.model.resources import Resources

SLURM = {"scheduler.kind": "slurm"}
CPU, GPU = Resources(cpus=64), Resources(cpus=32, gpus=4)
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


PRIME = Partition(name="prime", is_default=True, priority_tier=10, why_not="nobody is above it")
IDLE = Partition(name="idle", is_preemptible=True)


def cluster(*totals: Resources, partitions: tuple[Partition, ...] = (PRIME, IDLE)) -> ClusterSnapshot:
    names = tuple(part.name for part in partitions)
    nodes = tuple(
        Node(name=f"n{i}", state=NodeState.IDLE, partitions=names, total=total, free=total)
        for i, total in enumerate(totals)
    )
    return ClusterSnapshot(taken_at=0.0, scheduler="fake", nodes=nodes, batch_jobs=(), partitions=partitions)


def test_without_configured_shapes_pilots_take_whole_nodes_of_the_preemptible_partition():
    shapes = whole_nodes(cluster(GPU, GPU, CPU))
    assert [(shape.name, shape.partition, shape.resources) for shape in shapes] == [
        ("idle", "idle", CPU),
        ("idle-2", "idle", GPU),
    ]


NOT_EVICTED = Partition(name="idle", why_not="no partition of a higher PriorityTier shares its nodes")


def test_where_nothing_is_preemptible_the_site_must_say_where_pilots_may_go():
    nowhere = cluster(CPU, partitions=(PRIME, NOT_EVICTED))
    assert whole_nodes(nowhere) == ()
    for mode in ("preemptible", "strict", "yielding"):
        with pytest.raises(ConfigError) as refused:
            build.shapes(load_config(None, {**SLURM, "harvest.mode": mode}), nowhere)
        assert str(refused.value) == (
            "harvest.partition: no partition is configured, and none can be chosen automatically"
            " (prime: nobody is above it;"
            ' idle: no partition of a higher PriorityTier shares its nodes); write harvest.partition = "NAME", and'
            ' harvest.mode = "yielding" or "strict" where pilots are not evicted from it'
        )


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Partition(name="p", is_preemptible=True, is_default=True), "it is the default partition"),
        (Partition(name="p", is_preemptible=True, priority_tier=10), "it is of the highest PriorityTier"),
        (Partition(name="p", is_preemptible=True, is_up=False), "it is not up"),
        (Partition(name="p"), "the scheduler is not known to evict batch jobs from it"),
    ],
)
def test_pilots_are_ahead_of_nobody_unless_the_admin_says_so(part, why):
    upper = Partition(name="prime", priority_tier=10, why_not="nobody is above it")
    with pytest.raises(ConfigError, match=f"p: {why}"):
        build.shapes(load_config(None, SLURM), cluster(CPU, partitions=(upper, part)))
    if part.is_preemptible:
        named = load_config(None, {**SLURM, "harvest.partition": "p"})
        assert [shape.partition for shape in build.shapes(named, cluster(CPU, partitions=(upper, part)))] == ["p"]


def test_of_several_partitions_from_which_pilots_are_evicted_the_lowest_is_taken():
    between = Partition(name="normal", is_preemptible=True, priority_tier=5)
    twins = (Partition(name="idle-2", is_preemptible=True),)
    assert whole_nodes(cluster(CPU, partitions=(PRIME, between, IDLE, *twins)))[0].partition == "idle"


@given(
    parts=st.lists(
        st.builds(
            Partition,
            name=st.sampled_from("abcdef"),
            is_up=st.booleans(),
            is_preemptible=st.booleans(),
            is_default=st.booleans(),
            priority_tier=st.integers(0, 3),
        ),
        min_size=2,
        unique_by=lambda part: part.name,
    )
)
def test_no_partition_is_taken_by_itself_that_pilots_would_block(parts):
    highest = max(part.priority_tier for part in parts)
    fit = [part for part in parts if part.is_up and part.is_preemptible and not part.is_default]
    fit = [part for part in fit if part.priority_tier < highest]
    taken = whole_nodes(cluster(CPU, partitions=tuple(parts)))
    assert bool(taken) == bool(fit)
    if taken:
        assert taken[0].partition in [part.name for part in fit]


def test_a_named_partition_without_nodes_is_said():
    bare = msgspec.structs.replace(cluster(), partitions=(PRIME, IDLE))
    with pytest.raises(ConfigError, match=r'partition "idle" has no nodes'):
        build.shapes(load_config(None, {**SLURM, "harvest.partition": "idle"}), bare)
    with pytest.raises(ConfigError, match=r"idle: it has no nodes"):
        build.shapes(load_config(None, SLURM), bare)


@pytest.mark.parametrize("qos", ["", "low"])
def test_a_partition_from_which_pilots_are_not_evicted_is_taken_in_the_other_modes_only(qos):
    site = cluster(CPU, partitions=(PRIME, NOT_EVICTED))
    named = {**SLURM, "harvest.partition": "idle", "scheduler.slurm.qos": qos}
    why = (
        'not evicted from partition "idle": no partition of a higher PriorityTier shares its nodes; write .*"yielding"'
    )
    with pytest.raises(ConfigError, match=why):
        build.shapes(load_config(None, named), site)
    for mode in ("strict", "yielding"):
        config = load_config(None, {**named, "harvest.mode": mode})
        assert [shape.partition for shape in build.shapes(config, site)] == ["idle"]
    pilots = {"pilot": [{"name": "a", "partition": "prime"}]}
    with pytest.raises(ConfigError, match=r'not evicted from partition "prime": nobody is above it'):
        build.shapes(load_config(None, SLURM | pilots), site)


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
    assert build_address.pilots_url(load_config(None), 81) == "http://127.0.0.1:81"
    assert "127.0.0.1" not in build_address.pilots_url(load_config(None, SLURM), 81)
    config = load_config(None, {**SLURM, "gateway.url": "https://login1.example/harvester/"})
    assert build_address.pilots_url(config, 81) == "https://login1.example/harvester"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("harvest.excluded_nodes", ["n[0-1", "n0"], 'excluded_nodes\\[0\\]: "n\\[0-1" is not a list of nodes'),
        ("harvest.excluded_nodes", ["n[0-99]"], 'there is no node "n1[0-9]?", so excluding it would exclude nothing'),
        ("harvest.excluded_partitions", ["ilde"], 'no partition "ilde".*the scheduler has idle, prime'),
    ],
)
def test_an_exclusion_that_excludes_nothing_is_refused(field, value, words):
    with pytest.raises(ConfigError, match=words):
        build.shapes(load_config(None, {**SLURM, field: value}), cluster(CPU))


def test_a_partition_that_refuses_pilots_is_not_chosen_untold():
    refusing = Partition(name="closed", is_preemptible=True, refuses="only root may submit to it (RootOnly=YES)")
    snapshot = ClusterSnapshot(taken_at=0.0, scheduler="fake", nodes=(), batch_jobs=(), partitions=(refusing,))
    assert why_not_untold(snapshot, refusing) == refusing.refuses


def test_whole_nodes_are_no_more_than_a_partition_gives_of_one():
    most = Resources(cpus=48, memory_mb=1000)
    shared = Partition(name="cpu", is_preemptible=True, most=most)
    total = Resources(cpus=64, gpus=4, memory_mb=4000)
    node = Node(name="n1", state=NodeState.IDLE, partitions=("cpu",), total=total, free=total)
    snapshot = ClusterSnapshot(taken_at=0.0, scheduler="fake", nodes=(node,), batch_jobs=(), partitions=(shared,))
    [shape] = whole_nodes(snapshot, partition="cpu")
    assert shape.resources == Resources(cpus=48, gpus=4, memory_mb=1000)
