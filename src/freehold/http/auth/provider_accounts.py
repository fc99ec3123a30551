"""`/api/auth`: what a user does with their accounts at providers."""

from dataclasses import dataclass

import msgspec

from freehold.auth.errors import AccountNotFound
from freehold.auth.social.service import Social
from freehold.auth.types import SignedIn
from freehold.http.auth.bodies import Field, check
from freehold.http.auth.context import AuthContext, query_value
from freehold.http.auth.errors import NoProviderAccessToken, NoProviderRefreshToken, NoProviderToken
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Asked, Doc, Route

_FIELDS = (Field("accountId"),)


class UnlinkedReply(msgspec.Struct, frozen=True):
    status: bool = True


@dataclass(frozen=True, slots=True)
class ProviderAccountEndpoints:
    """Remove one, and the three calls for providers' tokens, of which we keep none."""

    edge: AuthContext
    social: Social

    async def unlink_account(self, request: Asked) -> AuthReply:
        """Remove the account with the row id `accountId`, unless it is the only way in."""
        values = check(await self.edge.accept(request), _FIELDS)
        asking = await self.edge.signed_in(request.scope)
        await self.social.unlink(asking, values["accountId"])
        return json_reply(UnlinkedReply())

    async def get_access_token(self, request: Asked) -> AuthReply:
        await self._own_account(request)
        raise NoProviderToken

    async def refresh_token(self, request: Asked) -> AuthReply:
        await self._own_account(request)
        raise NoProviderRefreshToken

    async def account_info(self, request: Asked) -> AuthReply:
        asking = await self.edge.signed_in(request.scope)
        await self._require_own(asking, query_value(request.scope, "accountId") or "")
        raise NoProviderAccessToken

    async def _own_account(self, request: Asked) -> None:
        body = await self.edge.accept(request)
        asking = await self.edge.signed_in(request.scope)
        await self._require_own(asking, check(body, _FIELDS)["accountId"])

    async def _require_own(self, asking: SignedIn, account_row_id: str) -> None:
        if not await self.social.accounts.owns(account_row_id, asking.user_id):
            raise AccountNotFound


ROUTES: tuple[Route[ProviderAccountEndpoints], ...] = (
    Route("POST", "/unlink-account", ProviderAccountEndpoints.unlink_account, "session", "auth",
          Doc("unlink_account", _FIELDS, UnlinkedReply)),
    Route("POST", "/get-access-token", ProviderAccountEndpoints.get_access_token, "session", "auth"),
    Route("POST", "/refresh-token", ProviderAccountEndpoints.refresh_token, "session", "auth"),
    Route("GET", "/account-info", ProviderAccountEndpoints.account_info, "session", "auth"),
)  # fmt: skip
