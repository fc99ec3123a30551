"""`/api/v1/auth`: the same sign-up and sign-in by form post, with the session in a cookie named `session_id`."""

from http import HTTPStatus
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.datastructures import ResponseHeader

from freehold.auth.types import NewUser, SignedIn
from freehold.errors import Unauthenticated
from freehold.http.auth.answers import Success, UserReply
from freehold.http.auth.bodies import Field, check, documented, read_body, refuse_protected
from freehold.http.auth.edge import AuthEdge, answers
from freehold.http.auth.origin_check import refuse_strange_origin
from freehold.http.auth.replies import NO_STORE, AuthReply, Refusal, json_reply
from freehold.http.headers import presented_by
from freehold.http.problems import EXCEPTION_HANDLERS, FRAMEWORK_CODES, problem
from freehold.http.route_facts import facts

_MAX_BODY_BYTES = 64 * 1024
_SIGN_UP_FIELDS = (Field("email", "email"), Field("password", "nonempty"), Field("name", is_required=False))
_LOGIN_FIELDS = (Field("email"), Field("password"))


class _Endpoints:
    """Only translates: every rule is the service's."""

    def __init__(self, edge: AuthEdge) -> None:
        self._edge = edge
        self._auth = edge.auth

    async def signup(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._accept(request)
        values = check(body, _SIGN_UP_FIELDS)
        refuse_protected(body)
        new = NewUser(name=values.get("name", ""), email=values["email"], password=values["password"])
        return self._started(
            await self._auth.sign_up(new, await self._edge.client(request.scope)), status=201
        )

    async def login(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = check(await self._accept(request), _LOGIN_FIELDS)
        client = await self._edge.client(request.scope)
        return self._started(await self._auth.sign_in(values["email"], values["password"], client))

    async def logout(self, request: Request[Any, Any, Any]) -> AuthReply:
        await self._accept(request)
        presented = presented_by(request.scope, self._auth.cookies, takes_form_cookie=True)
        if presented is not None:
            await self._auth.sign_out(presented.token)
        cookies = (self._auth.cookies.form_clearing, *self._auth.cookies.clearing)
        return json_reply(Success(), NO_STORE, cookies)

    async def me(self, request: Request[Any, Any, Any]) -> AuthReply:
        presented = presented_by(request.scope, self._auth.cookies, takes_form_cookie=True)
        found = await self._auth.sessions.current(presented.token) if presented is not None else None
        if found is None:
            raise Unauthenticated("sign in first: this request carries no session, or one that has ended")
        cookies = (self._auth.cookies.form_setting(found.session.token),) if found.is_extended else ()
        return json_reply(UserReply(found.user), NO_STORE, cookies)

    async def _accept(self, request: Request[Any, Any, Any]) -> Any:
        body = await read_body(request, takes_forms=True)
        refuse_strange_origin(request.scope, self._auth.origins)
        return body

    def _started(self, signed_in: SignedIn, *, status: int = 200) -> AuthReply:
        cookie = self._auth.cookies.form_setting(signed_in.session.token)
        return json_reply(UserReply(signed_in.user), NO_STORE, (cookie,), status=status)


def form_routes(edge: AuthEdge) -> Router:
    """The routes; errors are problem details, as everywhere outside `/api/auth`."""
    endpoints = _Endpoints(edge)
    sets_cookie = [ResponseHeader(name="Set-Cookie", description="`session_id`", documentation_only=True)]

    @post(
        "/signup",
        operation_id="form_sign_up",
        operation_class=documented(_SIGN_UP_FIELDS, is_form=True),
        status_code=201,
        responses=answers(UserReply, status=201),
        response_headers=sets_cookie,
    )
    async def signup(request: Request[Any, Any, Any]) -> AuthReply:
        """Make a user from the fields `email` and `password` (also `name`), and sign them in."""
        return await endpoints.signup(request)

    @post(
        "/login",
        operation_id="form_login",
        opt=facts(Unauthenticated),
        operation_class=documented(_LOGIN_FIELDS, is_form=True),
        status_code=200,
        responses=answers(UserReply),
        response_headers=sets_cookie,
    )
    async def login(request: Request[Any, Any, Any]) -> AuthReply:
        """Start a session with the fields `email` and `password`."""
        return await endpoints.login(request)

    @post("/logout", operation_id="form_logout", status_code=200, responses=answers(Success))
    async def logout(request: Request[Any, Any, Any]) -> AuthReply:
        """End the session, if there is one, and clear its cookies."""
        return await endpoints.logout(request)

    @get("/me", operation_id="form_me", opt=facts(caller="form session"), responses=answers(UserReply))
    async def me(request: Request[Any, Any, Any]) -> AuthReply:
        """Who is signed in; the session lives on."""
        return await endpoints.me(request)

    async def before_each(request: Request[Any, Any, Any]) -> None:
        edge.refuse_cross_site(request)

    return Router(
        "/api/v1/auth",
        route_handlers=[signup, login, logout, me],
        before_request=before_each,
        exception_handlers={**EXCEPTION_HANDLERS, Refusal: _refused},
        request_max_body_size=_MAX_BODY_BYTES,
        tags=["auth"],
    )


def _refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    """What the shared checks say in better-auth's words, as a problem."""
    code = FRAMEWORK_CODES.get(refusal.status, "invalid_input")
    return problem(request, refusal.status, code, refusal.message or HTTPStatus(refusal.status).phrase)
