"""PBS's nodes: recorded answers of `pbsnodes`, read."""

import json
import time
from pathlib import Path

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.pbs.nodes import hosts, nodes, vnode_list

SAMPLES = Path(__file__).parent / "samples"
N = NodeState


def read(text):
    return {node.name: node for node in nodes(vnode_list(text), lambda vnode: ("q",))}


def recorded(name):
    return read((SAMPLES / f"{name}.nodes.json").read_text())


def made(name="n1", **fields):
    plain = {"state": "free", "resources_available": {"host": "n1", "ncpus": 4}, "resources_assigned": {}}
    return json.dumps({"nodes": {name: plain | fields}})


def test_only_what_is_exactly_free_has_room():
    found = recorded("exclhost")
    assert {name: (node.state, node.free.cpus) for name, node in found.items()} == {
        "pn1": (N.MIXED, 1),
        "pn2": (N.ALLOCATED, 0),  # job-exclusive: three of its four cpus are unassigned, and not free
        "pn3": (N.RESERVED, 0),  # provisioning
        "pn4": (N.IDLE, 4),  # two of its three vnodes are offline
    }
    assert found["pn4"].total == Resources(cpus=4, memory_mb=16384)


def test_vnodes_of_a_host_are_one_node():
    node = recorded("stale")["pn4"]
    assert (node.state, node.total, node.free) == (N.IDLE, Resources(cpus=12, gpus=2, memory_mb=49152), node.total)
    assert hosts(vnode_list((SAMPLES / "stale.nodes.json").read_text()))["pn4[1]"] == "pn4"


def test_more_assigned_than_there_is_leaves_nothing():
    node = recorded("reserved")["pn3"]  # a reservation over a batch job: 6 of 4 cpus assigned
    assert (node.state, node.free) == (N.RESERVED, Resources(cpus=0))
    assert read(made(resources_assigned={"ncpus": 7, "mem": "9gb"}))["n1"].free.cpus == 0


def test_a_node_without_a_mom_is_down_and_left_with_its_comment():
    node = recorded("down-mom-killed")["pn2"]
    assert (node.state, node.leaving) == (N.DOWN, "it is down: node down: communication closed")


@pytest.mark.parametrize(
    ("state", "expected", "leaves"),
    [
        ("free", N.IDLE, False),
        ("job-busy", N.ALLOCATED, False),
        ("job-exclusive", N.ALLOCATED, False),
        ("busy", N.ALLOCATED, False),
        ("resv-exclusive", N.RESERVED, False),
        ("job-exclusive,resv-exclusive", N.RESERVED, False),
        ("offline", N.DRAINED, True),
        ("offline,job-busy", N.DRAINED, True),
        ("maintenance", N.DRAINED, True),
        ("down", N.DOWN, True),
        ("down,offline", N.DOWN, True),
        ("Stale", N.DOWN, True),
        ("sleep", N.DOWN, True),
        # After a restart of the server all nodes are this for some seconds: no reason to leave.
        ("state-unknown", N.UNKNOWN, False),
        ("state-unknown,down", N.DOWN, False),
        ("state-unknown,offline", N.DRAINED, False),
        ("<various>", N.UNKNOWN, False),
        ("something new", N.UNKNOWN, False),
    ],
)
def test_each_state_is_understood(state, expected, leaves):
    node = read(made(state=state))["n1"]
    assert (node.state, bool(node.leaving)) == (expected, leaves)
    assert (node.free.cpus > 0) == (state == "free")


@pytest.mark.parametrize("name", ["sleep", "sleep-offline", "place-excl", "mixed"])
def test_a_node_that_is_not_free_offers_nothing(name):
    for node in recorded(name).values():
        assert node.state in {N.IDLE, N.MIXED} or node.free == Resources(cpus=0)


def test_values_are_texts_whatever_json_has_made_of_them():
    assert "color=7" in recorded("numbers")["pn2"].features
    assert recorded("comment")["pn2"].state is N.IDLE
    odd = made(comment={"a": 1}, resources_available={"host": 12, "ncpus": "4", "site": None, "mem": "1gw"})
    (node,) = read(odd).values()
    assert (node.name, node.total) == ("12", Resources(cpus=4, memory_mb=8192))


def test_an_offline_node_is_left_for_the_reason_that_its_admin_wrote():
    assert recorded("offline-comment-running")["pn1"].leaving == "it is offline: harvester: gpu 0 broken, see #12"


def test_one_byte_that_is_not_utf8_does_not_spoil_the_answer():
    text = made(comment="gr\\u00fc").encode().replace(b"\\\\u00fc", b"\xfc").decode(errors="replace")
    assert read(text)["n1"].state is N.IDLE


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"nodes": 7}', '{"nodes": {"n1": 7}}', '{"nodes": {"n1": {}}}', "[" * 100_000,
     made(resources_available={"ncpus": "viel"}), made(jobs=["no id"]), made()[:-10]],
)  # fmt: skip
def test_an_answer_that_is_not_understood_is_no_answer(text):
    with pytest.raises(SchedulerUnavailable, match="cannot be read"):
        vnode_list(text)


def test_one_odd_node_hides_no_other_and_offers_nothing():
    document = json.loads(made())
    document["nodes"] |= {"n2": document["nodes"]["n1"] | {"resources_available": {"host": "n2", "ncpus": 4}}}
    document["nodes"] |= {"odd": {"state": "free", "resources_available": {"ncpus": "viel"}}}
    odd: list[str] = []
    found = {node.name: node for node in nodes(vnode_list(json.dumps(document), odd=odd), lambda vnode: ())}
    assert (found["n1"].state, found["odd"].state, found["odd"].free.cpus) == (N.IDLE, N.UNKNOWN, 0)
    assert len(odd) == 1


def test_ten_thousand_nodes_are_read_within_a_second():
    one = json.loads((SAMPLES / "stale.nodes.json").read_text())["nodes"]["pn1"]
    text = json.dumps(
        {
            "nodes": {
                f"n{number}": one | {"resources_available": one["resources_available"] | {"host": f"n{number}"}}
                for number in range(10_000)
            }
        }
    )
    begun = time.process_time()
    assert len(read(text)) == 10_000
    assert time.process_time() - begun < 1.0
