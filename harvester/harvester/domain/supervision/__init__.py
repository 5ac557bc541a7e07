"""Supervision: what follows from a look at the cluster for pilots that are there, and when to look again.

Imports `harvest` and what is beneath it. Begin with `reconcile`.
"""
