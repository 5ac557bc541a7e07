"""Slot: the process that runs a user's function, one activation after the other.

Imports `ipc`, `isolation` and `devices`. Begin with `slot`, then `runner`.
"""
