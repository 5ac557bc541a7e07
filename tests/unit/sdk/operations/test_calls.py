"""Calls by name."""

import pytest

from harvester.sdk.operations import calls


@pytest.mark.parametrize("encoding", ["yaml", "calls", ""])
@pytest.mark.parametrize("call", [calls.invoke, calls.start])
def test_an_encoding_that_is_none_is_told_with_those_that_are(call, encoding):
    with pytest.raises(ValueError, match=f'encoding must be "json" or "pickle", not {encoding!r}'):
        next(call("area", [1], encoding=encoding))
