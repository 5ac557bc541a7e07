"""Models: pilots laid over a recorded cluster, event by event.

Imports `inputs` and `report`. Begin with `overlay`.
"""
