import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import InvocationState
from harvester.domain.protocol import stream
from harvester.sdk.submit.result_stream import frames


def ended(number):
    return stream.Ended(
        invocation_id=f"i-{number}", state=InvocationState.SUCCEEDED, encoding=Encoding.PICKLE, value=b"v" * number
    )


@given(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=6), st.lists(st.integers(0, 800), max_size=8))
async def test_frames_are_heard_whole_however_the_flow_is_cut(sent, cuts):
    flow = b"".join(stream.encode([ended(number) for number in frame]) for frame in sent)
    places = sorted({0, len(flow), *(min(cut, len(flow)) for cut in cuts)})

    async def pieces():
        for start, end in itertools.pairwise(places):
            yield flow[start:end]

    heard = []
    await frames(pieces(), heard.append)
    assert heard == [[ended(number) for number in frame] for frame in sent]


async def test_what_is_no_frame_is_an_error():
    async def pieces():
        yield b"\x00\x00\x00\x01\xc1"

    with pytest.raises(stream.StreamError):
        await frames(pieces(), lambda _: None)

    async def endless():
        yield b"\xff\xff\xff\xff"

    with pytest.raises(stream.StreamError, match="larger than a stream has"):
        await frames(endless(), lambda _: None)
