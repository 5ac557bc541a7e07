"""What the tests run on the compute nodes. The file is registered from within the login node."""

import harvester


def where(hold_s):
    """Say where and as whom it runs, and which GPUs it was given, after holding its slot for a while."""
    import getpass
    import os
    import socket
    import time

    time.sleep(hold_s)
    return {
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "python": os.path.realpath(os.sys.executable),
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
