"""Observing: what the daemon knows of cluster, pilots and work, and what it learns from that.

Begin with `looking`.
"""
