"""The controller and the gateway end and come back while functions run."""

import pytest
from support.containers import Site, until

pytestmark = pytest.mark.timeout(300)


def test_a_controller_that_is_restarted_interrupts_no_function(site: Site):
    site.alice.register("count", "--checkpoints")
    invocation_id = site.alice.invoke("count", 150, 0.1)
    site.alice.saved(invocation_id)
    site.containers.restart("controller")
    assert len(site.alice.result(invocation_id)) == 150
    assert site.alice.document(invocation_id)["attempts"] == 1, "pilots do not need the controller"

    until(site.node_states, "the controller to answer")
    assert len(site.alice.result(site.alice.invoke("count", 3, 0.1))) == 3
    site.prime_wait_s(site.prime("--nodes=1", seconds=1))


def test_work_that_comes_while_the_controller_is_dead_is_done(site: Site):
    site.alice.register("count", "--checkpoints")
    site.containers.kill("controller")
    invocations = [site.alice.invoke("count", 100, 0.1) for _ in range(6)]
    until(lambda: "did not answer" in site.admin.run("harvester", "status"), "the daemon to say so")
    site.containers.start("controller")
    assert [len(site.alice.result(invocation_id)) for invocation_id in invocations] == [100] * 6


def test_a_gateway_that_is_killed_and_started_again_loses_nothing(site: Site):
    site.alice.register("count", "--checkpoints")
    invocation_id = site.alice.invoke("count", 200, 0.1)
    site.alice.saved(invocation_id)
    site.containers.kill("login")
    site.containers.start("login")
    until(lambda: site.containers.ask("login", "harvester", "whoami")[0] == 0, "the gateway to answer")
    assert len(site.alice.result(invocation_id)) == 200
