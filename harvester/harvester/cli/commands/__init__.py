"""Commands: what `harvester` can be told, each with its options. They import what they need when they run.

Begin with `user`.
"""
