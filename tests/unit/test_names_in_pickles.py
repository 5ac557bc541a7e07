"""Names of ours that are in pickles of users: registered functions live in a store longer than a release does."""

import pickle

import pytest

from harvester.domain.model.context import context
from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.payload.exceptions import remade
from harvester.sdk.registration.decorator import function
from harvester.sdk.registration.function_pickles import restored
from harvester.sdk.registration.functions import Function

# As released functions and checkpoints name them: nothing is taken away here.
PICKLED = {
    "harvester.domain.context context": context,
    "harvester.domain.invocations Failure": Failure,
    "harvester.domain.invocations FailureKind": FailureKind,
    "harvester.domain.model.context context": context,
    "harvester.domain.model.invocations Failure": Failure,
    "harvester.domain.payload.exceptions remade": remade,
    "harvester.domain.raised remade": remade,
    "harvester.sdk.function_pickles restored": restored,
    "harvester.sdk.functions Function": Function,
    "harvester.sdk.functions function": function,
    "harvester.sdk.registration.decorator function": function,
    "harvester.sdk.registration.function_pickles restored": restored,
    "harvester.sdk.registration.functions Function": Function,
}


@pytest.mark.parametrize("named", PICKLED)
def test_what_a_pickle_names_is_found_wherever_it_has_moved(named):
    assert pickle.loads(f"c{named.replace(' ', chr(10))}\n.".encode()) is PICKLED[named]  # noqa: S301 - made here
