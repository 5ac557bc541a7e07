"""Payload: arguments, results and functions as bytes, with the packages that travel along.

Imports `http`. Begin with `payloads` and `shipping`.
"""
