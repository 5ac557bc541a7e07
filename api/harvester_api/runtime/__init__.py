"""Runtime: the gateway's moving parts around the dispatcher: memory, journal, pilots' messages, streams to clients.

Imports `http`, `schemas` and `storage`. Begin with `open_invocations`, then `effects`.
"""
