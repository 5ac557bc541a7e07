"""The daemon: looks at the cluster, reconciles, plans, submits and cancels pilots, tick by tick.

Decisions are the domain's (`reconcile`, `planner`); here they are performed. Knows the scheduler only through
`domain.ports.SchedulerAdapter`, and the gateway only through the store.
"""
