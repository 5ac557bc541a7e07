"""Core: what a pilot decides. Pure: stimulus and `now` in, effects out.

Imports `ipc` (its messages) and `timing`. Begin with `pilot_core`.
"""
