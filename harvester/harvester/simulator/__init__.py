"""The simulator: the daemon's own planner against a recorded cluster, for any policy.

`published` is HPC-Whisk's clairvoyant model of an idle log; `daemon_model` is what a daemon could have done on it;
`cluster` is a model of a whole cluster under a trace of batch jobs. Rooms here import `harvester.domain` and nothing
else of ours; files are read by `idle_log`, `swf`, `sacct` and `workload`, pictures are made by `plots`.
"""
