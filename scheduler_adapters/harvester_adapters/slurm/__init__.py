"""Slurm: asked and told by its own commands, and by PSI/J where a pilot is submitted.

Begin with `adapter`; what each command prints is read by a module of its own.
"""
