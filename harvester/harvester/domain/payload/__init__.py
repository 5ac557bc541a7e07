"""Payload: arguments, results and exceptions as bytes: pickles, their buffers, many calls in one, files.

Imports `model`. Begin with `pickles`.
"""
