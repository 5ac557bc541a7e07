"""Devices: what the batch job was given: its node, its time, its GPUs, and the variables that name them.

Imports nothing of the pilot. Begin with `allocation`.
"""
