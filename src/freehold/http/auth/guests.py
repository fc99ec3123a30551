"""`/api/auth`: people who sign in without a name, as better-auth's plugin `anonymous` has them."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler

from freehold.auth.types import User
from freehold.auth.users.guests import Guests
from freehold.http.auth.answers import Success
from freehold.http.auth.edge import AuthEdge, answers
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.route_facts import facts


class GuestReply(msgspec.Struct, frozen=True):
    token: str
    user: User


def guest_handlers(edge: AuthEdge, guests: Guests) -> list[HTTPRouteHandler]:
    """Sign in as a guest, and leave without a trace."""

    @post(
        "/sign-in/anonymous",
        operation_id="sign_in_anonymous",
        status_code=200,
        responses=answers(GuestReply),
    )
    async def sign_in_anonymous(request: Request[Any, Any, Any]) -> AuthReply:
        """Start a session as somebody without a name, with a database of their own."""
        await edge.accept(request)
        signed_in = await guests.sign_in(await edge.client(request.scope))
        return edge.session_started(signed_in, GuestReply(signed_in.session.token, signed_in.user))

    @post(
        "/delete-anonymous-user",
        operation_id="delete_anonymous_user",
        opt=facts(caller="session"),
        status_code=200,
        responses=answers(Success),
    )
    async def delete_anonymous_user(request: Request[Any, Any, Any]) -> AuthReply:
        """Delete the guest who asks, with their database."""
        await edge.accept(request)
        await guests.delete(await edge.signed_in(request.scope))
        return json_reply(Success(), set_cookies=edge.auth.cookies.clearing)

    return [sign_in_anonymous, delete_anonymous_user]
