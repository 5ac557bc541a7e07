"""Walks: through how many modules ("rooms") a request, a call, a run and a tick go. Begin with `__main__`."""
