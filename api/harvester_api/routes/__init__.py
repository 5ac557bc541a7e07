"""The routes, one module a noun. A route reads its request, asks the gateway, and writes the answer."""
