"""The cluster that all fake schedulers share: nodes, queues, batch jobs, and a clock that tests move.

Begin with `cluster`. `mom` starts batch jobs as real processes where a test wants them.
"""
