"""PBS Pro and OpenPBS: asked and told by their own commands, and by PSI/J where a pilot is submitted.

Begin with `adapter`; `records` takes the answers apart, and each kind of record is read by a module of its own.
"""
