"""HTTP: what is said to a gateway, and the connections that carry it, for threads and for asyncio.

Imports `errors` and `settings` of the SDK. Begin with `messages`, then `drivers`.
"""
