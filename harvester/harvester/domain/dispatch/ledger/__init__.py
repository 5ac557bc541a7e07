"""Ledger: the dispatcher's books: open invocations, pilots, who holds what; and the effects that it gives.

Imports `queueing`. Begin with `ledger`.
"""
