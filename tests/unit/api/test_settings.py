"""What the gateway is told of the pilots that can be had."""

import msgspec
import pytest

from harvester.cli.up.build_gateway import gateway_settings
from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain.harvest.planning import Shape
from harvester.domain.model.resources import Resources
from harvester_api.problems import Refusal
from harvester_api.validation.functions import FunctionDraft, check_function, opened

SHAPES = (Shape(name="harvest", partition="harvest", resources=Resources(cpus=2)),)


def offers(**tables):
    config = msgspec.convert(tables, Config)
    return gateway_settings(config, SHAPES, lambda name: name).offers


@pytest.mark.parametrize(
    ("harvest", "longest_s"),
    [
        ({}, 90 * 60 - 30),
        ({"lengths_min": [2, 5]}, 300 - 30),
        ({"lengths_min": [2, 5], "policy": "fib"}, 300 - 30),
        ({"lengths_min": [2, 5], "policy": "gap", "longest_min": 60}, 300 - 30),  # longer ones come by chance only
    ],
)
def test_the_longest_run_is_what_the_longest_pilot_leaves_for_it(harvest, longest_s):
    assert [offer.longest_s for offer in offers(harvest=harvest)] == [longest_s]


def test_how_early_a_pilot_leaves_counts():
    shape = {"name": "harvest", "partition": "harvest", "leave_before_s": 60}
    assert offers(pilot=[shape])[0].longest_s == 90 * 60 - 75


def test_a_run_that_the_planner_would_never_submit_a_pilot_for_is_refused_at_the_door():
    draft = FunctionDraft(name="f", kind="module", body="m:f", walltime_s=5371)
    with pytest.raises(Refusal, match="the longest that fits into a configured pilot is 5370 s"):
        check_function(opened(draft), offers(), 1000)
    check_function(opened(msgspec.structs.replace(draft, walltime_s=5370)), offers(), 1000)
    check_function(opened(msgspec.structs.replace(draft, checkpoints=True)), offers(), 1000)


def test_every_user_of_the_configuration_has_a_token_and_a_share():
    tables = {"user": [{"name": "ada", "weight": 3, "max_running": 10}, {"name": "op", "admin": True}]}
    settings = gateway_settings(msgspec.convert(tables, Config), SHAPES, lambda name: f"token of {name}")
    found = {token.token: (token.role.value, token.weight, token.max_running) for token in settings.tokens}
    assert found == {
        "token of user": ("user", 1.0, None),
        "token of admin": ("admin", 1.0, None),
        "token of ada": ("user", 3.0, 10),
        "token of op": ("admin", 1.0, None),
    }


def test_two_users_with_one_token_are_refused():
    with pytest.raises(ConfigError, match=r"tokens/user, tokens/admin: both files contain the same token"):
        gateway_settings(Config(), SHAPES, lambda _: "same-token")
