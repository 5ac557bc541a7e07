"""Submit: from `submit` and `map` to results: batches that go out, a stream that tells of ends, futures that end.

Imports `operations`, `registration` and what is beneath them. Begin with `requests`, then `session`.
"""
