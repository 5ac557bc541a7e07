#!/usr/bin/env python3
"""The acceptance tests on another Slurm: `debian.py 24.11` runs them in a folder with the Debian that carries it.

Owns that folder (`build/debian-VERSION`, kept for the next run) and nothing else: what it mounts and every process it
starts live in namespaces of their own and end with it, however it ends. Runs as root with the system's Python, standard
library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import releases
from machine import ClusterError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "slurm-wlm", "munge", "slurmdbd", "mariadb-server-core", "python3", "python3-venv", "git", "procps",
    "ca-certificates",
)  # fmt: skip
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
COPIED = (CERTIFICATES, Path("etc/pip.conf"), Path("etc/resolv.conf"), Path("etc/hosts"), Path("etc/hostname"))
PASSED = ("PIP_", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
          "HTTPS_PROXY", "NO_PROXY", "HYPOTHESIS_", "PYTEST_", "TERM")  # fmt: skip
PROJECT, VENV = "/project", "/venv"
# The first process is a shell that stays, so that somebody collects the daemons that the tests leave to init.
INSIDE = """
set -e
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for folder in $BOUND; do mkdir -p "./$folder"; mount --bind "$folder" "./$folder"; done
set +e
chroot . "$@"
exit $?
"""


class DebianFolder:
    """A Debian in a folder, with one version of Slurm."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder.resolve()
        self.has_base = self.folder / ".base"
        self.is_made = self.folder / ".made"
        self.installed = self.folder / ".installed"

    def make(self, mirror: str | None) -> None:
        """Make it, unless it is there."""
        if self.is_made.exists():
            return
        if not self.has_base.exists():
            self._bootstrap(mirror or releases.mirror())
        refuse = self.folder / "usr/sbin/policy-rc.d"
        refuse.write_text("#!/bin/sh\nexit 101\n")  # packages start no services: the tests start theirs
        refuse.chmod(0o755)
        self._bring(COPIED[1:])
        (self.folder / "etc/apt/apt.conf.d/90machine").write_text(releases.ways_to_a_mirror())
        say("installing Slurm")
        apt = ("apt-get", "-qq", "-y", "--no-install-recommends", "-oDpkg::Use-Pty=0")
        self.run(*apt, "update")
        self.run(*apt, "install", *PACKAGES)
        self.is_made.touch()

    def _bootstrap(self, address: str) -> None:
        """Make the folder afresh, with the least that a Debian can be."""
        if shutil.which("debootstrap") is None:
            raise ClusterError("debootstrap is not installed: apt-get install debootstrap")
        with tempfile.TemporaryDirectory(prefix="harvester-debian-") as lists:
            suite = releases.carrying(self.version, address, Path(lists))
        say(f"Slurm {self.version} is in Debian {suite}; making {self.folder}")
        if self.folder.exists():
            shutil.rmtree(self.folder)  # half made
        self.folder.mkdir(parents=True)
        keyring = f"--keyring={releases.KEYRING}"
        must("debootstrap", "--variant=minbase", keyring, suite, str(self.folder), address)
        self.has_base.touch()

    def update(self) -> None:
        """Bring the project as it is now, and what it needs."""
        self._bring(COPIED)
        place = self.folder / PROJECT.lstrip("/")
        shutil.rmtree(place, ignore_errors=True)
        for name in listed():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
        needs = b"".join((place / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
        stamp = hashlib.sha256(needs).hexdigest()
        if self.installed.exists() and self.installed.read_text() == stamp:
            return
        say("installing what the tests need")
        self.run("python3", "-m", "venv", "--clear", VENV)
        pip = (f"{VENV}/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        self.run(*pip, "-c", f"{PROJECT}/constraints.txt", "-e", f"{PROJECT}[all,dev]")
        self.installed.write_text(stamp)

    def _bring(self, paths: tuple[Path, ...]) -> None:
        """Copy files of this machine, by which names are resolved and packages are found."""
        for path in paths:
            there = self.folder / path
            if Path("/", path).exists():
                there.unlink(missing_ok=True)
                shutil.copy2(Path("/", path), there)

    def run(self, *argv: str) -> None:
        """Run a command inside; it has to succeed. Its output is for the error message."""
        done = subprocess.run(
            inside(*argv), cwd=self.folder, env=environment(), check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            command = f"{shlex.join(argv)} in {self.folder}"
            raise ClusterError(f"{command} ended with {done.returncode}: {done.stdout[-2000:]}")

    def become(self, *argv: str) -> NoReturn:
        """Run a command inside in the place of this process: what ends this process ends all of it."""
        os.chdir(self.folder)
        command = inside("env", f"--chdir={PROJECT}", *argv)
        os.execvpe(command[0], command, environment())  # noqa: S606 - no shell is wanted


def inside(*argv: str) -> tuple[str, ...]:
    """Return the command that runs `argv` in the Debian of the current folder, in namespaces of its own."""
    return ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, "sh", *argv)


def environment() -> dict[str, str]:
    """Return what goes inside of this environment: how packages are found. BOUND: the folders that this names."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    bound = [word for word in passed.get("PIP_FIND_LINKS", "").split() if Path(word).is_dir()]
    return passed | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "HARVESTER_TEST_SLURM": "1",
        "BOUND": " ".join(bound),
    }


def listed() -> list[str]:
    """Return the project's files: what git tracks, and what it would."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and os.path.lexists(ROOT / name)]


def must(*argv: str) -> None:
    """Run a command of this machine; it has to succeed."""
    done = subprocess.run(argv, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise ClusterError(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout[-2000:]}")


def say(text: str) -> None:
    """Tell what takes long."""
    print(f"debian.py: {text}", file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description="Acceptance tests on the Slurm of another Debian release.")
    parser.add_argument("version", help="Slurm's version: 24.11, 26.05")
    parser.add_argument("--dir", type=Path, help="the Debian's folder, kept (build/debian-VERSION)")
    parser.add_argument("--mirror", help="a Debian mirror; by default the one that this machine's apt uses")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --; without: -m slurm tests/acceptance")
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse()
    debian = DebianFolder(args.version, args.dir or ROOT / "build" / f"debian-{args.version}")
    if os.geteuid() != 0:
        sys.exit("debian.py: it needs root: debootstrap and chroot do")
    try:
        debian.make(args.mirror)
        debian.update()
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"debian.py: {error}")
    debian.become(f"{VENV}/bin/python", "-m", "pytest", *(args.pytest or ["-m", "slurm", "tests/acceptance"]))


if __name__ == "__main__":
    main()
