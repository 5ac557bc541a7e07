"""Harvest: how many pilots there should be, where, for how long, and when they leave. Pure decisions.

Imports `cluster`, `contention` and `model`; nothing of `dispatch`. Begin with `planning`, then `planner`.
"""
