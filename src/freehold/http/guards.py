"""The caller outside `/api/auth`: dependencies for handlers, and a guard for administrators' routes."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope
from msgspec import Struct

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.api_keys.types import DATABASES, READ, WRITE, KeyHolder
from freehold.auth.service import Auth
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.types import SignedIn
from freehold.errors import Forbidden, Unauthenticated
from freehold.http.auth.origin_check import SAFE_METHODS, origin_fault
from freehold.http.headers import API_KEY_HEADER, Asked, access_token_of, header, presented_by
from freehold.http.middleware.rate_limits import count_user


async def provide_signed_in(
    request: Asked, auth: NamedDependency[Auth], pairs: NamedDependency[TokenPairs]
) -> SignedIn:
    """The dependency `signed_in`: the user and session behind a cookie, a bearer token or an access token.

    Raises:
        Unauthenticated: there is none, or it is not, or no longer, valid.
        Forbidden: a cookie, sent to change something by a page that is not trusted.
        RateLimited: too many requests by this user.
        CentralUnavailable: the central database does not answer.
    """
    return await _signed_in(request.scope, auth, pairs)


class DatabaseCaller(Struct, frozen=True, kw_only=True):
    """The caller of a database route, by session or API key; the key's scopes decide whether it may write."""

    user_id: str
    reference: str
    may_write: bool = True


async def provide_database_caller(
    request: Asked, auth: NamedDependency[Auth], pairs: NamedDependency[TokenPairs], api_keys: NamedDependency[ApiKeys]
) -> DatabaseCaller:
    """The dependency `database_caller`. If the request has an API key, nothing else counts.

    Raises:
        Forbidden: the key has no scope for databases.
        RateLimited: the key, or its user, is used too often.
        Unauthenticated, CentralUnavailable: as `provide_signed_in`.
    """
    api_key = header(request.scope, API_KEY_HEADER)
    if api_key is None:
        found = await _signed_in(request.scope, auth, pairs)
        return DatabaseCaller(user_id=found.user_id, reference=found.reference)
    holder = await key_holder(request.scope, api_keys, api_key)
    holder.require(DATABASES, READ)
    return DatabaseCaller(
        user_id=holder.user_id, reference=holder.reference, may_write=holder.api_key.allows(DATABASES, WRITE)
    )


async def key_holder(scope: Scope, api_keys: ApiKeys, api_key: str) -> KeyHolder:
    """The holder of this API key; the caller checks its scopes.

    Raises:
        Unauthenticated: the key is not, or no longer, valid.
        RateLimited: the key, or its user, is used too often.
        CentralUnavailable: the central database does not answer.
    """
    holder = await api_keys.recognise(api_key)
    await count_user(scope, holder.user_id)
    return holder


async def require_admin(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard that admits administrators only.

    Raises:
        Unauthenticated: not signed in.
        Forbidden: signed in without the role `admin`.
        RateLimited: too many requests by this user.
    """
    dependencies = handler.resolve_dependencies()
    auth: Auth = await dependencies["auth"]()
    pairs: TokenPairs = await dependencies["pairs"]()
    found = await _signed_in(connection.scope, auth, pairs)
    if not found.user.is_admin:
        raise Forbidden("only an administrator may do this")


async def _signed_in(scope: Scope, auth: Auth, pairs: TokenPairs) -> SignedIn:
    access_token = access_token_of(scope)
    found = await (_by_session(scope, auth) if access_token is None else pairs.read(access_token))
    await count_user(scope, found.user_id)
    return found


async def _by_session(scope: Scope, auth: Auth) -> SignedIn:
    presented = presented_by(scope, auth.cookies, takes_form_cookie=True)
    if presented is None:
        raise Unauthenticated("sign in first: send the session cookie, or its token as `Authorization: Bearer`")
    # A browser sends a cookie on behalf of any page; a bearer token is sent only by someone who knows it.
    from_cookie = presented.via == "cookie"
    if from_cookie and scope.get("method") not in SAFE_METHODS and origin_fault(scope, auth.origins):
        raise Forbidden("requests with a cookie must come from a page of a trusted origin")
    # Only get-session renews a cookie, so only it may extend the session behind one.
    found = await auth.sessions.current(presented.token, extend=not from_cookie)
    if found is None:
        raise Unauthenticated("this session has ended; sign in again")
    return found
