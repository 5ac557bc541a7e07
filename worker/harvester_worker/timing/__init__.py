"""Timing: when a pilot must have left, when it sends heartbeats, and how long it stays without an answer.

Imports nothing of the pilot. Begin with `drain`.
"""
