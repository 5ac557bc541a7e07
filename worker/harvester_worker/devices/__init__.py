"""Devices: what the batch job was given: where it runs, until when, which GPUs, by which variables.

Imports nothing of the pilot. Begin with `allocation`.
"""
