"""The cluster of containers: one image, a compose file, and what runs on the host and in the containers.

`texts` and `role` run inside; `engine`, `stack`, `debian_base` and `story` on the host, for `command_line`.
What they share with the one-machine cluster (the parts of slurm.conf, the kinds of site) lies one folder up.
"""
