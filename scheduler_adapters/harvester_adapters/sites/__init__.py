"""Sites: what each scheduler tells about itself, for `harvester check` and `harvester init`.

For each scheduler one module asks, with commands that change nothing, and one says what the answers mean. They are
apart from the adapters, whose looks stay as small as they are.
"""
