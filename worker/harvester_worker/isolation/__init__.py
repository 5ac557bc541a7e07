"""Isolation: what keeps one run from the next one, and a user's forks and files from the slot.

Imports `devices`. Begin with `environment_reset`.
"""
