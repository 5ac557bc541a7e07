"""Others that run functions, and us: one module each with the same face, so that all do the same work in one run."""
