"""The store: the only place that speaks SQL.

`open_store(url)` gives a `Store`; `records` are what it returns, `writes` what the hot path hands it.
"""
