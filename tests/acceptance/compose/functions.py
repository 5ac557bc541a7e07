"""What the tests run on the compute nodes. The file is registered from within the login node."""

import harvester


def where(party="", size=1):
    """Say where and as whom it runs and which GPUs it was given, once `size` runs of the same party are there."""
    import getpass
    import os
    import socket
    import time
    from pathlib import Path

    if party:
        folder = Path.home() / "parties" / party
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{socket.gethostname()}-{os.getpid()}").touch()
        deadline = time.monotonic() + 90
        while len(list(folder.iterdir())) < size and time.monotonic() < deadline:
            time.sleep(0.2)
    return {
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def count(steps, step_s):
    """Count slowly, saving each step with the host that made it."""
    import socket
    import time

    ctx = harvester.context()
    made = ctx.restore([])
    while len(made) < steps:
        time.sleep(step_s)
        made = [*made, socket.gethostname()]
        ctx.checkpoint(made)
    return made
