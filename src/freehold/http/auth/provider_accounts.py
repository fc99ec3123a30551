"""`/api/auth`: what a user does with their accounts at providers."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from freehold.auth.social.service import Social
from freehold.auth.types import SignedIn
from freehold.http.auth.bodies import Field, check, documented
from freehold.http.auth.edge import AuthEdge, answers, query_value
from freehold.http.auth.replies import AuthReply, Refusal, json_reply
from freehold.http.route_facts import facts

_FIELDS = (Field("accountId"),)


class UnlinkedReply(msgspec.Struct, frozen=True):
    status: bool = True


def provider_account_handlers(edge: AuthEdge, social: Social) -> list[HTTPRouteHandler]:
    """Remove one, and the three calls for providers' tokens, of which we keep none."""

    async def require_own(asking: SignedIn, account_row_id: str) -> None:
        if not await social.accounts.owns(account_row_id, asking.user_id):
            raise Refusal(400, "ACCOUNT_NOT_FOUND", "Account not found")

    @post(
        "/unlink-account",
        operation_id="unlink_account",
        opt=facts(caller="session"),
        operation_class=documented(_FIELDS),
        status_code=200,
        responses=answers(UnlinkedReply),
    )
    async def unlink_account(request: Request[Any, Any, Any]) -> AuthReply:
        """Remove the account with the row id `accountId`, unless it is the only way in."""
        values = check(await edge.accept(request), _FIELDS)
        asking = await edge.signed_in(request.scope)
        await social.unlink(asking, values["accountId"])
        return json_reply(UnlinkedReply())

    @post("/get-access-token", include_in_schema=False)
    async def get_access_token(request: Request[Any, Any, Any]) -> AuthReply:
        body = await edge.accept(request)
        asking = await edge.signed_in(request.scope)
        await require_own(asking, check(body, _FIELDS)["accountId"])
        raise Refusal(400, "FAILED_TO_GET_ACCESS_TOKEN", "Failed to get a valid access token")

    @post("/refresh-token", include_in_schema=False)
    async def refresh_token(request: Request[Any, Any, Any]) -> AuthReply:
        body = await edge.accept(request)
        asking = await edge.signed_in(request.scope)
        await require_own(asking, check(body, _FIELDS)["accountId"])
        raise Refusal(400, "REFRESH_TOKEN_NOT_FOUND", "Refresh token not found")

    @get("/account-info", include_in_schema=False)
    async def account_info(scope: Scope) -> AuthReply:
        asking = await edge.signed_in(scope)
        await require_own(asking, query_value(scope, "accountId") or "")
        raise Refusal(400, "ACCESS_TOKEN_NOT_FOUND", "Access token not found")

    return [unlink_account, get_access_token, refresh_token, account_info]
