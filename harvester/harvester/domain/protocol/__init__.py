"""Protocol: the documents that programs of ours send to each other: pilot and gateway, gateway and client, daemon.

Imports `model` and `payload`, and from `cluster` what the daemon's notes show of it. Begin with `wire`.
"""
