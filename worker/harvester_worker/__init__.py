"""The pilot: what runs inside a batch job on a harvested node.

`python -m harvester_worker --pilot-file PATH` starts one. Its rooms: `session` decides, `agent` acts, `link` speaks to
the gateway, `slots` and `zygote` keep the processes, and `slot`, `runner`, `checkpointing` run a user's function.
"""
