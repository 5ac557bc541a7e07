"""HTTP: how requests are read and answered: routing, parameters, bodies, who calls, the OpenAPI document.

Imports `schemas` and the modules beneath every folder (`settings`, `problems`); never what serves an invocation. Begin
with `routing`.
"""
