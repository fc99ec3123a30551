"""`/api/auth`: a user's own sessions, seen and ended."""

from dataclasses import dataclass

from freehold.auth.errors import SessionNotFresh
from freehold.auth.types import Session
from freehold.auth.users.accounts import Accounts
from freehold.http.auth.answers import Status
from freehold.http.auth.bodies import KEEPS_KEYS, Field, check
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Asked, Doc, Route

_REVOKE_FIELDS = (Field("token"),)
_REVOKE_ALL_FIELDS = (KEEPS_KEYS,)


@dataclass(frozen=True, slots=True)
class SessionEndpoints:
    edge: AuthContext
    accounts: Accounts

    async def list_sessions(self, request: Asked) -> AuthReply:
        """The live sessions of whoever is signed in, and has been for less than a day."""
        asking = await self.edge.signed_in(request.scope)
        return json_reply(await self.accounts.list_sessions(asking))

    async def revoke(self, request: Asked) -> AuthReply:
        """End the session with this `token`, if it is one's own."""
        values = check(await self.edge.accept(request), _REVOKE_FIELDS)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_session(asking, values["token"])
        return json_reply(Status())

    async def revoke_all(self, request: Asked) -> AuthReply:
        """End all sessions of whoever is signed in, this one too, and their API keys unless `keepApiKeys`."""
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def revoke_others(self, request: Asked) -> AuthReply:
        """End all sessions of whoever is signed in but this one, and their API keys unless `keepApiKeys`."""
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_other_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def _keeps_keys(self, request: Asked) -> bool:
        body = await self.edge.accept(request)
        values = check(body, _REVOKE_ALL_FIELDS) if isinstance(body, dict) else {}
        return bool(values.get(KEEPS_KEYS.name, False))


ROUTES: tuple[Route[SessionEndpoints], ...] = (
    Route("GET", "/list-sessions", SessionEndpoints.list_sessions, "session", "auth",
          Doc("list_sessions", gives=list[Session], refuses=(SessionNotFresh,))),
    Route("POST", "/revoke-session", SessionEndpoints.revoke, "session", "auth",
          Doc("revoke_session", _REVOKE_FIELDS, Status)),
    Route("POST", "/revoke-sessions", SessionEndpoints.revoke_all, "session", "auth",
          Doc("revoke_sessions", _REVOKE_ALL_FIELDS, Status)),
    Route("POST", "/revoke-other-sessions", SessionEndpoints.revoke_others, "session", "auth",
          Doc("revoke_other_sessions", _REVOKE_ALL_FIELDS, Status)),
)  # fmt: skip
