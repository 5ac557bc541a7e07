"""Writes: one thread commits all changes of the hot path in groups.

Imports `db`. Begin with `changes`, then `writer`.
"""
