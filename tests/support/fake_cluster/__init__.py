"""Fake schedulers: one small model of a cluster, and the commands of Slurm and PBS that ask and tell it.

Begin with `site`, which a test uses. `model` is the cluster; `slurm` and `pbs` are the commands, which decide nothing.
`server` answers the executables on PATH, and `faults` spoils its answers.
"""
