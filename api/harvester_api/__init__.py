"""The gateway: takes invocations over REST, routes them to the pilots that are connected now.

`settings` says what it is told, `app.create_app` makes the application, `server` runs it. It knows the domain and the
store, and never a scheduler.
"""
