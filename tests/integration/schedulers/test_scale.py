"""Many pilots, many nodes, long queues: on Slurm and on PBS."""

import time
from datetime import timedelta

import pytest
from benchmarks import scheduler_answers
from support.fake_cluster.model.records import Amount, Manners, Wish
from support.fake_cluster.site import nodes

from harvester.domain.harvest.planning import HarvestSettings, Shape
from harvester.domain.model.resources import Resources
from harvester.domain.supervision.looks import LookSettings

pytestmark = pytest.mark.timeout(300)  # seconds alone; minutes on a machine that does much else

PILOTS = 1000
MOST_PARSING_S = 3.0  # the promise is 1 s, and kept by a machine that does nothing else: benchmarks.scheduler_answers
MOST_TICK_S = 20.0  # with the fake's own share, and other tests beside it


def test_a_thousand_pilots_are_submitted_and_tracked_with_a_look_a_tick_at_most(make_site, kind):
    shape = Shape(name="cpu", partition="harvest", resources=Resources(cpus=2), ready=PILOTS)
    site = make_site(
        kind,
        nodes=nodes(PILOTS // 2),
        looks=LookSettings(again=timedelta(0)),  # whenever somebody asks: each tick looks
        harvest=HarvestSettings(
            shapes=(shape,), lengths=(timedelta(minutes=90),), max_pilots=PILOTS, max_pending=PILOTS
        ),
    )
    for _ in range(6):
        looks = site.looks
        site.pass_time()
        assert site.looks - looks <= 1
    assert len(site.running_pilots()) == PILOTS
    assert {str(pilot.state) for pilot in site.pilots()} == {"ready"}
    site.assert_nothing_is_lost(PILOTS)
    assert site.calls(site.kind.submits) == PILOTS


def test_ten_thousand_nodes_and_twenty_thousand_batch_jobs_are_read_in_a_moment(kind):
    read = scheduler_answers.reader(kind, scheduler_answers.cluster(kind))
    assert read() == (10_000, 20_000)
    assert min(scheduler_answers.cpu_s(read) for _ in range(3)) < MOST_PARSING_S


def starts(site, queue_length):
    """Return when pilots started beside a queue of prime batch jobs that wait for more nodes than are idle."""
    cluster = site.cluster
    cluster.submit(Wish(queue="prime", nodes=2, each=Amount(4), limit_s=7200.0), Manners(lasts_s=7200.0))
    for number in range(queue_length):
        cluster.submit(Wish(queue="prime", name=f"waits-{number}", nodes=3, each=Amount(4), limit_s=3600.0))
    site.server.advance(1)
    took = []
    for _ in range(6):
        site.server.advance(5)
        site.call_gateway()
        begun = time.perf_counter()
        site.daemon.tick()
        took.append(time.perf_counter() - begun)
    return sorted(batch.started_at for batch in site.running_pilots()), max(took)


def test_a_queue_of_twenty_thousand_changes_nothing_in_the_pilots_start(make_site, kind):
    alone, _ = starts(make_site(kind, nodes=nodes(4), ready=4), 1)
    beside, took_s = starts(make_site(kind, nodes=nodes(4), ready=4), 20_000)
    assert len(alone) == 4
    assert beside == alone
    assert took_s < MOST_TICK_S
