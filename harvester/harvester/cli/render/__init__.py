"""Render: documents as text for a terminal. Pure.

Begin with `tables`.
"""
