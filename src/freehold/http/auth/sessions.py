"""`/api/auth`: a user's own sessions, seen and ended."""

from dataclasses import dataclass
from typing import Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from freehold.auth.errors import SessionNotFresh
from freehold.auth.types import Session
from freehold.auth.users.accounts import Accounts
from freehold.http.auth.answers import Status
from freehold.http.auth.bodies import KEEPS_KEYS, Field, check, documented
from freehold.http.auth.edge import AuthEdge, answers
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.route_facts import facts

_REVOKE_FIELDS = (Field("token"),)
_REVOKE_ALL_FIELDS = (KEEPS_KEYS,)

Asked = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class _Endpoints:
    edge: AuthEdge
    accounts: Accounts

    async def list_sessions(self, request: Asked) -> AuthReply:
        asking = await self.edge.signed_in(request.scope)
        return json_reply(await self.accounts.list_sessions(asking))

    async def revoke(self, request: Asked) -> AuthReply:
        values = check(await self.edge.accept(request), _REVOKE_FIELDS)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_session(asking, values["token"])
        return json_reply(Status())

    async def revoke_all(self, request: Asked) -> AuthReply:
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def revoke_others(self, request: Asked) -> AuthReply:
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_other_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def _keeps_keys(self, request: Asked) -> bool:
        body = await self.edge.accept(request)
        values = check(body, _REVOKE_ALL_FIELDS) if isinstance(body, dict) else {}
        return bool(values.get(KEEPS_KEYS.name, False))


def session_routes(edge: AuthEdge, accounts: Accounts) -> list[HTTPRouteHandler]:
    """What `auth_routes` takes as further routes."""
    endpoints = _Endpoints(edge, accounts)

    @get(
        "/list-sessions",
        operation_id="list_sessions",
        opt=facts(SessionNotFresh, caller="session"),
        responses=answers(list[Session]),
    )
    async def list_sessions(request: Asked) -> AuthReply:
        """The live sessions of who is signed in, and has been for less than a day."""
        return await endpoints.list_sessions(request)

    @post(
        "/revoke-session",
        operation_id="revoke_session",
        opt=facts(caller="session"),
        operation_class=documented(_REVOKE_FIELDS),
        status_code=200,
        responses=answers(Status),
    )
    async def revoke(request: Asked) -> AuthReply:
        """End the session with this `token`, if it is one's own."""
        return await endpoints.revoke(request)

    @post(
        "/revoke-sessions",
        operation_id="revoke_sessions",
        opt=facts(caller="session"),
        operation_class=documented(_REVOKE_ALL_FIELDS),
        status_code=200,
        responses=answers(Status),
    )
    async def revoke_all(request: Asked) -> AuthReply:
        """End all sessions of who is signed in, this one too, and their API keys unless `keepApiKeys`."""
        return await endpoints.revoke_all(request)

    @post(
        "/revoke-other-sessions",
        operation_id="revoke_other_sessions",
        opt=facts(caller="session"),
        operation_class=documented(_REVOKE_ALL_FIELDS),
        status_code=200,
        responses=answers(Status),
    )
    async def revoke_others(request: Asked) -> AuthReply:
        """End all sessions of who is signed in but this one, and their API keys unless `keepApiKeys`."""
        return await endpoints.revoke_others(request)

    return [list_sessions, revoke, revoke_all, revoke_others]
