"""Why an invocation waits: what is said of pilots that have not called yet."""

import pytest
from tests.support.dispatching import arrival, new, work

from harvester.domain.dispatch.explain import explain
from harvester.domain.model.pilots import PilotState

QUEUED, BOOTING, READY = PilotState.QUEUED, PilotState.BOOTING, PilotState.READY


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], "It waits: no pilot is alive."),
        ([BOOTING], "It waits: 1 pilot is starting."),
        ([BOOTING, BOOTING], "It waits: 2 pilots are starting."),
        ([PilotState.PLANNED, QUEUED], "It waits: 2 pilots are waiting in the scheduler's queue."),
        ([QUEUED, BOOTING], "It waits: 1 pilot is waiting in the scheduler's queue; 1 pilot is starting."),
    ],
)
def test_pilots_that_have_not_called_are_named(known, said):
    dispatcher = new()
    dispatcher.accept(work("i"), 0)
    assert explain(dispatcher, "i", 1, known).summary == said


def test_pilots_that_start_are_named_beside_those_that_are_full():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(cpus=1), 0)
    dispatcher.accept(work("first", walltime_s=50.0), 0)
    dispatcher.accept(work("second", walltime_s=50.0), 0)
    assert explain(dispatcher, "second", 1, [READY, BOOTING]).summary.endswith(
        ": 1 pilot is busy; 1 pilot is starting."
    )
