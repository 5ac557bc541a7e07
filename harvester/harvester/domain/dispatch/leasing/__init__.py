"""Leasing: which pilot gets which invocation, ahead of its slots, and which lease is asked back.

Imports `ledger` and `queueing`. Begin with `granting`.
"""
