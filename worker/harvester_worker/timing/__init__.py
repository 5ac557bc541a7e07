"""Timing: when a pilot must have left, when it says that it lives, and for how long it goes on unheard.

Imports nothing of the pilot. Begin with `drain`.
"""
