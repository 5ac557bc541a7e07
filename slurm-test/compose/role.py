"""The first process of each container: writes Slurm's configuration, starts munge, becomes the role's daemon.

Runs inside, as root: `python3 -m compose.role ROLE`, with the system's Python and the standard library only. Waits for
whom it needs, so that containers may start in any order, and so also when one of them is started again alone.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import accounting
import machine
import slurm_conf
from machine import ClusterError
from site_kinds import SCAVENGER, SiteKind

from compose import texts
from compose.texts import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable

ETC = Path("/etc/slurm")
PATIENCE_S = 120.0
SERVICE_USER = "harvester"
HARVESTER = "/venv/bin/harvester"
SITE_FILE = Path(__file__).with_name("harvester.toml")
PORT = 8321


def database() -> NoReturn:
    """Become MariaDB; its own tables are made at the first start."""
    data = FOLDER / "database" / "data"
    if not (data / "mysql").exists():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        accounting.fill(FOLDER)
    become(*(word for word in accounting.database(FOLDER, port=texts.DATABASE_PORT) if "log-error" not in word))


def slurmdbd() -> NoReturn:
    """Become slurmdbd, once the database takes connections."""
    conf = ETC / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(texts.accounting_conf())
    start_munge()
    wait_for(texts.DATABASE, texts.DATABASE_PORT)
    become("slurmdbd", "-D")


def controller() -> NoReturn:
    """Become slurmctld; cluster, QOS and users are made before its first start."""
    start_munge()
    if has_accounting():
        wait_for(texts.ACCOUNTING, texts.ACCOUNTING_PORT)
        make_entries()
    become("slurmctld", "-D")


def make_entries() -> None:
    """Make cluster, QOS, account and users in the database; where they are there, only what may have changed."""
    wait("slurmdbd to answer", lambda: sacctmgr("-n", "show", "qos").returncode == 0)
    is_there = texts.CLUSTER in sacctmgr("-n", "show", "cluster", "format=cluster%30").stdout.split()
    entries = texts.later_entries if is_there else texts.first_entries
    for words in entries(texts.asked(os.environ).grace_s):
        done = sacctmgr("-i", "-Q", *words)
        if done.returncode:
            raise ClusterError(f"sacctmgr {' '.join(words)} ended with {done.returncode}: {done.stdout}")


def node() -> NoReturn:
    """Become slurmd, on a host with GPUs made of nothing."""
    for number in range(texts.asked(os.environ).gpus):
        device = Path(f"/dev/nvidia{number}")
        if not device.exists():
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(195, number))  # opened by nobody: containers may not
    (FOLDER / "spool" / socket.gethostname()).mkdir(exist_ok=True)
    start_munge()
    become("slurmd", "-D")


def login() -> NoReturn:
    """Become `harvester up` as the service's user; root, alice and bob find its address and their tokens at home."""
    start_munge()
    service = pwd.getpwnam(SERVICE_USER)
    state = Path(service.pw_dir, "state")
    for user in ("alice", "bob", "root"):
        hand_a_token_to(user, token_at(state / "tokens" / ("admin" if user == "root" else user)))
    give(state, service)
    options = [f"--set=scheduler.slurm.qos={SCAVENGER}"] if texts.asked(os.environ).site is SiteKind.QOS else []
    os.chdir(service.pw_dir)
    os.environ.update(HOME=service.pw_dir, USER=SERVICE_USER, LOGNAME=SERVICE_USER)
    os.initgroups(SERVICE_USER, service.pw_gid)
    os.setgid(service.pw_gid)
    os.setuid(service.pw_uid)
    become(HARVESTER, "up", f"--config={SITE_FILE}", f"--state={state}", f"--port={PORT}", *options)


def token_at(path: Path) -> str:
    """Return the token in a file of the harvester's state folder; made before its first start, which then takes it."""
    path.parent.parent.mkdir(mode=0o700, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()


def hand_a_token_to(user: str, token: str) -> None:
    """Write a user's config.toml, from which SDK and command line take the gateway's address and the token."""
    found = pwd.getpwnam(user)
    home = Path(found.pw_dir)
    home.mkdir(mode=0o755, exist_ok=True)
    file = home / ".config" / "harvester" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(f'url = "http://{socket.gethostname()}:{PORT}"\ntoken = "{token}"\n')
    give(home / ".config", found)


def give(folder: Path, user: pwd.struct_passwd) -> None:
    """Let a folder and all in it belong to `user`."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def start_munge() -> None:
    """Write slurm.conf and its companions, and start munge with the key that all containers of the image share."""
    asked = texts.asked(os.environ)
    ETC.mkdir(exist_ok=True)
    (ETC / "slurm.conf").write_text(texts.cluster_conf(asked, accounting=has_accounting()))
    (ETC / "gres.conf").write_text(slurm_conf.gres_conf(texts.shape_of(asked)))
    (ETC / "cgroup.conf").write_text(slurm_conf.cgroup_conf(machine.slurm_version()))
    munge = FOLDER / "munge"
    (FOLDER / "pid" / "munged").unlink(missing_ok=True)  # of a container that was killed
    options = {"key-file": munge / "munge.key", "socket": munge / "munge.socket", "seed-file": munge / "munge.seed",
               "pid-file": FOLDER / "pid" / "munged", "log-file": FOLDER / "log" / "munged"}  # fmt: skip
    subprocess.run(["munged", "--force", *(f"--{name}={path}" for name, path in options.items())], check=True)


def has_accounting() -> bool:
    """Whether accounting is wanted; forky's cluster does without, see `stack`."""
    return os.environ.get("ACCOUNTING", "yes") != "no"


def sacctmgr(*words: str) -> subprocess.CompletedProcess[str]:
    """Run sacctmgr; its failure is the caller's to judge."""
    return subprocess.run(
        ["sacctmgr", *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def wait_for(host: str, port: int) -> None:
    """Wait until somebody listens there."""

    def listens() -> bool:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
        return True

    wait(f"{host} to listen on port {port}", listens)


def wait(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for something, with an end."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.3)


def become(*argv: str) -> NoReturn:
    """Let this process be the daemon: what ends the container ends it, and it is told to end as a container is."""
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted


ROLES = {role.__name__: role for role in (database, slurmdbd, controller, node, login)}


def main() -> int:
    """Run the command line: one role."""
    name = " ".join(sys.argv[1:])
    if name not in ROLES:
        print(f"compose.role: {name!r} is not a role; name one of {', '.join(ROLES)}", file=sys.stderr)
        return 2
    if name in (texts.DATABASE, texts.ACCOUNTING) and not has_accounting():
        print(f"compose.role {name}: nothing to do, since ACCOUNTING=no")
        return 0
    try:
        ROLES[name]()
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"compose.role {name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
