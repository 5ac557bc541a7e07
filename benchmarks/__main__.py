"""All measurements that need nothing but this machine, one after another; `--json FOLDER` keeps their figures."""

import argparse
import subprocess
import sys
from pathlib import Path

MODULES = {
    "dispatcher": "the dispatcher alone",
    "planner": "windows and a plan for 10,000 nodes",
    "scheduler_answers": "what Slurm and PBS say of 10,000 nodes and 20,000 batch jobs, read",
    "year": "a simulated year",
    "hot_line": "what an invocation costs through the whole system",
    "fleet": "2,000 simulated pilots on one gateway",
    "backlog": "a million queued",
}
ALONE = {
    "peers": "the same work done by Ray, Parsl, Dask, HyperQueue and us (needs the extra bench-peers)",
    "policies": "all harvest policies on all traces",
    "scripted_hour": "prime jobs that come and go on a real Slurm (root)",
    "counterfactual": "prime jobs' delays one by one, with harvest and without, on a real Slurm (root)",
    "replay": "a stretch of an idle log on a real Slurm, beside what the simulator predicts (root)",
    "soak": "kill -9 of everything, drains, reservations, evictions on a real Slurm (root)",
}
WRITES = ("hot_line", "fleet", "backlog")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write every sample there")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    chosen = parser.parse_args()
    for name, what in MODULES.items():
        print(f"\n## {name}: {what}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if chosen.json and name in WRITES:
            command += ["--json", str(chosen.json / f"{name}.json")]
        if not chosen.list:
            subprocess.run(command, check=False)  # one that failed has said so, and the others are still of interest
    print("\nMore, each a command of its own:")
    for name, what in ALONE.items():
        print(f"    python -m benchmarks.{name}: {what}")


if __name__ == "__main__":
    main()
