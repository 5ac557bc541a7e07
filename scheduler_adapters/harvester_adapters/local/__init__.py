"""The embedded `local` scheduler: pilots as processes of this machine, on nodes that do not exist.

Begin with `rules` (pure), then `adapter`.
"""
