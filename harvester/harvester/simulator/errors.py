"""What can be wrong with a simulation: one class, one line for whoever asked for it."""

from __future__ import annotations


class SimulationError(Exception):
    """An input or a parameter that nothing can be simulated from. The message says what, where, and what to do."""
