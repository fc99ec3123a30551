"""CORS for the front ends of trusted origins, with credentials. Source: the Fetch standard, section 3.3.

The framework's middleware knows neither patterns nor apps' own schemes, which `TRUSTED_ORIGINS` may contain; and one
decision must cover both who may read a response and whose cookies count.
"""

import re

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from freehold.auth.origins import TrustedOrigins
from freehold.http.auth.origin_check import is_own_form
from freehold.http.headers import header
from freehold.http.page_origins import PageOrigins

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = b", ".join(
    (b"ETag, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id", b"set-auth-token, set-auth-jwt, x-retry-after")
)
_PREFLIGHT_AGE_S = b"600"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")


class Cors:
    """ASGI wrapper. Requests without an `Origin`, which are most, pass straight through."""

    def __init__(self, app: ASGIApp, origins: TrustedOrigins) -> None:
        self._app = app
        self._origins = origins
        self._pages = PageOrigins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (origin := header(scope, b"origin")) is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"vary", b"Origin")]
        is_trusted = self._origins.is_trusted(origin)
        if not is_trusted and not is_own_form(scope):
            self._pages.not_trusted(scope, origin)
        if is_trusted:
            headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
            headers.append((b"access-control-allow-credentials", b"true"))
        wanted_method = header(scope, b"access-control-request-method")
        if scope["method"] == "OPTIONS" and wanted_method is not None:
            await _answer_preflight(scope, send, headers)
            return
        headers.append((b"access-control-expose-headers", _EXPOSED))

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                if is_trusted and any(name == b"set-cookie" for name, _ in message["headers"]):
                    self._pages.cookie_set(scope, origin)
                kept = [pair for pair in message["headers"] if pair[0] != b"access-control-expose-headers"]
                message["headers"] = [*kept, *headers]
            await send(message)

        await self._app(scope, receive, send_allowed)


async def _answer_preflight(scope: HTTPScope, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer a preflight. Without the headers that only trusted origins get, the browser stops here."""
    headers.append((b"access-control-allow-methods", _METHODS))
    headers.append((b"access-control-max-age", _PREFLIGHT_AGE_S))
    wanted = header(scope, b"access-control-request-headers")
    if wanted is not None and _HEADER_NAMES.fullmatch(wanted):
        headers.append((b"access-control-allow-headers", wanted.encode()))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
