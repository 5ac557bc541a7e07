"""Schemas: the JSON documents of the API, in and out. The OpenAPI document is drawn from these very records.

Imports nothing of the gateway but `outcome` and `failures`. Begin with `requests` and `responses`.
"""
