"""Every fault at every command, 100 ticks of the daemon each: what runs is what the daemon knows, and nothing twice.

In each run prime batch jobs evict pilots, an admin drains nodes, and pilots reach the ends of their walltimes. Two of
three calls of one command are spoiled for 65 ticks; then it has 35 to find out what became of everything.
"""

from collections import Counter
from datetime import timedelta

import pytest
from support.fake_cluster.faults import HANGING, Fault, FaultKind
from support.fake_cluster.kinds import PBS, SLURM
from support.fake_cluster.model.records import Amount, Manners, Wish
from support.fake_cluster.site import LOOKS, nodes

READY = 4
MOST_LOOKS = 60  # 28 without a fault: by the clock, after evictions, and when an admin says something
TICK_S = 5.0
# The command, and a word among the arguments that tells which question is meant.
COMMANDS = [
    (SLURM, "sbatch", ""),
    (SLURM, "squeue", ""),
    (SLURM, "scancel", ""),
    (SLURM, "scontrol", "node"),
    (SLURM, "scontrol", "uhold"),
    (SLURM, "scontrol", "release"),
    (SLURM, "scontrol", "config"),
    (SLURM, "scontrol", "partition"),
    (SLURM, "scontrol", "reservation"),
    (SLURM, "", ""),
    (PBS, "qsub", ""),
    (PBS, "qstat", ""),
    (PBS, "qdel", ""),
    (PBS, "pbsnodes", ""),
    (PBS, "qhold", ""),
    (PBS, "qrls", ""),
    (PBS, "qmgr", ""),
    (PBS, "pbs_rstat", ""),
    (PBS, "", ""),
]
RARE = {"config", "partition", "reservation", "qmgr", "pbs_rstat"}  # asked at each look here, once in a while else


def names(case):
    kind, command, about = case
    return "-".join(filter(None, (kind.name, command or "all", about)))


def story(site, tick):
    """What happens on the cluster meanwhile."""
    if tick in {10, 14, 40, 44}:
        site.cluster.submit(Wish(queue="prime", each=Amount(4)), Manners(lasts_s=80))
    if tick in {30, 58, 66}:
        site.drain("n1")
    if tick in {34, 62, 70}:
        site.drain()


@pytest.mark.parametrize("fault", list(FaultKind), ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("case", COMMANDS, ids=names)
def test_no_fault_doubles_a_pilot_or_loses_one(make_site, case, fault):
    kind, command, about = case
    is_rare = (about or command) in RARE
    site = make_site(
        kind,
        nodes=nodes(2),
        ready=READY,
        manners=Manners(leaves_s=6.0),
        timeout=timedelta(seconds=0.5 if fault in HANGING else 10.0),
        slow=timedelta(0) if is_rare else timedelta(minutes=30),
    )
    spoils = Fault(fault, command, calls=lambda number: number % 3 != 0, about=about)
    for tick in range(100):
        site.server.faults = [spoils] if 3 <= tick < 65 else []
        story(site, tick)
        site.pass_time(TICK_S)
        twice = [name for name, count in Counter(batch.wish.name for batch in site.alive()).items() if count > 1]
        assert not twice, f"tick {tick}"
        assert not any("the tick failed" in words for words in site.daemon._errors), site.daemon._errors
    assert spoils.spoiled, "nothing was spoiled"
    site.assert_nothing_is_lost(READY)
    assert site.looks <= MOST_LOOKS


@pytest.mark.parametrize("fault", list(FaultKind), ids=lambda fault: fault.name.lower())
def test_where_nothing_happens_no_fault_has_more_asked_than_the_rate(make_site, kind, fault):
    site = make_site(kind, nodes=nodes(2), ready=READY, timeout=timedelta(seconds=0.5 if fault in HANGING else 10.0))
    site.server.faults = [Fault(fault, calls=lambda number: number % 4 != 0)]
    site.pass_time(TICK_S, ticks=100)
    assert site.server.faults[0].spoiled
    # What the start costs is not counted by the daemon: a first look of five commands, and again while it fails.
    site.assert_commands_are_within(LOOKS.per_minute, beyond=LOOKS.burst + READY + 4 * 5)
