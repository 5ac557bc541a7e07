"""The soak's load: functions of all kinds, submitted at a steady rate, and what became of each.

Owns submissions and the judgement of results. A result is right when it is what the function must return; an accepted
invocation that has none, or another end, or a second successful activation, is a violation.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from benchmarks.hostile.functions import EXPECTED, plain
from harvester.sdk.client import Client
from harvester.sdk.errors import HarvesterError

MAP_CALLS, MAP_CHUNK, MAP_EVERY_S = 60, 20, 30.0
SECONDS = [*[0.5, 1.0, 2.0, 4.0] * 3, 8.0, 8.0, 40.0, 40.0]  # a child of the longest outlives what killed its function
DOCUMENT_ENDS = ("failed", "expired", "cancelled", "accepted", "leased", "running")


class Load:
    """Submits from a thread of its own until it is stopped.

    Parameters
    ----------
    a_second: invocations, on average; a chunked map comes every half minute.
    most_s: for one map, until its last result must be there.
    """

    def __init__(self, client: Client, seed: int, a_second: float, most_s: float) -> None:
        self._client, self._a_second, self._most_s = client, a_second, most_s
        self._chance = random.Random(seed)  # noqa: S311 - a workload, no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._submit, name="soak-load", daemon=True)
        self.submitted: list[tuple[Any, int, Future[Any]]] = []
        self.maps: list[tuple[int, Iterator[Any]]] = []
        self.error: BaseException | None = None  # why submitting ended early
        self._thread.start()

    def stop(self) -> None:
        """Submit no more."""
        self._stop.set()
        self._thread.join()

    def _submit(self) -> None:
        try:
            self._submit_until_stopped()
        except HarvesterError as error:
            self.error = error

    def _submit_until_stopped(self) -> None:
        functions = list(EXPECTED)
        map_at = time.monotonic() + 5.0
        while not self._stop.wait(self._chance.expovariate(self._a_second)):
            number = len(self.submitted)
            function = self._chance.choice(functions)
            seconds = self._chance.choice(SECONDS)
            self.submitted.append((function, number, self._client.submit(function, number, seconds)))
            if time.monotonic() >= map_at:
                map_at += MAP_EVERY_S
                numbers = range(number, number + MAP_CALLS)
                results = self._client.map(plain, numbers, [0.1] * MAP_CALLS, chunksize=MAP_CHUNK, timeout=self._most_s)
                self.maps.append((number, results))

    # ---- judgement

    def judge(self, patience_s: float) -> list[str]:
        """Wait for all that is open, and return what is wrong, in sentences."""
        deadline = time.monotonic() + patience_s
        wrong = [f"submitting ended: {self.error}"] if self.error is not None else []
        for function, number, future in self.submitted:
            wrong += self._judge_one(function, number, future, deadline)
        for first, results in self.maps:
            wrong += _judge_map(first, results)
        for state in DOCUMENT_ENDS:
            found = self._client.invocations(state=state, limit=1000)
            wrong += [f"{each['invocation_id']} is {state}: {each.get('failure')}" for each in found[:5]]
        return wrong

    def _judge_one(self, function: Any, number: int, future: Future[Any], deadline: float) -> list[str]:  # noqa: ANN401
        name, expected = function.__name__, EXPECTED[function](number)
        try:
            value = future.result(timeout=max(1.0, deadline - time.monotonic()))
        except TimeoutError:
            return [f"{name}({number}) has no result"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the result
            return [f"{name}({number}) raised {type(error).__name__}: {error}"]
        wrong = [f"{name}({number}) returned {value!r} and not {expected!r}"] if value != expected else []
        document = self._client.invocation(future.invocation_id)  # type: ignore[attr-defined]  # an InvocationFuture
        return wrong + [f"{name}({number}): {told}" for told in wrong_ends(document)]

    def counts(self) -> dict[str, int]:
        """Return how many calls of each function there were."""
        found = Counter(function.__name__ for function, _, _ in self.submitted)
        found["in chunked maps"] = MAP_CALLS * len(self.maps)
        return dict(found)

    def activations(self) -> tuple[int, int]:
        """Return how many activations there were, and how many of them went on from a checkpoint."""
        ids = [future.invocation_id for _, _, future in self.submitted if future.done()]  # type: ignore[attr-defined]
        made = [each for one in ids for each in self._client.invocation(one)["activations"]]
        return len(made), sum(each["resumed"] for each in made)


def wrong_ends(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an invocation that has a result, as its document tells it."""
    wrong = [] if document["state"] == "succeeded" else [f"it has a result and is {document['state']}"]
    times = sum(activation["end"] == "succeeded" for activation in document["activations"])
    return wrong if times == 1 else [*wrong, f"{times} of its activations succeeded, and not one"]


def _judge_map(first: int, results: Iterator[Any]) -> list[str]:
    expected = [number * number + 1 for number in range(first, first + MAP_CALLS)]
    try:
        found = list(results)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not the results
        return [f"map from {first} raised {type(error).__name__}: {error}"]
    return [] if found == expected else [f"map from {first} returned {found}"]
