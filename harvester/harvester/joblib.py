"""A joblib backend: `joblib.Parallel`, and with it scikit-learn, on pilots.

Owns what joblib asks of a backend. Needs the extra `joblib`; joblib has to be importable on the compute nodes too.
"""

from __future__ import annotations

import contextlib
from typing import Any

from joblib.parallel import AutoBatchingMixin, ParallelBackendBase, register_parallel_backend

from harvester.sdk.client import Client
from harvester.sdk.errors import GatewayError, HarvesterError
from harvester.sdk.executor import Executor
from harvester.sdk.futures import Callback, InvocationFuture

NAME = "harvester"


class HarvesterBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no annotations
    """Made by joblib for `parallel_config("harvester", …)`.

    Parameters
    ----------
    nesting_level, inner_max_num_threads: joblib's.
    client: through which; None for the default client.
    traits: the other parameters of `harvester.Executor`: cpus, gpus, walltime, priority and so on.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        client: Client | None = None,
        **traits: Any,  # noqa: ANN401 - as `Executor` takes them
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._client = client
        self._traits = traits
        self._executor: Executor | None = None
        self._open: set[InvocationFuture[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches may run at a time; a negative number counts from all that the site has room for."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")  # as every backend says
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        room = Executor(self._client, **self._traits).max_workers
        return max(1, room + 1 + (-1 if n_jobs is None else n_jobs))

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_more: Any) -> int:  # noqa: ANN401 - joblib's
        """Get ready for a call of `Parallel`; return how many batches may run at a time."""
        jobs = self.effective_n_jobs(n_jobs)
        bound = n_jobs if n_jobs is not None and n_jobs > 0 else None
        self._executor = Executor(self._client, max_workers=bound, **self._traits)
        self.parallel = parallel
        return jobs

    def submit(self, func: Any, callback: Callback | None = None) -> InvocationFuture[Any]:  # noqa: ANN401 - a batch of joblib's
        """Run a batch; `callback` is told of its end."""
        if self._executor is None:
            raise HarvesterError("this backend is not configured: use it through joblib.Parallel")
        future: InvocationFuture[Any] = self._executor.submit(func)
        self._open.add(future)
        future.on_end(self._open.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: InvocationFuture[Any]) -> Any:  # noqa: ANN401 - a user's results
        """Return what a batch ended with."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel every batch, also those that run; what is submitted later runs as before."""
        del ensure_ready
        for future in tuple(self._open):
            with contextlib.suppress(GatewayError):  # what this is aborted for is what its user must hear of
                future.cancel()

    def terminate(self) -> None:
        """Take no more batches until the next call of `Parallel`."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def register(*, make_default: bool = False) -> None:
    """Make joblib know the backend `harvester`: `with joblib.parallel_config("harvester", n_jobs=-1): …`."""
    register_parallel_backend(NAME, HarvesterBackend, make_default=make_default)
