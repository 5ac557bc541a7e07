"""Pool: the agent's side of the slot processes, and the zygote from which they are forked.

Imports `ipc`, `isolation` and, in the zygote, `slot`. Begin with `slots`.
"""
