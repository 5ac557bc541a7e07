"""Reservations of every kind that Slurm makes, as it showed them (22.05.8)."""

from pathlib import Path

from harvester_adapters.slurm.slow_look import Slow, floated
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.reservations import reservations

KINDS = (Path(__file__).parent / "samples" / "22.05.8" / "kinds.reservation.txt").read_text()
SITE = SiteConfig(version="22.05.8", preempt_type="preempt/none", preempt_mode="OFF")
LICENSES = (
    "ReservationName=lic StartTime=2026-11-29T08:28:07 EndTime=2026-11-29T08:58:07 Duration=00:30:00 Nodes=(null)"
    " NodeCnt=0 CoreCnt=0 Features=(null) PartitionName=(null) Flags=ANY_NODES TRES=(null) Licenses=fluent:2\n"
)


def test_each_kind_names_its_nodes_and_its_time():
    found = {each.name: each for each in reservations(KINDS)}
    assert {name: each.nodes for name, each in found.items()} == {
        "float": ("n3",), "part": ("n1", "n2", "n3", "n4", "n5"), "over": ("n3",), "core": ("n4",),
    }  # fmt: skip
    assert [name for name, each in found.items() if each.is_floating] == ["float"]
    assert found["over"].end_at - found["over"].start_at == 365 * 86_400  # without an end Slurm says a year
    assert found["core"].start_at == 1795940887  # 2026-11-29T08:28:07Z


def test_one_of_licenses_only_takes_no_nodes():
    assert len(reservations(KINDS + LICENSES)) == len(reservations(KINDS)) == 4


def test_the_start_of_a_floating_one_moves_on_with_the_clock():
    """Measured: asked again after 61 s, Slurm showed its start and its end 61 s later."""
    slow = Slow(site=SITE, partitions=(), reservations=reservations(KINDS))
    later = floated(slow, 61)
    before, after = slow.reservations[0], later.reservations[0]
    assert (after.start_at, after.end_at) == (before.start_at + 61, before.end_at + 61)
    assert later.reservations[1:] == slow.reservations[1:]


def test_one_that_cannot_be_read_is_left_out_and_said():
    odd: list[str] = []
    found = reservations(KINDS.replace("StartTime=2026-11-29T10:18:07", "StartTime=INVALID"), odd=odd)
    assert [each.name for each in found] == ["float", "over", "core"]
    assert "ReservationName=part" in odd[0]


def test_years_past_2038_are_years():
    [found] = reservations(LICENSES.replace("Nodes=(null)", "Nodes=n1").replace("EndTime=2026", "EndTime=2106"))
    assert found.end_at is not None
    assert found.end_at > 2**32
