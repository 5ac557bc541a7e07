"""Nodes that are part used, specialised, shared, asleep, or described in words that nobody knows."""

from pathlib import Path

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.text.nodes import leaving, node_state, nodes
from harvester_adapters.slurm.text.words import gpu_types, gpus_in_use

# Recorded on 22.05.8: n1 with two threads a core, CoreSpecCount=1, MemSpecLimit=500 and shards; n2 with two MIG slices;
# n3 powered down; n4 powering up for a batch job.
POWER = (Path(__file__).parent / "samples" / "22.05.8" / "power.node.txt").read_text()
NOTHING = Resources(cpus=0)


def test_cores_and_memory_that_are_kept_for_the_system_are_not_the_pilots():
    n1, *_ = nodes(POWER)
    # Measured: sbatch takes --cpus-per-task=2 --mem=3500 on it, and refuses --mem=4000 for ever.
    assert n1.total == Resources(cpus=2, gpus=2, memory_mb=3500)


def test_a_gpu_of_which_shards_are_given_out_is_not_free():
    n1, *_ = nodes(POWER)
    assert (n1.free, n1.gpu_types) == (Resources(cpus=0, gpus=1, memory_mb=3400), ("a100:2",))


def test_a_slice_of_a_gpu_is_a_gpu_with_a_type():
    _, n2, *_ = nodes(POWER)
    assert (n2.state, n2.gpu_types) == (NodeState.MIXED, ("1g.10gb:1", "2g.20gb:1"))
    assert n2.free == Resources(cpus=3, gpus=1, memory_mb=3900)


def test_a_node_that_is_powered_down_is_not_woken_unless_that_is_allowed():
    _, _, n3, n4 = nodes(POWER)
    assert (n3.state, n3.free, n3.is_asleep) == (NodeState.DOWN, NOTHING, True)
    assert (n4.state, n4.is_asleep) == (NodeState.DOWN, False)  # somebody else has woken it
    _, _, woken, booting = nodes(POWER, wake=True)
    assert (woken.state, woken.free, woken.is_asleep, woken.leaving) == (NodeState.IDLE, woken.total, False, "")
    assert booting.state is NodeState.DOWN  # and does not respond yet


@pytest.mark.parametrize(
    ("word", "state", "woken"),
    [
        ("IDLE+CLOUD+POWERED_DOWN", NodeState.DOWN, NodeState.IDLE), ("idle~", NodeState.DOWN, NodeState.IDLE),
        ("ALLOCATED+CLOUD+POWERING_UP", NodeState.DOWN, NodeState.ALLOCATED), ("mix#", NodeState.DOWN, None),
        ("IDLE+POWERING_DOWN", NodeState.DOWN, NodeState.DOWN), ("idle%", NodeState.DOWN, NodeState.DOWN),
        ("IDLE+POWER_DOWN", NodeState.DOWN, NodeState.DOWN), ("IDLE!", NodeState.DOWN, NodeState.DOWN),
        ("MIXED+POWER_DRAIN", NodeState.DRAINED, NodeState.DRAINED),
        ("IDLE+DRAIN+POWERED_DOWN", NodeState.DRAINED, NodeState.DRAINED),
        ("DOWN+CLOUD+POWERED_DOWN", NodeState.DOWN, NodeState.DOWN),
        ("IDLE+RESERVED+POWERED_DOWN", NodeState.RESERVED, NodeState.RESERVED),
        ("IDLE+PLANNED", NodeState.IDLE, NodeState.IDLE), ("MIXED-", NodeState.MIXED, NodeState.MIXED),
        ("IDLE$", NodeState.RESERVED, NodeState.RESERVED), ("IDLE@", NodeState.DRAINED, NodeState.DRAINED),
        ("IDLE^", NodeState.DOWN, NodeState.DOWN), ("ALLOCATED+BLOCKED", NodeState.DRAINED, NodeState.DRAINED),
        ("IDLE+DYNAMIC_NORM", NodeState.IDLE, NodeState.IDLE), ("IDLE+EXTERNAL", NodeState.DOWN, NodeState.DOWN),
        ("FUTURE+DYNAMIC_FUTURE", NodeState.UNKNOWN, NodeState.UNKNOWN),
    ],
)  # fmt: skip
def test_what_a_state_means_with_and_without_leave_to_wake(word, state, woken):
    assert node_state(word) is state
    if woken is not None:
        assert node_state(word, wake=True) is woken


def test_a_node_that_an_admin_powers_down_is_left():
    assert leaving("MIXED+POWER_DOWN") == leaving("MIXED+POWER_DRAIN") == "it is being powered down"
    assert leaving("IDLE+POWERED_DOWN") == "it is powered down"


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("gpu:a100:0(IDX:N/A),shard:a100:1(IDX:0),mps:0", 1),  # 22.05: three shards of the first GPU
        ("gpu:0(IDX:N/A),shard:3(2/4,1/4,0/4)", 2), ("gpu:a100:1(IDX:0),shard:a100:2(IDX:1,3)", 3),
        ("gpu:tesla:0(IDX:N/A),mps:tesla:50(50/200,0/200)", 1), ("gpu:0,shard:0,mps:0", 0), ("gpu:2(IDX:0-1)", 2),
        ("gpu:1g.10gb:3(IDX:0-2)", 3), ("N/A", 0), ("", 0),
    ],
)  # fmt: skip
def test_gpus_in_use_count_those_that_are_shared(word, count):
    assert gpus_in_use(word) == count


def test_types_of_gpus_are_named_as_the_site_names_them():
    assert gpu_types("gpu:a100:2(S:0-1),gpu:1g.10gb:7(S:0),shard:8,gpu:1") == ("a100:2", "1g.10gb:7")
    assert gpu_types("(null)") == ()


def test_a_node_that_is_given_out_several_times_has_nothing_free_and_not_less():
    line = "NodeName=n1 CPUAlloc=6 CPUTot=4 Gres=gpu:1 GresUsed=gpu:2 RealMemory=100 AllocMem=300 State=ALLOCATED"
    [found] = nodes(line)
    assert found.free == NOTHING


def test_one_odd_node_hides_no_other_and_is_never_free():
    odd: list[str] = []
    first, second, *_ = POWER.splitlines()
    broken = second.replace("CPUAlloc=1", "CPUAlloc=INVALID")
    found = nodes("\n".join([first, broken, *POWER.splitlines()[2:]]), odd=odd)
    assert [node.name for node in found] == ["n1", "n2", "n3", "n4"]
    assert (found[1].state, found[1].free, found[1].partitions) == (
        NodeState.UNKNOWN, NOTHING, ("prime", "harvest"),
    )  # fmt: skip
    assert len(odd) == 1
    assert "n2" in odd[0]


def test_where_most_nodes_are_odd_the_answer_is_refused():
    with pytest.raises(SchedulerUnavailable, match="a node of scontrol"):
        nodes(POWER.replace("RealMemory=4000", "RealMemory=N/A"))


def test_a_slurm_that_hides_its_nodes_is_told_as_that():
    with pytest.raises(SchedulerUnavailable, match="PrivateData=nodes"):
        nodes("No nodes in the system\n")
