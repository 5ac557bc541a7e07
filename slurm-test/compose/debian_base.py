"""The base image where no image registry is at hand: a Debian from its mirror, under the name that the registry's has.

Owns `debian:SUITE-slim` on this machine's engine. Runs as root: debootstrap does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

import releases
from machine import ClusterError

from compose import engine

SCRIPTS = Path("/usr/share/debootstrap/scripts")


class Suite(StrEnum):
    """The Debian releases whose Slurm the cluster runs on."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    FORKY = "forky"

    @property
    def slurm(self) -> str:
        """The Slurm that it carries; forky's in November 2026."""
        return {Suite.BOOKWORM: "22.05", Suite.TRIXIE: "24.11", Suite.FORKY: "26.05"}[self]


def name(suite: Suite) -> str:
    """Return the image's name, as the Dockerfile has it."""
    return f"debian:{suite}-slim"


def make(suite: Suite, mirror: str | None) -> str:
    """Make the base image, unless the engine has it; return a sentence for the caller."""
    image = name(suite)
    if engine.has_image(image):
        return f"{image} is here already; to make it afresh, first: docker image rm {image}"
    if os.geteuid() != 0:
        raise ClusterError("it needs root: debootstrap does")
    if shutil.which("debootstrap") is None:
        raise ClusterError("debootstrap is not installed: apt-get install debootstrap")
    address = mirror or releases.mirror()
    with tempfile.TemporaryDirectory(prefix="harvester-base-") as folder:
        engine.say(f"making {image} by debootstrap, a minute or two")
        # A release younger than this machine's debootstrap is made as unstable is.
        script = () if (SCRIPTS / suite).exists() else (str(SCRIPTS / "sid"),)
        keyring = f"--keyring={releases.KEYRING}"
        try:
            engine.must("debootstrap", "--variant=minbase", keyring, suite, folder, address, *script)
        finally:
            _unmount_within(folder)
        shutil.rmtree(Path(folder, "var/cache/apt/archives"), ignore_errors=True)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            done = subprocess.run(["docker", "import", "-", image], stdin=tar.stdout, capture_output=True, check=False)
        if done.returncode or tar.returncode:
            raise ClusterError(f"docker import ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return f"{image} made"


def _unmount_within(folder: str) -> None:
    """Unmount what an interrupted debootstrap has left, /proc above all: the folder is to be removed, and only that."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(mounted):
        if point.startswith(f"{folder}/"):
            engine.must("umount", "--lazy", point)
