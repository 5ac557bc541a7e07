"""A gateway in a process of its own, for the tests that kill one: prints its URL and serves until it is told to end."""

import signal
import sys
from datetime import timedelta

from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.server import listen
from harvester_api.settings import GatewaySettings, Role, Token


def main(database: str, port: int) -> None:
    settings = GatewaySettings(
        tokens=(Token(name="ada", role=Role.USER, token="ada-token"),),
        lease=timedelta(seconds=2),
        recovery=timedelta(seconds=3),
        margin=timedelta(seconds=1),
        tick=timedelta(seconds=0.1),
        seen_interval=timedelta(seconds=0.3),
    )
    store = open_store(f"sqlite:///{database}")
    server = listen(create_app(settings, store), "127.0.0.1", port)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    server.run()
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
