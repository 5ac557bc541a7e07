"""What this machine brings into the image: how packages are found here, and pyslurm's source where it is had.

Owns the folder from-host/, which git ignores: nothing of this machine is committed. The Dockerfile takes from it what
is there; a machine with a plain connection brings nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import releases
from machine import ClusterError

FOLDER = Path(__file__).with_name("from-host")
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PIP_CONF = Path("/etc/pip.conf")


def bring(pyslurm: Path | None, wheels: Path | None) -> None:
    """Fill the folder afresh: nothing of an earlier call stays, such as a pyslurm for another Slurm."""
    for path in FOLDER.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".gitignore":
            path.unlink()
    for variable in CERTIFICATES:
        if (bundle := Path(os.environ.get(variable, ""))).is_file():
            shutil.copyfile(bundle, FOLDER / "ca-certificates.crt")
            break
    if PIP_CONF.exists():
        shutil.copyfile(PIP_CONF, FOLDER / "pip.conf")
    if shutil.which("apt-config") and (ways := releases.ways_to_a_mirror()):
        (FOLDER / "apt.conf").write_text(ways)
    for name, folder in (("pyslurm", pyslurm), ("wheels", wheels)):
        if folder is not None:
            _copy(folder, FOLDER / name)


def _copy(folder: Path, there: Path) -> None:
    if not folder.is_dir():
        raise ClusterError(f"{folder} is not a folder; name one with {there.name}")
    shutil.copytree(folder, there, ignore=shutil.ignore_patterns(".git"), symlinks=True)
