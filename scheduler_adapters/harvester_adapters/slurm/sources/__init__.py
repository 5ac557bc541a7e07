"""Sources: nodes and batch jobs of a Slurm, from its commands' text or from pyslurm, as the same records.

Imports the parsers of the folder above. Begin with `source`.
"""
