"""`/api/auth`: people who sign in without a name, as better-auth's plugin `anonymous` has them."""

from dataclasses import dataclass

import msgspec

from freehold.auth.types import User
from freehold.auth.users.guests import Guests
from freehold.http.auth.answers import Success
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Asked, Doc, Route


class GuestReply(msgspec.Struct, frozen=True):
    token: str
    user: User


@dataclass(frozen=True, slots=True)
class GuestEndpoints:
    """Sign in as a guest, and leave without a trace."""

    edge: AuthContext
    guests: Guests

    async def sign_in_anonymous(self, request: Asked) -> AuthReply:
        """Start a session as somebody without a name, with a database of their own."""
        await self.edge.accept(request)
        signed_in = await self.guests.sign_in(await self.edge.client(request.scope))
        return self.edge.session_started(signed_in, GuestReply(signed_in.session.token, signed_in.user))

    async def delete_anonymous_user(self, request: Asked) -> AuthReply:
        """Delete the guest who asks, with their database."""
        await self.edge.accept(request)
        await self.guests.delete(await self.edge.signed_in(request.scope))
        return json_reply(Success(), set_cookies=self.edge.auth.cookies.clearing)


ROUTES: tuple[Route[GuestEndpoints], ...] = (
    Route("POST", "/sign-in/anonymous", GuestEndpoints.sign_in_anonymous, "anyone", "sign-in",
          Doc("sign_in_anonymous", gives=GuestReply)),
    Route("POST", "/delete-anonymous-user", GuestEndpoints.delete_anonymous_user, "session", "auth",
          Doc("delete_anonymous_user", gives=Success)),
)  # fmt: skip
