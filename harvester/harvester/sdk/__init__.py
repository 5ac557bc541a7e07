"""The Python SDK: what runs on a user's machine and speaks REST to a gateway.

Knows the gateway's REST API and `harvester.domain`; never the store, the daemon or an adapter. Its public names are
those of `harvester`.
"""
