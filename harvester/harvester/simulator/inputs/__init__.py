"""Inputs: trace files, read into prime jobs or gaps.

Imports `errors` and `parameters` of the simulator. Begin with `trace_file`.
"""
