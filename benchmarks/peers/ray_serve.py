"""Ray Serve: one deployment with two replicas behind its HTTP proxy."""

from __future__ import annotations

from benchmarks.peers.face import WORKERS, Address, Base, NotOffered

PORT = 18_231


class RayServe(Base):
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
        serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config={"enable_access_log": False})

        class Nothing:
            def __call__(self) -> str:
                return "null"

        deployment = serve.deployment(num_replicas=WORKERS, max_ongoing_requests=100)(Nothing)
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
