"""Which modules a walk is said to enter."""

from benchmarks.walks.__main__ import Step, told, until_frame, usual


def step(walk, module, function="f", process=1):
    return Step(walk, process, "MainThread", module, function)


def test_a_module_counts_when_most_walks_enter_it():
    steps = [step(1, "a"), step(1, "clock"), step(1, "b"), step(2, "a"), step(2, "b"), step(3, "a")]
    assert usual(steps, [1, 2, 3], lambda _: True) == ["a", "b"]


def test_the_gateway_s_walk_ends_with_the_frame_to_the_pilot_and_holds_nothing_of_other_programs():
    steps = [
        step(1, "harvester_api.app"),
        step(1, "harvester.daemon.daemon"),
        step(1, "harvester_worker.agent", process=2),
        step(1, "harvester_api.pilot_connection", "PilotLink._write"),
        step(1, "harvester_api.runtime.pilot_messages"),
    ]
    kept = until_frame(steps, [1], gateway=1)
    assert [each.module for each in kept] == ["harvester_api.app", "harvester_api.pilot_connection"]


def test_the_table_says_how_many_modules_are_outside_the_domain():
    assert "| a run | 2 | 1 |" in told({"a run": ["harvester.domain.model.resources", "harvester_worker.agent"]})
