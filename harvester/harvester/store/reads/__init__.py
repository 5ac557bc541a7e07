"""Reads: what is looked up, and the rare changes that need no group: functions, notes, retention.

Imports `db` and `writes`. Begin with `reader`.
"""
