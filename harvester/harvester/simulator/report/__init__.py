"""Report: what a simulation found, as a record, as JSON and as plots.

Imports `inputs`. Begin with `report`.
"""
