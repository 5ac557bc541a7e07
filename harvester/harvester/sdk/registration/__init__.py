"""Registration: decorated functions, which of them the gateway has, and whether they still are what was sent.

Imports `payload` and `http`. Begin with `functions`, then `registry`.
"""
