"""Contention: which prime jobs would start sooner without our pilots, by a plan of our own over a snapshot.

Imports `cluster`. Begin with `contention`.
"""
