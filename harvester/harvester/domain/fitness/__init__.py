"""Fitness: whether a site is fit for pilots, and what a configuration for it may say. Pure.

Begin with `findings`. Imports `cluster`, `harvest`, `model`, `protocol` and `supervision`; nothing of `dispatch`.
"""
