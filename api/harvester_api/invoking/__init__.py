"""Invoking: from the arguments of a request to an invocation that is accepted: read, limited, not repeated, written.

Imports `functions`, `runtime`, `validation` and what is beneath them. Begin with `order`, then `acceptances`.
"""
