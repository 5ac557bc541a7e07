"""Site: `harvester check` and `harvester init`, as far as they ask. What follows is `harvester.domain.fitness`.

Begin with `check`.
"""
