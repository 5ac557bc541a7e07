"""Service: the gateway as its routes see it, and what it does by the clock.

Imports everything of the gateway but routes and pilots' connections. Begin with `gateway`.
"""
