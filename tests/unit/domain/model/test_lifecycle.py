"""Transition tables: what follows, what is final, and what the table does not allow."""

from enum import StrEnum

import pytest

from harvester.domain.model.lifecycle import IllegalTransition, Lifecycle


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


class Press(StrEnum):
    ON = "on"
    OFF = "off"


LIGHTS = Lifecycle(
    "light", Light.RED, {(Light.RED, Press.ON): Light.GREEN, (Light.GREEN, Press.OFF): Light.OFF}
)  # fmt: skip


def test_a_row_says_what_follows():
    assert LIGHTS.advance(Light.RED, Press.ON) is Light.GREEN
    assert LIGHTS.allows(Light.RED, Press.ON)


@pytest.mark.parametrize(("state", "event"), [(Light.RED, Press.OFF), (Light.OFF, Press.ON)])
def test_what_has_no_row_is_refused_with_the_names(state, event):
    assert not LIGHTS.allows(state, event)
    with pytest.raises(IllegalTransition) as refused:
        LIGHTS.advance(state, event)
    assert refused.value.__suppress_context__, "the missing key says nothing to a reader"
    for word in ("light", state.name, event.name):
        assert word in str(refused.value)


def test_a_state_that_no_row_leaves_is_final():
    assert LIGHTS.final == {Light.OFF}
