"""Pi by Monte Carlo, twice: with `ctx.checkpoint`, and as a generator whose yields are checkpoints.

    export HARVESTER_URL=… HARVESTER_TOKEN=…      # `harvester up` prints both
    python examples/pi.py

An evicted run starts again from its newest checkpoint, on another pilot, and draws the same numbers that it would have
drawn: each round has a seed of its own.
"""

import random
import sys
from collections.abc import Generator

import harvester

ROUND = 200_000


def hits(round_number: int) -> int:
    """Count the points of one round that fall into the quarter circle."""
    draw = random.Random(round_number).random  # noqa: S311 - no secret depends on it
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(ROUND))


@harvester.function(checkpoints=True)
def pi(rounds: int) -> float:
    ctx = harvester.context()
    done, inside = ctx.restore((0, 0))
    for number in range(done, rounds):
        inside += hits(number)
        ctx.checkpoint((number + 1, inside))
    return 4 * inside / (rounds * ROUND)


@harvester.function
def pi_generator(rounds: int, state: tuple[int, int] | None = None) -> Generator[tuple[int, int], None, float]:
    done, inside = state or (0, 0)
    for number in range(done, rounds):
        inside += hits(number)
        yield number + 1, inside
    return 4 * inside / (rounds * ROUND)


def main(rounds: int) -> None:
    print("here:", pi(1), pi_generator(1))
    futures = [pi.submit(rounds), pi_generator.submit(rounds)]
    print("invocations:", *(future.invocation_id for future in futures))
    print("there:", *(future.result() for future in futures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
