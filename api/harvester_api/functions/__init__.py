"""Functions: the catalog of what can be called, who sees what by which name, and what nobody calls any more.

Imports `http`. Begin with `catalog`.
"""
