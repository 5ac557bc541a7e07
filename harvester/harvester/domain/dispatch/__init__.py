"""Dispatch: which invocation runs on which pilot. A pure core: stimulus and `now` in, effects out.

Imports `model` and `protocol`; nothing of `harvest`, `cluster`, `contention` or `supervision`. Begin with `dispatcher`.
"""
