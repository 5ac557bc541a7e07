"""Protocol: the documents that programs of ours send to each other: pilot and gateway, gateway and client, daemon.

Imports `model` and `payload`. Begin with `wire`.
"""
