"""Four hosts and a gateway on a fifth: who reaches whom, and what each slot is given."""

import json

import pytest
from support.containers import CPUS, GPUS, NODES, Site

pytestmark = pytest.mark.timeout(300)


def test_pilots_on_all_nodes_reach_the_gateway_of_the_login_node(site: Site):
    site.alice.register("where")
    found = site.alice.together("where", len(NODES) * CPUS)
    assert {each["host"] for each in found} == set(NODES)
    assert {each["user"] for each in found} == {"harvester"}, "pilots are the batch jobs of who runs the harvester"


def test_each_slot_with_a_gpu_is_told_its_own(site: Site):
    site.alice.register("where", "--name=gpu", "--gpus=1")
    found = site.alice.together("gpu", len(NODES) * GPUS)
    given = sorted({(each["host"], each["cuda"]) for each in found})
    assert given == [(node, str(device)) for node in NODES for device in range(GPUS)]


def test_a_function_without_gpus_is_told_of_none(site: Site):
    site.alice.register("where")
    assert not site.alice.result(site.alice.invoke("where"))["cuda"]


def test_slurm_has_prime_and_preemptible_partitions_and_users_with_both_qos(site: Site):
    told = site.slurm("scontrol", "show", "partition", "-o").splitlines()
    tiers = {line.split()[0].partition("=")[2]: "PriorityTier=10 " in line for line in told}
    assert tiers == {"prime": True, "harvest": False}
    if site.has_accounting:
        asked = ("show", "assoc", "user=alice,bob", "format=user,account,qos")
        rows = site.slurm("sacctmgr", "--noheader", "--parsable2", *asked).splitlines()
        assert sorted(rows) == [f"{user}|site|normal,scavenger" for user in ("alice", "bob")]


def test_the_commands_and_pyslurm_show_the_same_cluster(site: Site):
    if site.containers.ask("login", "/venv/bin/python", "-c", "import pyslurm")[0]:
        pytest.skip("pyslurm is not in this image: make test-compose BUILD=--pyslurm=DIR")
    for seconds in (60, 60, 60):
        site.prime("--nodes=3", seconds=seconds)
    told = site.containers.run("login", "/venv/bin/python", "/project/tests/acceptance/compose/both_sources.py")
    found = json.loads(told)
    assert found["used"] == ["pyslurm", ""]
    assert found["is_same"]
    assert found["nodes"] == len(NODES)
    assert found["jobs"] >= 3
