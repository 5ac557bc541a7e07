"""Queueing: in which order invocations wait: lanes, fair shares, priorities, learned durations.

Imports `model`. Begin with `queues`.
"""
