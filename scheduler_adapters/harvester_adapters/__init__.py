"""Adapters to schedulers: each observes one kind of cluster and submits and cancels pilots there.

Import the adapter's own module (`harvester_adapters.slurm.adapter`, `harvester_adapters.pbs.adapter` and so on): PSI/J
comes with it, so nothing is imported here.
"""
