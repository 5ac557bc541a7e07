"""A one-machine Slurm to measure on, its harvester, and what its logs and samples tell."""
