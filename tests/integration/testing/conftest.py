"""As the conftest.py of a project that uses the harvester: the fixtures are taken in by their names."""

from harvester.testing.fixtures import harvester_client, in_process_harvester

__all__ = ["harvester_client", "in_process_harvester"]
