"""Runs on the login node: prints whether the commands and pyslurm show the same snapshot, and what was in it."""

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from harvester_adapters.slurm.adapter import SlurmAdapter


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        commands, library = (
            SlurmAdapter(work_dir=Path(folder, kind), cache_for=timedelta(0), source=kind)
            for kind in ("commands", "pyslurm")
        )
        for _ in range(5):  # something may begin or end between the two looks
            one, other = (replace(adapter.snapshot(), taken_at=0.0) for adapter in (commands, library))
            if is_same := ordered(one) == ordered(other):
                break
    told = {"used": library.source_in_use, "is_same": is_same, "nodes": len(one.nodes), "jobs": len(one.batch_jobs)}
    json.dump(told, sys.stdout)


def ordered(snapshot):
    return replace(snapshot, batch_jobs=tuple(sorted(snapshot.batch_jobs, key=lambda batch: batch.batch_job_id)))


main()
