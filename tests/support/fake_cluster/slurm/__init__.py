"""Slurm's commands on the model. Begin with `commands`; `words` has Slurm's names for what the model holds."""
