"""Model: the nouns that every part shares: functions, invocations, pilots, resources, and their lifecycles.

Imports nothing of ours. Begin with `invocations` and `pilots`.
"""
