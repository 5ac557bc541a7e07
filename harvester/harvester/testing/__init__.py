"""Testing: a whole harvester in one process, for the tests of those who use it.

    from harvester.testing import InProcessHarvester

    with InProcessHarvester() as system, system.client() as client:
        assert client.submit(function, 3).result() == 9

The gateway is the real one, over a unix socket in a temporary folder: no port, no daemon, no batch jobs. Functions,
arguments, results and exceptions are pickled both ways, as on a cluster; functions run in threads of the test's own
process. Needs the extras `gateway` and `worker`.

May import everything; nothing imports it. Begin with `in_process`, then `thread_pilot`. `fixtures` is for pytest.
"""

try:
    from harvester.testing.in_process import InProcessHarvester
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in {
        "",
        "harvester",
        "harvester_api",
    }:  # a defect of ours: no extra brings it
        raise
    raise ModuleNotFoundError(
        f"harvester.testing needs the Python package {error.name}, which is not installed here; "
        "install it: pip install 'hpc-harvester[gateway,worker]'",
        name=error.name,
    ) from error

__all__ = ["InProcessHarvester"]
