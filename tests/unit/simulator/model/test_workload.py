"""Invocations on the pilots of a simulation."""

import json

import pytest

from harvester.simulator.errors import SimulationError
from harvester.simulator.model import workload
from harvester.simulator.model.workload import FunctionLoad, Workload
from harvester.simulator.report.report import Interval


def run(load, *spans, evicted=False, to_at=1000.0):
    intervals = [Interval(ready_at=low, ends_at=high, is_evicted=evicted) for low, high in spans]
    return workload.run(Workload(functions=(load,)), intervals, from_at=0.0, to_at=to_at, seed=1)["all"]


def rare(duration, **more):
    """Invoke about once in all, so that what happens to it can be told."""
    return FunctionLoad(name="f", rate_per_minute=0.12, duration_s=duration, **more)


def test_everything_succeeds_while_a_pilot_is_there():
    found = run(FunctionLoad(name="f", rate_per_minute=6.0, duration_s=1.0), (0.0, 1000.0))
    assert found.invocations > 50
    assert found.succeeded + found.unfinished == found.invocations
    assert found.unfinished <= 1
    assert (found.restarts, found.lost_work_s) == (0, 0.0)
    assert found.latency_p50_s == pytest.approx(1.0)


def test_without_a_pilot_nothing_ends():
    found = run(FunctionLoad(name="f", rate_per_minute=6.0, duration_s=1.0))
    assert (found.succeeded, found.success_share, found.latency_p50_s) == (0, 0.0, None)
    assert found.unfinished == found.invocations


def test_a_function_without_checkpoints_starts_again_and_its_work_is_lost():
    found = run(rare(300.0), (0.0, 600.0), (600.0, 1000.0))
    with_checkpoints = run(rare(300.0, checkpoint_interval_s=10.0), (0.0, 600.0), (600.0, 1000.0))
    assert found.restarts >= 1
    assert found.resumed == 0
    assert found.lost_work_s > with_checkpoints.lost_work_s
    assert with_checkpoints.lost_work_s < 10.0 * with_checkpoints.restarts
    assert with_checkpoints.resumed == with_checkpoints.restarts


def test_an_invocation_that_has_waited_too_long_expires():
    found = run(FunctionLoad(name="f", rate_per_minute=6.0, duration_s=1.0, expires_s=5.0), (500.0, 1000.0))
    assert found.expired > 10
    assert found.wait_p99_s <= 5.0


def test_the_same_seed_gives_every_policy_the_same_invocations():
    load = FunctionLoad(name="f", rate_per_minute=6.0, duration_s=1.0)
    assert run(load, (0.0, 500.0)).invocations == run(load, (100.0, 900.0)).invocations


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"functions": []}, "at least one function"),
        ({"functions": [{"name": "f", "rate_per_minute": 1}]}, "duration_s"),
        ({"functions": [{"name": "f", "rate_per_minute": 0, "duration_s": 1}]}, "rate_per_minute"),
        ({"functions": [{"name": "f", "rate_per_minute": 1, "duration_s": -1}]}, "duration_s"),
        ({"functions": [{"name": "f", "rate_per_minute": 1, "duration_s": 1, "colour": 1}]}, "colour"),
        ({"functions": [{"name": "all", "rate_per_minute": 1, "duration_s": 1}]}, "all"),
    ],
)
def test_a_wrong_workload_is_refused_by_the_name_of_what_is_wrong(tmp_path, document, word):
    path = tmp_path / "workload.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SimulationError, match=word):
        workload.read(path)


def test_too_many_invocations_are_refused():
    with pytest.raises(SimulationError, match="invocations"):
        run(FunctionLoad(name="f", rate_per_minute=1e9, duration_s=1.0), to_at=1e6)
