"""Alice and bob, each with a harvester of their own on the login node, beside the one for everybody."""

from collections.abc import Iterator

import pytest
from support.containers import Caller, Containers, Site, until

pytestmark = pytest.mark.timeout(300)

PORTS = {"alice": 8331, "bob": 8332}


@pytest.fixture
def own(site: Site) -> Iterator[dict[str, Caller]]:
    """Yield alice and bob, whose commands reach the harvesters that they run themselves."""
    qos = f"--set scheduler.slurm.qos={site.qos}" if site.qos else ""
    for user, port in PORTS.items():
        words = f"cd && exec harvester up --scheduler slurm --state own --port {port} --ready 1 {qos} >own.log 2>&1"
        site.containers.begin("login", "bash", "-c", words, user=user)
    yield {user: caller(site.containers, user, port) for user, port in PORTS.items()}
    for user in PORTS:
        site.containers.ask("login", "pkill", "-INT", "-u", user, "-f", "harvester up")
    for user in PORTS:
        until(lambda user=user: not is_up(site.containers, user), f"{user}'s harvester to end", 60)
        site.containers.run("login", "rm", "-rf", f"/home/{user}/own")


def caller(containers: Containers, user: str, port: int) -> Caller:
    """Return the user with the address and the token of their own harvester, once it listens."""
    until(lambda: containers.ask("login", "test", "-e", f"/home/{user}/own/endpoint.json")[0] == 0, "a gateway", 60)
    token = containers.run("login", "cat", f"/home/{user}/own/tokens/user", user=user)
    return Caller(containers, user, (f"HARVESTER_URL=http://login:{port}", f"HARVESTER_TOKEN={token}"))


def is_up(containers: Containers, user: str) -> bool:
    return containers.ask("login", "pgrep", "-u", user, "-f", "harvester up")[0] == 0


def test_each_users_pilots_and_functions_are_their_own(site: Site, own):
    for user, caller in own.items():
        caller.register("where")
        assert caller.result(caller.invoke("where"))["user"] == user
    queue = site.slurm("squeue", "-h", "-p", "harvest", "-t", "R", "-o", "%u").split()
    assert {"alice", "bob"} <= set(queue)


def test_a_user_opens_neither_the_gateway_nor_the_state_of_another(site: Site, own):
    token = site.alice.run("cat", "/home/alice/own/tokens/user")
    at_bobs = ("--url", f"http://login:{PORTS['bob']}", "--token", token)
    code, told = site.containers.ask("login", "harvester", *at_bobs, "whoami", user="alice")
    assert code == 1, told
    assert "token" in told
    code, told = site.containers.ask("login", "ls", "/home/bob/own", user="alice")
    assert code != 0
    assert "Permission denied" in told


def test_a_prime_job_evicts_a_users_own_pilot_and_the_function_resumes_under_their_name(site: Site, own):
    alice = own["alice"]
    alice.register("count", "--checkpoints")
    invocation_id = alice.invoke("count", 150, 0.1)
    first = alice.saved(invocation_id)["nodes"][-1]
    site.prime_wait_s(site.prime(f"--nodelist={first}", seconds=15))
    made = alice.result(invocation_id)
    assert len(made) == 150
    assert set(made) - {first}
