"""`/api/v1/auth`: the same sign-up and sign-in by form post, with the session in a cookie named `session_id`."""

from dataclasses import dataclass
from typing import Any

from litestar.datastructures import ResponseHeader

from freehold.auth.types import NewUser, SignedIn
from freehold.errors import Unauthenticated
from freehold.http.auth.answers import Success, UserReply
from freehold.http.auth.bodies import LOGIN_FIELDS, REGISTER_FIELDS, check, read_body, refuse_protected
from freehold.http.auth.context import AuthContext
from freehold.http.auth.origin_check import refuse_strange_origin
from freehold.http.auth.replies import NO_STORE, AuthReply, json_reply
from freehold.http.auth.route import Doc, Route, bound
from freehold.http.headers import Asked, presented_by
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.single_router import SingleRouter

BASE_PATH = "/api/v1/auth"

_MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FormEndpoints:
    """Only translates; the services have all the rules."""

    edge: AuthContext

    async def signup(self, request: Asked) -> AuthReply:
        """Create a user from the fields `email` and `password` (also `name`), and sign them in."""
        body = await self._accept(request)
        values = check(body, REGISTER_FIELDS)
        refuse_protected(body)
        new = NewUser(name=values.get("name", ""), email=values["email"], password=values["password"])
        return self._started(await self.edge.auth.sign_up(new, await self.edge.client(request.scope)), status=201)

    async def login(self, request: Asked) -> AuthReply:
        """Start a session with the fields `email` and `password`."""
        values = check(await self._accept(request), LOGIN_FIELDS)
        client = await self.edge.client(request.scope)
        return self._started(await self.edge.auth.sign_in(values["email"], values["password"], client))

    async def logout(self, request: Asked) -> AuthReply:
        """End the session, if there is one, and clear its cookies."""
        await self._accept(request)
        presented = presented_by(request.scope, self.edge.auth.cookies, takes_form_cookie=True)
        if presented is not None:
            await self.edge.auth.sign_out(presented.token)
        cookies = (self.edge.auth.cookies.form_clearing, *self.edge.auth.cookies.clearing)
        return json_reply(Success(), NO_STORE, cookies)

    async def me(self, request: Asked) -> AuthReply:
        """Return the signed-in user, and extend the session."""
        presented = presented_by(request.scope, self.edge.auth.cookies, takes_form_cookie=True)
        found = await self.edge.auth.sessions.current(presented.token) if presented is not None else None
        if found is None:
            raise Unauthenticated("sign in first: this request carries no session, or one that has ended")
        cookies = (self.edge.auth.cookies.form_setting(found.session.token),) if found.is_extended else ()
        return json_reply(UserReply(found.user), NO_STORE, cookies)

    async def _accept(self, request: Asked) -> Any:
        body = await read_body(request, takes_forms=True)
        refuse_strange_origin(request.scope, self.edge.auth.origins)
        return body

    def _started(self, signed_in: SignedIn, *, status: int = 200) -> AuthReply:
        cookie = self.edge.auth.cookies.form_setting(signed_in.session.token)
        return json_reply(UserReply(signed_in.user), NO_STORE, (cookie,), status=status)


_SETS_COOKIE = {
    "response_headers": [ResponseHeader(name="Set-Cookie", description="`session_id`", documentation_only=True)]
}

ROUTES: tuple[Route[FormEndpoints], ...] = (
    Route("POST", "/signup", FormEndpoints.signup, "anyone", "sign-in",
          Doc("form_sign_up", REGISTER_FIELDS, UserReply, status=201, is_form=True, more=_SETS_COOKIE)),
    Route("POST", "/login", FormEndpoints.login, "anyone", "sign-in",
          Doc("form_login", LOGIN_FIELDS, UserReply, (Unauthenticated,), is_form=True, more=_SETS_COOKIE)),
    Route("POST", "/logout", FormEndpoints.logout, "anyone", "auth", Doc("form_logout", gives=Success)),
    Route("GET", "/me", FormEndpoints.me, "form session", "auth", Doc("form_me", gives=UserReply)),
)  # fmt: skip


def form_routes(edge: AuthContext) -> SingleRouter:
    """The router; errors are problem details, as everywhere outside `/api/auth`."""

    async def before_each(request: Asked) -> None:
        edge.refuse_cross_site(request)

    return SingleRouter(
        BASE_PATH,
        route_handlers=bound(ROUTES, FormEndpoints(edge)),
        before_request=before_each,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=_MAX_BODY_BYTES,
        tags=["auth"],
    )
