"""Which Debian release carries which Slurm, asked of the mirror that this machine's own apt uses.

Asks through apt, in a folder of its own: the machine's package lists stay as they are.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from machine import ClusterError

SUITES = ("oldstable", "stable", "testing", "unstable")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror() -> str:
    """Return the address that this machine's apt has Debian's own release from."""
    wanted = ["--format", "$(REPO_URI) $(CODENAME)", "Origin: Debian", "Created-By: Packages", "Component: main"]
    done = subprocess.run(["apt-get", "indextargets", *wanted], text=True, capture_output=True, check=False)
    for line in done.stdout.splitlines():
        address, codename = line.split()
        if "-" not in codename:  # as in bookworm-security, bookworm-updates
            return address
    raise ClusterError("this machine's apt uses no Debian mirror (or was never updated); name one with --mirror")


def ways_to_a_mirror() -> str:
    """Return this machine's apt settings of how a mirror is asked and believed: proxies, certificates, checks."""
    told = subprocess.run(["apt-config", "dump"], text=True, capture_output=True, check=True).stdout
    ways = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "".join(line for line in told.splitlines(keepends=True) if line.startswith(ways))


def carrying(version: str, address: str, folder: Path) -> str:
    """Return the suite that carries Slurm `version` (24.11), the oldest that does; `folder` is for apt's lists."""
    offered = offers(address, folder)
    for suite in SUITES:
        if offered.get(suite, "").startswith(f"{version}."):
            return suite
    listed = "; ".join(f"{suite} has {number}" for suite, number in offered.items())
    raise ClusterError(f"no Debian release on {address} carries Slurm {version}: {listed or 'it tells of none'}")


def offers(address: str, folder: Path) -> dict[str, str]:
    """Return `{suite: version of slurm-wlm}`."""
    found = {}
    for suite in SUITES:
        number = candidate(suite, address, folder / suite)
        if number:
            found[suite] = number
    return found


def candidate(suite: str, address: str, folder: Path) -> str:
    """Return the version of slurm-wlm in one suite; empty where there is none."""
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    sources, state = folder / "sources.list", folder / "status"
    sources.write_text(f"deb [signed-by={KEYRING}] {address} {suite} main\n")
    state.touch()
    own = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State::lists": folder / "lists",
        "Dir::State::status": state, "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "",
        "Acquire::Languages": "none", "APT::Sandbox::User": "root",
    }  # fmt: skip
    options = [f"-o{key}={value}" for key, value in own.items()]
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(["apt-get", *options, "-qq", "update"], text=True, capture_output=True, check=False)
    if done.returncode:
        return ""
    told = subprocess.run(
        ["apt-cache", *options, "madison", "slurm-wlm"], text=True, capture_output=True, check=True, env=environment
    ).stdout
    return told.split("|")[1].strip() if "|" in told else ""
