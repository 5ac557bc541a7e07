"""Ray Serve tuned for many short requests: no access log, and replicas that take a hundred requests at a time.

As it comes a replica takes five, and the others are tried again after half a second.
"""

from __future__ import annotations

from benchmarks.peers.ray_serve import RayServe


def peer() -> RayServe:
    return RayServe({"enable_access_log": False}, max_ongoing_requests=100)
