"""One gateway to measure: its system, its pilots, its users."""
