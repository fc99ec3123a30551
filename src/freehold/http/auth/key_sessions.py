"""What get-session answers to the header `x-api-key`."""

from datetime import timedelta

import msgspec
from litestar.types import Scope

from freehold.auth.api_keys.errors import ApiKeyRateLimited, ApiKeyUsedUp
from freehold.auth.types import User
from freehold.dates import to_iso, utc_now
from freehold.http.auth.edge import AuthEdge
from freehold.http.auth.replies import AuthReply, HeaderPairs, Refusal, json_reply
from freehold.http.headers import header
from freehold.limiting import RateLimited

# What better-auth tells of a key that never expires.
_ENDLESS = timedelta(minutes=10)


class KeySession(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What get-session tells instead of a session; there is none behind a key."""

    id: str
    token: str
    user_id: str
    user_agent: str | None
    ip_address: str | None
    created_at: str
    updated_at: str
    expires_at: str


class KeySessionReply(msgspec.Struct, frozen=True):
    user: User
    session: KeySession


def _again(error: RateLimited) -> HeaderPairs:
    return ((b"retry-after", str(error.retry_after_s).encode()),)


async def session_of_key(edge: AuthEdge, scope: Scope, text: str) -> AuthReply:
    """What get-session answers to a key: whose it is. It counts as a use."""
    try:
        holder = await edge.issuers.api_keys.recognise(text)
    except ApiKeyRateLimited as error:
        details = {"tryAgainIn": error.retry_after_ms}
        raise Refusal(
            429, "RATE_LIMITED", "Rate limit exceeded.", _again(error), more={"details": details}
        ) from error
    except ApiKeyUsedUp as error:
        raise Refusal(429, "USAGE_EXCEEDED", "API Key has reached its usage limit", _again(error)) from error
    key, now = holder.api_key, utc_now()
    session = KeySession(
        id=key.key_id,
        token=text,
        user_id=holder.user_id,
        user_agent=header(scope, b"user-agent") or None,
        ip_address=edge.addresses.of(scope) or None,
        created_at=to_iso(now),
        updated_at=to_iso(now),
        expires_at=key.expires_at or to_iso(now + _ENDLESS),
    )
    return json_reply(KeySessionReply(holder.user, session))
