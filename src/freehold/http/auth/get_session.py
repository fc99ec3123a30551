"""get-session ahead of the router: routing takes longer than answering, and no route is called as often."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from freehold.auth.api_keys.errors import ApiKeyRateLimited, ApiKeyUsedUp
from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.service import Auth
from freehold.auth.sessions.cached_sessions import SessionData
from freehold.auth.types import SignedIn, User
from freehold.dates import to_iso, utc_now
from freehold.errors import RateLimited
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import EXCEPTION_HANDLERS, AuthReply, HeaderPairs, json_reply, refused
from freehold.http.headers import header

_PATH = "/api/auth/get-session"


class GetSessionFastPath:
    """ASGI wrapper. The router has the same route, for the API description and for use without the wrapper."""

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


# The cookie cache of a request: read when needed, sent again if it is missing or was unusable.


class SentCopy:
    """Returns the copy in the cookie when called."""

    def __init__(self, data: SessionData, auth: Auth, scope: Scope, token: str) -> None:
        self._data = data
        self._auth = auth
        self._token = token
        self._value = auth.cookies.data_in(header(scope, b"cookie") or "")
        self._was_asked = False
        self._found: SignedIn | None = None

    def __call__(self) -> SignedIn | None:
        self._was_asked = True
        if self._value is not None:
            self._found = self._data.read(self._value, self._token, self._auth.clock())
        return self._found

    def is_wanted(self, answered: SignedIn) -> bool:
        """Whether to send a new copy: there was none, or it was read but is not what was answered."""
        return self._value is None or (self._was_asked and answered is not self._found)


# get-session with the header `x-api-key`.

# The lifetime that better-auth reports for a key that never expires.
_ENDLESS = timedelta(minutes=10)


class KeySession(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What get-session returns in place of a session, which a key does not have."""

    id: str
    token: str
    user_id: str
    user_agent: str | None
    ip_address: str | None
    created_at: str
    updated_at: str
    expires_at: str


class KeySessionReply(msgspec.Struct, frozen=True):
    user: User
    session: KeySession


def _again(error: RateLimited) -> HeaderPairs:
    return ((b"retry-after", str(error.retry_after_s).encode()),)


async def session_of_key(edge: AuthContext, api_keys: ApiKeys, scope: Scope, text: str) -> AuthReply:
    """get-session's reply to a key: its owner. Counts as a use of the key."""
    try:
        holder = await api_keys.recognise(text)
    except ApiKeyRateLimited as error:
        return refused(scope, error, _again(error), details={"tryAgainIn": error.retry_after_ms})
    except ApiKeyUsedUp as error:
        return refused(scope, error, _again(error))
    key, now = holder.api_key, utc_now()
    session = KeySession(
        id=key.key_id,
        token=text,
        user_id=holder.user_id,
        user_agent=header(scope, b"user-agent") or None,
        ip_address=edge.addresses.of(scope) or None,
        created_at=to_iso(now),
        updated_at=to_iso(now),
        expires_at=key.expires_at or to_iso(now + _ENDLESS),
    )
    return json_reply(KeySessionReply(holder.user, session))
