"""An answer that is lost on its way: the gateway has done what it was asked, and the caller hears nothing of it."""


async def lose_answer(app, scope, receive, send):
    """Let an ASGI application do its work, and answer as a proxy does that has lost the connection behind it."""

    async def nowhere(_message):
        pass

    await app(scope, receive, nowhere)
    await send({"type": "http.response.start", "status": 502, "headers": []})
    await send({"type": "http.response.body", "body": b""})
