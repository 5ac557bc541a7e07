"""The first words of a pilot under PBS: a line of shell that becomes the pilot.

Owns what PBS leaves out: the output as it is written, the environment, the node's name, the end of a batch job whose
walltime PBS has chosen, and two refusals to start. PBS runs `qsub … -- command` as the leader of the batch job's
session and in a bare environment; `exec` keeps the process, so the pilot is that leader, hears SIGTERM at once, and
the batch job ends when it does. (As a line of a script it would be a child of a shell that dies of SIGTERM, and its
node would be freed 10 to 40 s later.)
"""

from __future__ import annotations

from collections.abc import Mapping

from harvester.domain.cluster.ports import PilotOrder

QSTAT_S = 10  # for the answer about the walltime; node-time passes meanwhile
NOTHING = "-"  # for an argument without a value: PBS drops empty ones

# $1: the output. PBS would hand it over at the end, by scp unless the site says otherwise.
_OUTPUT = 'umask 077; exec >>"$1" 2>&1'
# A batch job that PBS puts back into its queue, after a preemption or because a node seemed dead, may start again with
# the same command while the first one still runs. The same pilot must not.
_ONCE = '(set -C; : >"$1.started") 2>/dev/null || { echo "harvester: started before, so not again"; exit 0; }'
# $2: the latest start, in Unix seconds. PBS has no deadline.
_IN_TIME = (
    'test "$2" = - || test "$(date +%s)" -le "$2" || '
    '{ echo "harvester: it could not end in time any more, so it does not start"; exit 0; }'
)
# The host's name as PBS knows it; several moms may share a machine.
_NODE = 'if read -r node <"$PBS_NODEFILE"; then HARVESTER_NODE_NAME="${node%%.*}"; export HARVESTER_NODE_NAME; fi'
# Which walltime PBS has chosen between min_walltime and max_walltime is in no variable. Without an answer the pilot
# goes by the longest, and PBS's SIGTERM at the end comes as an eviction. qstat waits for a server that does not answer.
_END = (
    'test -r "${PBS_CONF_FILE:-/etc/pbs.conf}" && . "${PBS_CONF_FILE:-/etc/pbs.conf}"; '
    f'given="$(timeout {QSTAT_S} "${{PBS_EXEC:-/opt/pbs}}/bin/qstat" -f "$PBS_JOBID" 2>/dev/null'
    " | sed -n 's/^ *Resource_List.walltime = //p')\"; "
    'case "$given" in *:*:*) hours="${given%%:*}"; rest="${given#*:}"; minutes="${rest%%:*}"; seconds="${rest#*:}"; '
    "HARVESTER_JOB_END_TIME=$(( $(date +%s) + ${hours#0} * 3600 + ${minutes#0} * 60 + ${seconds#0} )); "
    "export HARVESTER_JOB_END_TIME;; esac"
)
_BECOME = 'shift 2; exec /usr/bin/env "$@"'


def command_line(order: PilotOrder, environment: Mapping[str, str]) -> list[str]:
    """Return the command that PBS runs for a pilot.

    Parameters
    ----------
    environment: what the pilot has beyond PBS's own variables. Everybody on the cluster can read it: no secrets.
    """
    parts = [_OUTPUT, _ONCE, _IN_TIME, _NODE]
    if order.time_min is not None:
        parts.append(_END)
    latest = NOTHING if order.end_by is None else str(int(order.end_by - order.walltime.total_seconds()))
    variables = [f"{name}={value}" for name, value in environment.items() if value]
    script = "; ".join([*parts, _BECOME])
    return ["/bin/sh", "-c", script, "harvester-pilot", str(order.output), latest, *variables, *order.command]
