"""The pilot: what runs inside a batch job on a harvested node.

`python -m harvester_worker --pilot-file PATH` starts one. Its rooms: `pilot_core` decides, `agent` acts, `connection`
speaks to the gateway, `slots` and `zygote` keep the processes, and `slot`, `runner`, `checkpointing` run a user's
function.
"""
