"""Text: what Slurm's commands print, as records; and the rules of Slurm by which it is understood. Pure.

Begin with `words`, which all others use; then a module for each command.
"""
