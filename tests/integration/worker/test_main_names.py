"""What a user's `__main__` names is found by its name in a slot too, as pools of processes look for it."""

import pickle

import pytest

from harvester.domain.protocol import wire

PROGRAM = """
import concurrent.futures, multiprocessing
class Point:
    def __init__(self, x):
        self.x = x
def doubled(point):
    return Point(2 * point.x)
def pool(x):
    with multiprocessing.get_context("fork").Pool(1) as processes:
        return [point.x for point in processes.map(doubled, [Point(x)])]
def itself(x):
    if x == 0:
        return "the last"
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as processes:
        return processes.submit(itself, x - 1).result()
"""


@pytest.mark.parametrize(("name", "expected"), [("pool", [6]), ("itself", "the last")])
async def test_a_pool_of_processes_finds_the_functions_and_classes_of_the_users_program(
    gateway, pilots, order, name, expected
):
    program = {"__name__": "__main__"}
    exec(PROGRAM, program)  # noqa: S102 - as a script
    await pilots.start()
    await gateway.send(*order(program[name], 3 if name == "pool" else 1))
    finished = await gateway.wait_for(wire.Finished)
    assert pickle.loads(finished.value) == expected  # noqa: S301 - made by this very test
