"""Pilots: what the daemon does to its pilots' batch jobs: folders, submission, cancellation, pauses.

Begin with `launcher`.
"""
