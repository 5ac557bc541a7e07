"""Up: `harvester up`: concrete gateway, store, daemon and adapter out of a configuration, in one process.

Begin with `up`, then `build`.
"""
