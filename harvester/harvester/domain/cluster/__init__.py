"""Cluster: what a scheduler says of its nodes, batch jobs and partitions, and the windows that follow from it.

Imports `model`. Begin with `snapshot`; `ports` is what an adapter implements.
"""
