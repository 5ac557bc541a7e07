"""The real PBS that these tests run on: `HARVESTER_PBS_EXEC=/opt/pbs make test-pbs`, see docs/testing.md.

Without HARVESTER_PBS_EXEC nothing is collected here: no distribution packages PBS, so hardly a machine has one, and
tests that are skipped everywhere hide more than they tell.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.pbs import OTHERS, PILOTS, being

PBS_EXEC = os.environ.get("HARVESTER_PBS_EXEC", "")
collect_ignore_glob = [] if PBS_EXEC else ["test_*.py"]

CLUSTER = Path(__file__).parents[3] / "slurm-test" / "pbs_cluster.py"
PYTHON = "/usr/bin/python3"  # the system's, as an admin would run it
NODES, CPUS, GPUS, MEMORY_MB, KILL_DELAY_S = 4, 2, 2, 4000, 60
USUAL = {
    "server query_other_jobs": "True",
    "sched preempt_order": "D",
    "sched preempt_prio": '"express_queue, normal_jobs, queue_softlimits"',
    "queue harvest kill_delay": str(KILL_DELAY_S),
    "queue harvest max_run_soft": '"[o:PBS_ALL=0]"',
}


class Pbs:
    """A running PBS site, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = tuple(f"n{number}" for number in range(1, NODES + 1))
        self.cpus, self.gpus, self.memory_mb = CPUS, GPUS, MEMORY_MB
        self._sched_config = self._sched_config_file.read_text()

    @property
    def _sched_config_file(self) -> Path:
        return self.folder / "home" / "sched_priv" / "sched_config"

    def run(self, *argv: str, user: str = "root", may_fail: bool = False) -> str:
        """Run a command of PBS's and return what it printed."""
        account = pwd.getpwnam(user)
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=60, check=False, cwd="/", user=account.pw_uid,
            group=account.pw_gid, env=os.environ | {"HOME": account.pw_dir, "USER": user, "LOGNAME": user},
        )  # fmt: skip
        assert may_fail or done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def qsub(self, *options: str, command: tuple[str, ...] = ("/bin/sleep", "600"), user: str = OTHERS) -> str:
        """Submit a batch job in exec form and return its id, without the server's name."""
        nothing = ("-o", "/dev/null", "-e", "/dev/null", "-m", "n")
        return self.run("qsub", "-f", *nothing, *options, "--", *command, user=user).partition(".")[0]

    def prime(self, *options: str, nodes: int = 1, seconds: float = 600) -> str:
        """Submit a batch job over whole nodes to an ordinary queue and return its id."""
        select = f"select={nodes}:ncpus={CPUS}"
        return self.qsub(
            "-q", "prime", "-l", select, "-l", "place=scatter", "-l", "walltime=00:20:00", *options,
            command=("/bin/sleep", str(seconds)),
        )  # fmt: skip

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every batch job's attributes by its id; also of those that have ended."""
        found = json.loads(self.run("qstat", "-x", "-f", "-F", "json"), strict=False).get("Jobs", {})
        return {name.partition(".")[0]: fields for name, fields in found.items()}

    def state(self, job: str) -> str:
        """Return the letter of a batch job's state."""
        return str(self.run("qstat", "-x", "-f", "-F", "dsv", job).partition("|job_state=")[2][:1])

    def has_begun(self, job: str) -> bool:
        """Tell whether a batch job runs or has run."""
        return self.state(job) in {"R", "E", "F"}

    def qmgr(self, *commands: str) -> None:
        """Change settings of the site."""
        for command in commands:
            self.run("qmgr", "-c", command)

    def set(self, what: str, value: str) -> None:
        """Change one setting, until `clear` gives it its usual value again: `pbs.set("sched preempt_order", "R")`."""
        self.qmgr(f"set {what} = {value}")

    def tell_sched(self, **changed: str) -> None:
        """Change sched_config, until `clear`: `pbs.tell_sched(strict_ordering="true")`."""
        lines = self._sched_config.splitlines()
        for name, value in changed.items():
            lines = [f"{name}: {value}" if line.startswith(f"{name}:") else line for line in lines]
        self._write_sched_config("\n".join(lines) + "\n")

    def _write_sched_config(self, text: str) -> None:
        if self._sched_config_file.read_text() != text:
            self._sched_config_file.write_text(text)
            os.kill(int((self._sched_config_file.parent / "sched.lock").read_text()), 1)

    def clear(self) -> None:
        """End every batch job and reservation, start what was stopped, and set everything as it was."""
        for name in ("comm", *self.nodes, "sched", "server"):
            self.verb("start", name)
        self._write_sched_config(self._sched_config)
        for what, value in USUAL.items():
            self.set(what, value)
        for line in self.run("pbs_rstat", "-B", may_fail=True).splitlines():
            if name := line.partition("Resv ID: ")[2].strip():
                self.run("pbs_rdel", name, may_fail=True)
        for name in self.nodes:
            self.run("qmgr", "-c", f"set node {name} state -= offline", may_fail=True)
            self.run("qmgr", "-c", f"unset node {name} comment", may_fail=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if jobs := self.run("qselect").split():
                self.run("qdel", "-W", "force", *jobs, may_fail=True)
            states = self.node_states()
            if not jobs and set(states.values()) == {"free"}:
                return
            time.sleep(0.2)
        pytest.fail(f"the nodes did not become free again: {self.node_states()}; {self.run('qstat', '-an')}")

    def node_states(self) -> dict[str, str]:
        """Return `{node: state}` in PBS's words."""
        found = json.loads(self.run("pbsnodes", "-a", "-F", "json"))["nodes"]
        return {name: node["state"] for name, node in found.items()}

    def verb(self, verb: str, name: str) -> None:
        """Stop (SIGKILL) or start a daemon."""
        done = cluster(verb, name, f"--dir={self.folder}")
        assert done.returncode == 0, done.stdout + done.stderr


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run slurm-test/pbs_cluster.py."""
    argv = [PYTHON, str(CLUSTER), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="session")
def pbs_site() -> Iterator[Pbs]:
    """Yield the session's PBS; its commands are on the PATH and find it."""
    folder = Path("/mnt/pbs")
    shape = {"nodes": NODES, "cpus": CPUS, "gpus": GPUS, "memory": MEMORY_MB, "kill-delay": KILL_DELAY_S}
    options = [f"--{name}={value}" for name, value in shape.items()]
    try:
        done = cluster("up", f"--prefix={PBS_EXEC}", *options)
        assert done.returncode == 0, f"run it as: make test-pbs\n{done.stdout}{done.stderr}"
        own = {"PBS_CONF_FILE": str(folder / "pbs.conf"), "PATH": f"{PBS_EXEC}/bin:{os.environ['PATH']}"}
        home = pwd.getpwnam(PILOTS).pw_dir
        with environment(**own, HOME=home, USER=PILOTS, LOGNAME=PILOTS):
            need_python()
            yield Pbs(folder)
    finally:
        cluster("down")


@contextmanager
def environment(**changed: str) -> Iterator[None]:
    """Let this process's environment have these variables for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        yield


def need_python() -> None:
    """Fail where the pilots' user cannot run this Python with what is installed there."""
    try:
        with being(PILOTS):
            subprocess.run([sys.executable, "-c", "import harvester_worker.agent"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        remedy = "make VENV=build/pbs-venv PYTHON=/usr/bin/python3 test-pbs, in a clone that everybody can read"
        pytest.exit(f"{PILOTS!r}, whose the pilots are, cannot run {sys.executable} ({error}); {remedy}", 1)


@pytest.fixture
def work() -> Iterator[Path]:
    """Yield a folder that everybody can write to; pytest's own are closed to everybody but root."""
    folder = Path(tempfile.mkdtemp(prefix="harvester-pbs-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pbs(pbs_site: Pbs) -> Iterator[Pbs]:
    """Yield the site with 4 free nodes and its usual settings; whatever the test leaves there is ended."""
    pbs_site.clear()
    yield pbs_site
    pbs_site.clear()
