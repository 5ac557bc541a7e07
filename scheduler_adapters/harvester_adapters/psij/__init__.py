"""PSI/J: schedulers that have no adapter of their own, reached through PSI/J's executors, with a loss of knowledge.

Begin with `adapter`; `executors` says which there are, and each has a module of its own. Imports `harvester.domain` and
the modules beside this folder.
"""
