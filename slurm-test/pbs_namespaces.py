"""Where a PBS site can be on any machine: namespaces with its names and addresses, and nothing else in reach.

PBS's daemons refuse names that lead to 127.0.0.0/8, so each node has an address of its own on the namespaces' loopback
interface. Everything that runs inside ends with the command.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pbs_site

MOST_NODES = 64
# The first process is a shell that stays, so that somebody collects the daemons that are left to init.
INSIDE = """
set -e
ip link set lo up
for address in $ADDRESSES; do ip address add "$address" dev lo; done
for folder in /var/tmp /run/postgresql; do test ! -d $folder || mount -t tmpfs -o mode=1777 tmpfs $folder; done
mount -t tmpfs -o mode=755 tmpfs /mnt
printf %s "$HOSTS" > /mnt/hosts
mount --bind /mnt/hosts /etc/hosts
hostname "$SERVER"
unset ADDRESSES HOSTS SERVER
set +e
"$@"
exit $?
"""


def become_inside(argv: list[str]) -> NoReturn:
    """Run a command in namespaces of its own in the place of this process: what ends this process ends all of it."""
    own = {
        "ADDRESSES": " ".join(map(pbs_site.address, range(MOST_NODES + 1))),
        "HOSTS": pbs_site.hosts(MOST_NODES),
        "SERVER": pbs_site.SERVER,
    }
    unshare = ["unshare", "--net", "--uts", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    command = (*unshare, "sh", "-c", INSIDE, "sh", *argv)
    os.execvpe(command[0], command, os.environ | own)  # noqa: S606 - no shell is wanted


def is_inside() -> bool:
    """Tell whether the site's addresses are this machine's."""
    try:
        return socket.gethostbyname(pbs_site.SERVER) == pbs_site.address(0)
    except OSError:
        return False
