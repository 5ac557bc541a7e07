"""How often a site's scheduler is asked, out of its configuration."""

import pytest

from harvester.cli.up.build_looks import look_settings
from harvester.config_file import load_config


def looks(**harvest):
    overrides = {f"harvest.{key}": value for key, value in harvest.items()}
    return look_settings(load_config(None, {"scheduler.kind": "slurm"} | overrides))


def test_the_emulated_cluster_may_be_asked_at_every_tick():
    found = look_settings(load_config(None))
    assert (found.rest.total_seconds(), found.per_minute) == (0, None)


def test_with_preemption_looks_are_rare_and_share_a_budget():
    found = looks(ready=0)
    assert (found.rest.total_seconds(), found.busy.total_seconds()) == (60, 20)
    assert (found.glance, found.per_minute) == (None, 8)


@pytest.mark.parametrize(("mode", "bound_s", "glance_s"), [("strict", 15, 1), ("yielding", 15, 3), ("yielding", 2, 1)])
def test_without_it_glances_come_as_often_as_the_promise_needs_and_wait_for_no_budget(mode, bound_s, glance_s):
    found = looks(mode=mode, max_delay_s=bound_s)
    assert found.glance.total_seconds() == glance_s
    assert found.per_minute is None


@pytest.mark.parametrize("wish", [{"everything": True, "policy": "gap", "ready": 0}, {"ready": 1}])
def test_who_wants_pilots_without_work_is_never_at_rest(wish):
    found = looks(**wish)
    assert found.rest == found.busy
