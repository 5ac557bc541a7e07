"""Storage: payloads that are too large for the store's rows, as files, and the way to every payload wherever it lies.

Imports nothing of the gateway but `outcome`. Begin with `blobs`.
"""
