"""`/api/auth`: sign-up, sign-in (also as a guest), get-session and sign-out, as better-auth's client expects them."""

from dataclasses import dataclass

import msgspec
from litestar.types import Scope

from freehold.auth.api_keys.errors import ApiKeyTooShort, InvalidApiKey
from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.errors import EmailNotVerified, EmailTaken, WrongCredentials
from freehold.auth.sessions.cookies import Presented
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.types import NewUser, Session, User
from freehold.auth.users.guests import Guests
from freehold.http.auth.answers import SignOutReply, SignUpReply, Success
from freehold.http.auth.bodies import Field, check, optional, refuse_protected
from freehold.http.auth.context import AuthContext, query_value
from freehold.http.auth.errors import NoPostedSession
from freehold.http.auth.get_session import KeySessionReply, SentCopy, session_of_key
from freehold.http.auth.replies import NO_STORE, AuthReply, json_reply, leading_to, refused
from freehold.http.auth.route import Doc, Route
from freehold.http.auth.tokens import jwt_header
from freehold.http.headers import API_KEY_HEADER, Asked, header, presented_by

_SIGN_UP_FIELDS = (
    Field("name"),
    Field("email", "email"),
    Field("password", "nonempty"),
    optional("image"),
    optional("callbackURL"),
    optional("rememberMe", "boolean"),
)
_SIGN_UP_SHAPES = ("object", "record")
_SIGN_IN_FIELDS = (Field("email"), Field("password"), optional("callbackURL"), optional("rememberMe", "boolean"))


_GET_SESSION_QUERY = (optional("disableCookieCache", "boolean"), optional("disableRefresh", "boolean"))


class OkReply(msgspec.Struct, frozen=True):
    ok: bool = True


class SignInReply(msgspec.Struct, frozen=True):
    redirect: bool
    token: str
    user: User
    url: str | msgspec.UnsetType = msgspec.UNSET


class SessionReply(msgspec.Struct, frozen=True):
    session: Session
    user: User


class GuestReply(msgspec.Struct, frozen=True):
    token: str
    user: User


_NOBODY = AuthReply(b"null", headers=((b"content-type", b"application/json"), *NO_STORE))


@dataclass(frozen=True, slots=True)
class SignInEndpoints:
    """Holds its services itself: injecting them would cost get-session a tenth of its speed."""

    edge: AuthContext
    jwts: Jwts
    api_keys: ApiKeys
    guests: Guests

    async def ok(self, _request: Asked) -> AuthReply:
        """Return `ok` while the service is up."""
        return json_reply(OkReply())

    async def sign_up_email(self, request: Asked) -> AuthReply:
        """Create a user from `name`, `email` and `password` (also `image`, `rememberMe`), and sign them in."""
        body = await self.edge.accept(request, takes_forms=True)
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
        client = await self.edge.client(request.scope)
        try:
            signed_in = await self.edge.auth.sign_up(new, client, remember=remember)
        except EmailNotVerified as waits:
            return json_reply(SignUpReply(None, waits.user))
        return self.edge.session_started(
            signed_in, SignUpReply(signed_in.session.token, signed_in.user), remember=remember
        )

    async def sign_in_email(self, request: Asked) -> AuthReply:
        """Start a session with `email` and `password` (also `rememberMe`, `callbackURL`)."""
        body = await self.edge.accept(request, takes_forms=True)
        values = check(body, _SIGN_IN_FIELDS)
        remember = values.get("rememberMe", True)
        signed_in = await self.edge.auth.sign_in(
            values["email"], values["password"], await self.edge.client(request.scope), remember=remember
        )
        token, user, target = signed_in.session.token, signed_in.user, values.get("callbackURL")
        if not target:
            return self.edge.session_started(signed_in, SignInReply(False, token, user), remember=remember)
        return self.edge.session_started(
            signed_in, SignInReply(True, token, user, target), (leading_to(target),), remember=remember
        )

    async def get_session(self, request: Asked) -> AuthReply:
        """Return the user and session that the session cookie or bearer token belongs to, or null."""
        return await self.session_of(request.scope)

    async def session_of(self, scope: Scope) -> AuthReply:
        """get-session's reply, without the router's request."""
        if (api_key := header(scope, API_KEY_HEADER)) is not None:
            return await session_of_key(self.edge, self.api_keys, scope, api_key)
        presented = presented_by(scope, self.edge.auth.cookies)
        if presented is None:
            return _NOBODY
        extend = presented.is_remembered and not _asks(scope, "disableRefresh")
        copy = self._sent_copy(scope, presented)
        found = await self.edge.auth.sessions.current(presented.token, extend=extend, copy=copy)
        if found is None:
            return json_reply(None, NO_STORE, self.edge.auth.cookies.clearing)
        body = SessionReply(found.session, found.user)
        headers = NO_STORE + await jwt_header(self.jwts, found.user)
        if found.is_extended:
            return self.edge.session_started(found, body, headers)
        if copy is not None and copy.is_wanted(found):
            return json_reply(body, headers, self.edge.data_cookies(found, remember=presented.is_remembered))
        return json_reply(body, headers)

    def _sent_copy(self, scope: Scope, presented: Presented) -> SentCopy | None:
        """The cookie cache of the request, unless it has no cookies or disables it."""
        if self.edge.data is None or presented.via != "cookie" or _asks(scope, "disableCookieCache"):
            return None
        return SentCopy(self.edge.data, self.edge.auth, scope, presented.token)

    async def post_session(self, request: Asked) -> AuthReply:
        await self.edge.accept(request)
        return refused(request.scope, NoPostedSession(), NO_STORE)

    async def sign_out(self, request: Asked) -> AuthReply:
        """End the session, if there is one, and clear its cookies."""
        await self.edge.accept(request)
        presented = presented_by(request.scope, self.edge.auth.cookies)
        if presented is not None:
            await self.edge.auth.sign_out(presented.token)
        return json_reply(SignOutReply(), set_cookies=self.edge.auth.cookies.clearing)

    async def sign_in_anonymous(self, request: Asked) -> AuthReply:
        """Start a session as a new guest, who has a database of their own."""
        await self.edge.accept(request)
        signed_in = await self.guests.sign_in(await self.edge.client(request.scope))
        return self.edge.session_started(signed_in, GuestReply(signed_in.session.token, signed_in.user))

    async def delete_anonymous_user(self, request: Asked) -> AuthReply:
        """Delete the signed-in guest and their database."""
        await self.edge.accept(request)
        await self.guests.delete(await self.edge.signed_in(request.scope))
        return json_reply(Success(), set_cookies=self.edge.auth.cookies.clearing)


ROUTES: tuple[Route[SignInEndpoints], ...] = (
    Route("GET", "/ok", SignInEndpoints.ok, "anyone", "auth", Doc("auth_ok", gives=OkReply, is_alone=True)),
    Route("POST", "/sign-up/email", SignInEndpoints.sign_up_email, "anyone", "sign-in",
          Doc("sign_up_email", _SIGN_UP_FIELDS, SignUpReply, (EmailTaken,))),
    Route("POST", "/sign-in/email", SignInEndpoints.sign_in_email, "anyone", "sign-in",
          Doc("sign_in_email", _SIGN_IN_FIELDS, SignInReply, (WrongCredentials,))),
    Route("GET", "/get-session", SignInEndpoints.get_session, "maybe session", "auth",
          Doc("get_session", _GET_SESSION_QUERY, SessionReply | KeySessionReply | None,
              (InvalidApiKey, ApiKeyTooShort))),
    Route("POST", "/get-session", SignInEndpoints.post_session, "anyone", "auth"),
    Route("POST", "/sign-out", SignInEndpoints.sign_out, "anyone", "auth", Doc("sign_out", gives=SignOutReply)),
    Route("POST", "/sign-in/anonymous", SignInEndpoints.sign_in_anonymous, "anyone", "sign-in",
          Doc("sign_in_anonymous", gives=GuestReply)),
    Route("POST", "/delete-anonymous-user", SignInEndpoints.delete_anonymous_user, "session", "auth",
          Doc("delete_anonymous_user", gives=Success)),
)  # fmt: skip


def _asks(scope: Scope, option: str) -> bool:
    return query_value(scope, option) not in {None, "", "false"}
