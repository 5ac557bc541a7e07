"""Prime batch jobs take nodes back, containers die: what ran there goes on elsewhere, once."""

import time

import pytest
from support.containers import NODES, Site, until

pytestmark = pytest.mark.timeout(300)


def stretches(made: list[str]) -> list[str]:
    """Return the hosts of a count's steps in their order, each stretch on one host once."""
    return [host for host, before in zip(made, [None, *made], strict=False) if host != before]


def test_a_prime_job_takes_the_node_of_a_function_which_goes_on_at_another(site: Site, figures):
    site.alice.register("count", "--checkpoints")
    invocation_id = site.alice.invoke("count", 150, 0.1)
    first = site.alice.saved(invocation_id)["nodes"][-1]

    prime = site.prime(f"--nodelist={first}", seconds=20)
    waited_s = site.prime_wait_s(prime)
    figures.add("prime job over the node of a function, submitted until it ran, s (Slurm's whole seconds)", waited_s)
    assert waited_s <= 10

    made = site.alice.result(invocation_id)
    assert len(made) == 150
    assert stretches(made)[0] == first
    assert len(stretches(made)) >= 2, "it should have gone on at another node"


def test_a_prime_job_over_all_nodes_runs_within_seconds_and_all_work_ends_right(site: Site, figures):
    site.alice.register("count", "--checkpoints")
    steps = [60 + number for number in range(6)]
    invocations = [site.alice.invoke("count", number, 0.1) for number in steps]
    site.alice.saved(invocations[-1])

    waited_s = site.prime_wait_s(site.prime(f"--nodes={len(NODES)}", seconds=5))
    figures.add("prime job over all four nodes, submitted until it ran, s (Slurm's whole seconds)", waited_s)
    assert waited_s <= 10

    assert [len(site.alice.result(invocation_id)) for invocation_id in invocations] == steps


def test_a_compute_node_that_dies_loses_no_work(site: Site, figures):
    site.alice.register("count", "--checkpoints")
    invocation_id = site.alice.invoke("count", 200, 0.1)
    first = site.alice.saved(invocation_id)["nodes"][-1]

    site.containers.kill(first)
    begun_at = time.monotonic()
    until(lambda: site.alice.document(invocation_id)["attempts"] > 1, "the function to run again")
    figures.add("compute container killed until its function was given to another node, s", time.monotonic() - begun_at)

    assert len(site.alice.result(invocation_id)) == 200
    assert first not in site.alice.document(invocation_id)["nodes"][1:], "its node was dead"


def test_a_node_that_is_cut_off_ends_nothing_twice(site: Site):
    site.alice.register("count", "--checkpoints")
    invocation_id = site.alice.invoke("count", 200, 0.1)
    first = site.alice.saved(invocation_id)["nodes"][-1]

    site.containers.cut_off(first)
    try:
        assert len(site.alice.result(invocation_id)) == 200
    finally:
        site.containers.reconnect(first)
    document = site.alice.document(invocation_id)
    assert [activation["end"] for activation in document["activations"]].count("succeeded") == 1
    assert document["nodes"][-1] != first
