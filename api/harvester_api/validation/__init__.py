"""Validation: what is refused at the door, so that nothing is accepted that can never run.

Pure checks, and the process that reads the largest bodies. Imports `http` and `schemas`. Begin with `functions`.
"""
