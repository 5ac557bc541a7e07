"""Looking: what the daemon's own questions cost its budget."""

from datetime import timedelta

from harvester.daemon.observing.looking import Looking
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.supervision.looks import Cause, Facts, LookSettings

SETTINGS = LookSettings(rest=timedelta(seconds=30), busy=timedelta(seconds=15), per_minute=12, burst=4)


class Scheduler:
    """Answers; a look costs five commands."""

    commands = 0

    def snapshot(self):
        self.commands += 5
        return ClusterSnapshot(taken_at=0.0, scheduler="s", nodes=(), batch_jobs=(), partitions=())


def test_what_the_start_costs_does_not_put_off_the_look_at_the_first_pilots():
    scheduler, now, facts = Scheduler(), [100.0], Facts(pilots=1, waiting=0)
    looking = Looking(SETTINGS, scheduler, lambda: now[0])
    assert looking.due(facts, now[0]).cause is Cause.START
    snapshot = looking.full((), facts)
    scheduler.commands += 1  # the first pilot is submitted
    looking.expect(snapshot, ours=(), due=(now[0] + 8,))
    now[0] += 8
    look = looking.due(facts, now[0])
    assert look is not None, "it would wait for the clock else, and tell 15 s later why the pilot has failed"
    assert look.cause is Cause.DUE
