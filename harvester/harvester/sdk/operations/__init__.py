"""Operations: everything that is asked of a gateway, each written once as a generator of requests.

Imports `registration`, `payload` and `http`. Begin with `calls`.
"""
