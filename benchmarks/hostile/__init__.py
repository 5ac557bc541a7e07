"""The soak's faults, functions and load."""
