"""Nodes that nobody should be on any longer: pilots leave them, in time and with the reason, and keep out of them."""

import time

import pytest
from support.running import Running

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]


@pytest.fixture
def running(slurm, tmp_path):
    slurm.clear()
    options = (
        "--ready",
        "8",
        "--set",
        "harvest.max_pending=8",
        "--set",
        "harvest.look_s=4",
        "--set",
        "harvest.commands_per_min=60",
    )
    running = Running(tmp_path / "state", "--scheduler", "slurm", "--port", "0", *options)
    running.start()
    yield running
    running.stop()
    slurm.clear()


def on(slurm, node: str) -> str:
    return slurm.run("squeue", "--noheader", "--states=RUNNING", f"--nodelist={node}", "--format=%i")


def ready(client, count=8):
    return len([pilot for pilot in client.pilots() if pilot["state"] == "ready"]) >= count


def left(slurm, running, node: str, within_s: float = 20) -> float:
    begun_at = time.monotonic()
    running.wait_for(lambda: not on(slurm, node), f"the pilot to leave {node}", within_s)
    return time.monotonic() - begun_at


def reason_of(client, node: str) -> str:
    return " ".join(pilot["reason"] or "" for pilot in client.pilots(all=True) if pilot["node"] == node)


def test_pilots_leave_a_node_that_is_drained_and_come_back_when_it_is_resumed(slurm, running, figures):
    with running.client() as client:
        running.wait_for(lambda: ready(client), "8 ready pilots", 60)
        slurm.run("scontrol", "update", "nodename=n3", "state=drain", "reason=disk swap")
        try:
            figures.add("node drained until its pilot has left (look_s = 4), s", left(slurm, running, "n3"))
            assert "disk swap" in reason_of(client, "n3")
            time.sleep(6)
            assert not on(slurm, "n3")
        finally:
            slurm.run("scontrol", "update", "nodename=n3", "state=resume")
        running.wait_for(lambda: on(slurm, "n3"), "a pilot on the node again", 60)


def test_pilots_leave_nodes_whose_reservation_begins(slurm, running):
    with running.client() as client:
        running.wait_for(lambda: ready(client), "8 ready pilots", 60)
        slurm.run(
            "scontrol", "create", "reservation", "ReservationName=course", "StartTime=now", "Duration=10",
            "Nodes=n4", "Users=root", "Flags=IGNORE_JOBS",
        )  # fmt: skip
        try:
            left(slurm, running, "n4", 30)
            assert on(slurm, "n5"), "others stay"
        finally:
            slurm.run("scontrol", "delete", "ReservationName=course")


def test_an_admin_drains_nodes_so_that_a_reservation_finds_them_free(slurm, running, figures):
    with running.client() as client:
        running.wait_for(lambda: ready(client), "8 ready pilots", 60)
        client.drain(["n1", "n2"])
        figures.add("harvester drain until the pilot has left, s", left(slurm, running, "n1", 10))
        left(slurm, running, "n2", 10)
        assert "harvester drain" in reason_of(client, "n1")
        slurm.run(
            "scontrol", "create", "reservation", "ReservationName=maint", "StartTime=now", "Duration=10",
            "Nodes=n1,n2", "Users=root", "Flags=MAINT",
        )  # fmt: skip
        slurm.run("scontrol", "delete", "ReservationName=maint")
        client.undrain(["n1", "n2"])
        running.wait_for(lambda: on(slurm, "n1") and on(slurm, "n2"), "pilots on the nodes again", 60)


def test_at_rest_few_commands_are_sent_and_work_is_answered_within_three_seconds(slurm, tmp_path, figures):
    slurm.clear()
    running = Running(tmp_path / "rest", "--scheduler", "slurm", "--port", "0", "--ready", "0").start()
    try:
        with running.client() as client:
            time.sleep(65)  # the first minute has the first looks
            assert client.daemon()["note"]["commands_per_minute"] <= 4
            begun_at = time.time()
            future = client.submit(abs, -3)
            running.wait_for(client.pilots, "a pilot", 10)
            submitted_s = min(pilot["planned_at"] for pilot in client.pilots()) - begun_at
            figures.add("work arrives at rest until the first pilot is submitted, s", submitted_s)
            assert submitted_s < 3
            assert future.result(timeout=30) == 3
    finally:
        running.stop()
        slurm.clear()
