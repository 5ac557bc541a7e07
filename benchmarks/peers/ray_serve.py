"""Ray Serve with its defaults: one deployment with two replicas behind its HTTP proxy."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.face import WORKERS, Address, Base, NotOffered

PORT = 18_231


class RayServe(Base):
    """Ray Serve.

    Parameters
    ----------
    logging_config, deployment: what is set otherwise than it comes, for the log and for the deployment.
    """

    def __init__(self, logging_config: dict[str, Any] | None = None, **deployment: Any) -> None:  # noqa: ANN401 - Ray's
        self._logging_config, self._deployment = logging_config, deployment

    def start(self) -> None:
        import ray  # noqa: PLC0415 - not everybody has it
        from ray import serve  # noqa: PLC0415 - as above

        ray.init(
            num_cpus=WORKERS + 2,  # the controller and the proxy want their own
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=500_000_000,
            configure_logging=False,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config=self._logging_config)

        class Nothing:
            def __call__(self) -> str:
                return "null"

        deployment = serve.deployment(num_replicas=WORKERS, **self._deployment)(Nothing)
        self._handle = serve.run(deployment.bind(), route_prefix="/")
        self._serve, self._ray = serve, ray
        self._handle.remote().result()

    def submit_gather(self, count: int) -> None:
        raise NotOffered

    def round_trip(self) -> None:
        self._handle.remote().result()

    def http(self) -> Address:
        return Address(f"http://127.0.0.1:{PORT}", "/")

    def stop(self) -> None:
        self._serve.shutdown()
        self._ray.shutdown()


def peer() -> RayServe:
    return RayServe()
