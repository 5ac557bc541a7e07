"""The database: from a URL to connections, the tables, their versions, and what can go wrong.

Imports nothing of the store. Begin with `tables`.
"""
