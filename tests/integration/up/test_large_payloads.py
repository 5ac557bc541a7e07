"""Large payloads of a client on the gateway's own machine go through files, there and back, and not over HTTP."""

import numpy as np

import harvester
from harvester.sdk.operations import calls


def test_a_large_array_there_and_back_as_files(system, monkeypatch):
    fetched, fetch = [], calls.fetch

    def noted(invocation_id):
        fetched.append(invocation_id)
        return fetch(invocation_id)

    monkeypatch.setattr(calls, "fetch", noted)
    system.start()
    token = (system.state / "tokens" / "user").read_text().strip()
    array = np.arange(200_000)

    def doubled(values):
        return values * 2

    with harvester.Client(f"http://127.0.0.1:{system.port}", token) as client:

        def is_by_file():
            before = len(fetched)
            result = client.submit(doubled, array).result(30)
            assert (result == 2 * array).all()
            result[0] = 1  # it is memory of its own
            return len(fetched) == before

        # A pilot that has just come may take arguments before it knows that it sees the directory.
        system.until(is_by_file, "a result comes as a file")
        count = len(fetched)
        assert client.submit(lambda part: part * 500_000, "é").result(30) == "é" * 500_000
        assert sum(client.map(len, [bytes(300_000)] * 4, chunksize=2)) == 1_200_000
        assert len(fetched) == count
    assert not list(system.state.rglob("blobs/drafts/*"))
