"""`/api/auth`: sign-up, sign-in, get-session and sign-out, on the wire as better-auth's official client has them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Router, asgi, get, post, route
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.types import Method, Receive, Scope, Send

from freehold.auth.api_keys.errors import ApiKeyTooShort, InvalidApiKey
from freehold.auth.errors import EmailNotVerified, EmailTaken, WrongCredentials
from freehold.auth.sessions.cookies import Presented
from freehold.auth.types import NewUser, Session, User
from freehold.http.auth.bodies import Field, check, documented, documented_query, refuse_protected
from freehold.http.auth.edge import AuthEdge, answers, query_value
from freehold.http.auth.jwts import jwt_header
from freehold.http.auth.quick_session import KeySessionReply, SentCopy, session_of_key
from freehold.http.auth.replies import (
    EXCEPTION_HANDLERS,
    NO_STORE,
    AuthReply,
    Refusal,
    json_reply,
    not_found,
)
from freehold.http.headers import API_KEY_HEADER, header, presented_by
from freehold.http.route_facts import facts

BASE_PATH = "/api/auth"

_MAX_BODY_BYTES = 64 * 1024
_METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_SIGN_UP_FIELDS = (
    Field("name"),
    Field("email", "email"),
    Field("password", "nonempty"),
    Field("image", is_required=False),
    Field("callbackURL", is_required=False),
    Field("rememberMe", "boolean", is_required=False),
)
_SIGN_UP_SHAPES = ("object", "record")
_SIGN_IN_FIELDS = (
    Field("email"),
    Field("password"),
    Field("callbackURL", is_required=False),
    Field("rememberMe", "boolean", is_required=False),
)


_GET_SESSION_QUERY = (
    Field("disableCookieCache", "boolean", is_required=False),
    Field("disableRefresh", "boolean", is_required=False),
)


class OkReply(msgspec.Struct, frozen=True):
    ok: bool = True


class SignUpReply(msgspec.Struct, frozen=True):
    token: str | None
    user: User


class SignInReply(msgspec.Struct, frozen=True):
    redirect: bool
    token: str
    user: User
    url: str | msgspec.UnsetType = msgspec.UNSET


class SessionReply(msgspec.Struct, frozen=True):
    session: Session
    user: User


class SignOutReply(msgspec.Struct, frozen=True):
    success: bool = True


_NOBODY = AuthReply(b"null", headers=((b"content-type", b"application/json"), *NO_STORE))


class _Endpoints:
    """What the routes do. Holds its service itself: injecting it would cost get-session a tenth of its speed."""

    def __init__(self, edge: AuthEdge) -> None:
        self._auth = edge.auth
        self._edge = edge

    async def sign_up(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request, takes_forms=True)
        values = check(body, _SIGN_UP_FIELDS, shapes=_SIGN_UP_SHAPES)
        refuse_protected(body)
        new = NewUser(
            name=values["name"],
            email=values["email"],
            password=values["password"],
            image=values.get("image"),
            callback_url=values.get("callbackURL", ""),
        )
        remember = values.get("rememberMe", True)
        client = await self._edge.client(request.scope)
        try:
            signed_in = await self._auth.sign_up(new, client, remember=remember)
        except EmailNotVerified as waits:
            return json_reply(SignUpReply(None, waits.user))
        return self._edge.session_started(
            signed_in, SignUpReply(signed_in.session.token, signed_in.user), remember=remember
        )

    async def sign_in(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request, takes_forms=True)
        values = check(body, _SIGN_IN_FIELDS)
        remember = values.get("rememberMe", True)
        signed_in = await self._auth.sign_in(
            values["email"], values["password"], await self._edge.client(request.scope), remember=remember
        )
        token, user, target = signed_in.session.token, signed_in.user, values.get("callbackURL")
        if not target:
            return self._edge.session_started(signed_in, SignInReply(False, token, user), remember=remember)
        location = quote(target, safe="/:?#[]@!$&'()*+,;=%~-._").encode()
        return self._edge.session_started(
            signed_in, SignInReply(True, token, user, target), ((b"location", location),), remember=remember
        )

    async def get_session(self, scope: Scope) -> AuthReply:
        if (api_key := header(scope, API_KEY_HEADER)) is not None:
            return await session_of_key(self._edge, scope, api_key)
        presented = presented_by(scope, self._auth.cookies)
        if presented is None:
            return _NOBODY
        extend = presented.is_remembered and not _asks(scope, "disableRefresh")
        copy = self._sent_copy(scope, presented)
        found = await self._auth.sessions.current(presented.token, extend=extend, copy=copy)
        if found is None:
            return json_reply(None, NO_STORE, self._auth.cookies.clearing)
        body = SessionReply(found.session, found.user)
        headers = NO_STORE + await jwt_header(self._edge, found.user)
        if found.is_extended:
            return self._edge.session_started(found, body, headers)
        if copy is not None and copy.is_wanted(found):
            return json_reply(body, headers, self._edge.data_cookies(found, remember=presented.is_remembered))
        return json_reply(body, headers)

    def _sent_copy(self, scope: Scope, presented: Presented) -> SentCopy | None:
        """The cookie cache of a request with cookies, unless it is not to be used."""
        if self._edge.data is None or presented.via != "cookie" or _asks(scope, "disableCookieCache"):
            return None
        return SentCopy(self._edge.data, self._auth, scope, presented.token)

    async def post_session(self, request: Request[Any, Any, Any]) -> AuthReply:
        await self._edge.accept(request)
        raise Refusal(
            405,
            "METHOD_NOT_ALLOWED_DEFER_SESSION_REQUIRED",
            "POST method requires deferSessionRefresh to be enabled in session config",
            NO_STORE,
        )

    async def sign_out(self, request: Request[Any, Any, Any]) -> AuthReply:
        await self._edge.accept(request)
        presented = presented_by(request.scope, self._auth.cookies)
        if presented is not None:
            await self._auth.sign_out(presented.token)
        return json_reply(SignOutReply(), set_cookies=self._auth.cookies.clearing)


def session_reader(edge: AuthEdge) -> Callable[[Scope], Awaitable[AuthReply]]:
    """What answers `GET /get-session`, for those who call it without the router."""
    return _Endpoints(edge).get_session


def auth_routes(edge: AuthEdge, further: Sequence[HTTPRouteHandler] = ()) -> Router:
    """These routes and `further` ones, with errors of their own.

    Whatever else is asked for below `/api/auth` is a 404 without a body.
    """
    endpoints = _Endpoints(edge)

    @get("/ok", operation_id="auth_ok", opt=facts(is_alone=True), responses=answers(OkReply))
    async def ok() -> AuthReply:
        """Auth is up."""
        return json_reply(OkReply())

    @post(
        "/sign-up/email",
        operation_id="sign_up_email",
        opt=facts(EmailTaken),
        operation_class=documented(_SIGN_UP_FIELDS),
        status_code=200,
        responses=answers(SignUpReply),
    )
    async def sign_up_email(request: Request[Any, Any, Any]) -> AuthReply:
        """Make a user from `name`, `email` and `password` (also `image`, `rememberMe`), and sign them in."""
        return await endpoints.sign_up(request)

    @post(
        "/sign-in/email",
        operation_id="sign_in_email",
        opt=facts(WrongCredentials),
        operation_class=documented(_SIGN_IN_FIELDS),
        status_code=200,
        responses=answers(SignInReply),
    )
    async def sign_in_email(request: Request[Any, Any, Any]) -> AuthReply:
        """Start a session with `email` and `password` (also `rememberMe`, `callbackURL`)."""
        return await endpoints.sign_in(request)

    @get(
        "/get-session",
        operation_id="get_session",
        opt=facts(InvalidApiKey, ApiKeyTooShort, caller="maybe session"),
        operation_class=documented_query(*_GET_SESSION_QUERY),
        responses=answers(SessionReply | KeySessionReply | None),
    )
    async def get_session(scope: Scope) -> AuthReply:
        """Who the session cookie or the bearer token belongs to, or null."""
        return await endpoints.get_session(scope)

    @post("/get-session", include_in_schema=False)
    async def post_session(request: Request[Any, Any, Any]) -> AuthReply:
        return await endpoints.post_session(request)

    @post("/sign-out", operation_id="sign_out", status_code=200, responses=answers(SignOutReply))
    async def sign_out(request: Request[Any, Any, Any]) -> AuthReply:
        """End the session, if there is one, and clear its cookies."""
        return await endpoints.sign_out(request)

    async def before_each(request: Request[Any, Any, Any]) -> AuthReply | None:
        # The framework has trimmed `path`; only what the client sent tells.
        if request.scope.get("raw_path", b"").endswith(b"/"):
            return not_found()
        edge.refuse_cross_site(request)
        return None

    handlers = [ok, sign_up_email, sign_in_email, get_session, post_session, sign_out, *further]
    return Router(
        BASE_PATH,
        route_handlers=[*_other_methods(handlers), *handlers, _elsewhere()],
        before_request=before_each,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=_MAX_BODY_BYTES,
        tags=["auth"],
    )


def _other_methods(handlers: list[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """For each path the methods that it does not have; the framework would answer 405."""
    taken: dict[str, set[Method]] = {}
    for handler in handlers:
        for path in handler.paths:
            taken.setdefault(path, set()).update(handler.http_methods)

    def refused(path: str, methods: set[Method]) -> HTTPRouteHandler:
        @route(path, http_method=sorted(methods), status_code=404, include_in_schema=False)
        async def no_such_method() -> AuthReply:
            return not_found()

        return no_such_method

    return [refused(path, set(_METHODS) - methods) for path, methods in taken.items()]


def _elsewhere() -> ASGIRouteHandler:
    @asgi("/", is_mount=True, copy_scope=True)
    async def no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
        await not_found()(scope, receive, send)

    return no_such_path


def _asks(scope: Scope, option: str) -> bool:
    return query_value(scope, option) not in {None, "", "false"}
