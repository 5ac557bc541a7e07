"""Sites: what each scheduler tells about itself, for `harvester check` and `harvester init`.

A module a scheduler asks, and one reads; both only read, beside the adapters, whose looks stay as small as they are.
"""
