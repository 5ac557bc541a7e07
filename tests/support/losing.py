"""An answer that is lost on its way: the gateway has done what it was asked, and the caller hears nothing of it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def lose_answer(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an ASGI application do its work, and answer as a proxy does that has lost the connection behind it."""

    async def nowhere(_message: Message) -> None:
        pass

    await app(scope, receive, nowhere)
    await send({"type": "http.response.start", "status": 502, "headers": []})
    await send({"type": "http.response.body", "body": b""})
