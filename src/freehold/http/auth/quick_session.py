"""get-session before the router looks at it: routing takes longer than the answer, and nothing is asked so often."""

from collections.abc import Awaitable, Callable

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from freehold.http.auth.replies import EXCEPTION_HANDLERS, AuthReply

_PATH = "/api/auth/get-session"


class QuickSession:
    """ASGI wrapper. The router has the same route, for the API description and for whoever runs without this."""

    def __init__(self, app: ASGIApp, get_session: Callable[[Scope], Awaitable[AuthReply]]) -> None:
        self._app = app
        self._get_session = get_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] == _PATH and scope["method"] == "GET":
            reply = await self._answer(scope)
            await reply(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: HTTPScope) -> AuthReply:
        try:
            return await self._get_session(scope)
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in EXCEPTION_HANDLERS)
            reply: AuthReply = EXCEPTION_HANDLERS[kind](Request(scope), error)
            return reply
